"""emcee: an ensemble of walkers, until the chain is long against its autocorrelation time.

Walkers start about the maximum of the likelihood, or at draws of the prior. What comes
before five autocorrelation times is dropped, and of the rest every half of one is kept.
emcee's snooker move is not among the default ones: with it, standard deviations of NIST's
Gauss1 came out a fifth too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError, LikelihoodError
from cropfit.fitting.samplers.base import Draws, Halt, Task, check_options, missing
from cropfit.fitting.samplers.evaluations import Evaluations, save, watched

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["run"]

Floats = NDArray[np.float64]
DEFAULTS = {"start": "maxlike", "max_steps": 50_000, "long_enough": 50.0}
BLOCK = 200  # steps between two looks at the autocorrelation time
BURN, THIN = 5.0, 0.5  # in autocorrelation times


@dataclass
class _Chain:
    """What the walkers did, and how correlated it is.

    Parameters
    ----------
    times : (n_dim,) float array
        Autocorrelation times in steps.
    """

    points: Floats  # (steps, walkers, n_dim)
    heights: Floats  # (steps, walkers)
    times: Floats

    @property
    def burn(self) -> int:
        least = max(int(BURN * np.max(self.times)) + 1, len(self.points) // 5)
        return min(least, len(self.points) // 2)

    @property
    def settled(self) -> bool:
        """Whether both halves of what is kept are equally wide."""
        kept = self.points[self.burn :]
        first, second = (half.std(axis=(0, 1)) for half in np.array_split(kept, 2))
        return bool((np.abs(first - second) <= 0.1 * second).all())

    @property
    def thin(self) -> int:
        return max(1, int(THIN * np.min(self.times)))

    @property
    def ess(self) -> float:
        kept = self.points[self.burn :]
        return float(kept.shape[0] * kept.shape[1] / np.max(self.times))


def run(problem: Problem, task: Task) -> Draws:
    """Sample the posterior.

    ``n_live`` is the number of walkers. Options: ``start``, "maxlike", "prior", or name →
    value, from where the maximum is climbed to;
    ``max_steps``; ``long_enough``, the chain's length in autocorrelation times at which it
    has converged; ``moves`` as of ``emcee.EnsembleSampler``.
    """
    check_options("emcee", task.options, {*DEFAULTS, "moves"})
    options = {**DEFAULTS, **task.options}
    walkers = task.n_live or max(32, 4 * problem.n_dim)
    if walkers <= 2 * problem.n_dim or walkers % 2:
        raise DesignError(
            f"n_live={walkers} walkers for {problem.n_dim} parameters: an even number above "
            f"{2 * problem.n_dim} is needed."
        )
    versions = _versions()
    settings = {**options, "n_live": walkers, **versions}
    settings["moves"] = str(options.get("moves", "0.8 DEMove, 0.2 StretchMove"))
    evaluations, keeper = watched(problem, task, versions)
    why, sampler = "", None
    try:
        start = _start(evaluations, options["start"], walkers, task.seed)
        sampler = _sampler(evaluations, walkers, options.get("moves"))
        why = _walk(sampler, start, task, evaluations, options)
    except Halt as halt:
        save(evaluations, keeper)
        why = str(halt)
    if sampler is None or sampler.iteration < 2:
        return Draws.none(problem, evaluations.calls, why, settings)
    return _draws(_chain(sampler), evaluations.calls, why, settings)


def _versions() -> dict[str, str]:
    try:
        import emcee
    except ImportError as error:
        raise missing("emcee", "emcee", "emcee") from error
    return {"emcee": emcee.__version__}


def _start(evaluations: Evaluations, where: Any, walkers: int, seed: int) -> Any:
    """Where the walkers begin, as emcee takes it: positions and the state of its dice."""
    from emcee import State

    problem = evaluations.problem
    rng = np.random.default_rng(seed)
    if where == "maxlike" or isinstance(where, Mapping):
        start = None if where == "maxlike" else where
        points = _about_the_maximum(evaluations, walkers, seed, rng, start)
    elif where == "prior":
        points = _from_the_prior(evaluations, walkers, rng)
    else:
        raise DesignError(f"start must be 'maxlike', 'prior' or name → value, not {where!r}.")
    if len(points) < walkers:
        raise LikelihoodError(
            f"Only {len(points)} of {walkers} walkers found a place to start from where the "
            f"likelihood is not zero, parameters: {', '.join(problem.names)}."
        )
    dice = np.random.RandomState(rng.integers(2**32)).get_state()
    return State(points, random_state=dice)


def _about_the_maximum(
    evaluations: Evaluations,
    walkers: int,
    seed: int,
    rng: np.random.Generator,
    start: Mapping[str, float] | None,
) -> Floats:
    from cropfit.fitting.samplers.maxlike import climb

    summit = climb(evaluations, 4, seed, start)
    if summit.covariance is None:
        return _from_the_prior(evaluations, walkers, rng)
    draws = rng.multivariate_normal(summit.theta, summit.covariance, 8 * walkers, method="eigh")
    return _alive(evaluations, draws, walkers)


def _from_the_prior(evaluations: Evaluations, walkers: int, rng: np.random.Generator) -> Floats:
    """The likeliest of ten times as many draws as are needed."""
    problem = evaluations.problem
    thetas = problem.transform(rng.random((10 * walkers, problem.n_dim)))
    heights = evaluations.many(thetas)
    best = np.argsort(-heights, kind="stable")[:walkers]
    return np.asarray(thetas[best][np.isfinite(heights[best])])


def _alive(evaluations: Evaluations, thetas: Floats, number: int) -> Floats:
    """The first points that have a posterior density."""
    thetas = thetas[np.isfinite(evaluations.problem.log_prior(thetas))][: 2 * number]
    return thetas[np.isfinite(evaluations.many(thetas))][:number]


def _sampler(evaluations: Evaluations, walkers: int, moves: Any) -> Any:
    import emcee

    problem = evaluations.problem

    def log_posterior(thetas: Floats) -> Floats:
        prior = problem.log_prior(thetas)
        found = np.full((len(thetas), 2), -np.inf)
        inside = np.isfinite(prior)
        if inside.any():
            found[inside, 1] = evaluations.many(thetas[inside])
            found[inside, 0] = prior[inside] + found[inside, 1]
        return found

    if moves is None:
        moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.StretchMove(), 0.2)]
    return emcee.EnsembleSampler(
        walkers,
        problem.n_dim,
        log_posterior,
        moves=moves,
        vectorize=True,
        blobs_dtype=float,
    )


def _walk(
    sampler: Any, state: Any, task: Task, evaluations: Evaluations, options: dict[str, Any]
) -> str:
    """Go on until the chain is long enough; what is wrong if it never is."""
    before, next_look = np.inf, BLOCK
    for steps, _ in enumerate(sampler.sample(state, iterations=options["max_steps"]), 1):
        task.tell(calls=evaluations.calls)
        if steps < next_look:
            continue
        chain = _chain(sampler)
        time = float(np.max(chain.times))
        steady = abs(time - before) < 0.05 * time and chain.settled
        if steady and steps > options["long_enough"] * time:
            return ""
        before, next_look = time, steps + max(BLOCK, steps // 10)
    return f"max_steps={options['max_steps']}: the autocorrelation time is {before:.0f} steps"


def _chain(sampler: Any) -> _Chain:
    from emcee.autocorr import integrated_time

    points, heights = sampler.get_chain(), sampler.get_blobs()
    with np.errstate(all="ignore"):
        times = integrated_time(points[len(points) // 10 :], tol=0, quiet=True)
    times = np.where(np.isfinite(times), times, len(points))
    return _Chain(np.asarray(points), np.asarray(heights, float), np.maximum(times, 1.0))


def _draws(chain: _Chain, calls: int, why: str, settings: dict[str, Any]) -> Draws:
    kept = slice(chain.burn, None, chain.thin)
    samples = chain.points[kept].reshape(-1, chain.points.shape[2])
    found: dict[str, Any] = {"burn": chain.burn, "thin": chain.thin, "steps": len(chain.points)}
    found["autocorrelation_time"] = [round(float(each), 2) for each in chain.times]
    return Draws(
        samples=samples,
        log_weights=np.zeros(len(samples)),
        log_likelihood=chain.heights[kept].reshape(-1),
        log_evidence=np.nan,
        log_evidence_error=np.nan,
        calls=calls,
        converged=not why,
        why=why
        or f"{len(chain.points)} steps, the longest autocorrelation time is "
        f"{np.max(chain.times):.1f}",
        settings={**settings, **found},
        extra={"ess": min(chain.ess, float(len(samples)))},
    )
