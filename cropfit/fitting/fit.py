"""`fit`: one model, one object's data, one sampler, one result."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit._version import __version__
from cropfit.attributes import from_plain, to_plain
from cropfit.errors import DesignError
from cropfit.fitting.derived import check_derived, derive, derived_units
from cropfit.fitting.identity import told
from cropfit.fitting.model import Model
from cropfit.fitting.problem import Problem
from cropfit.fitting.result import Fit
from cropfit.watched import is_watched
from cropfit.work.context import Case, current_case
from cropfit.work.limits import Duration, seconds

if TYPE_CHECKING:
    from cropfit.fitting.checkpoint import Checkpoint
    from cropfit.fitting.samplers.base import Draws

__all__ = ["fit"]


def fit(
    model: Model,
    data: Any,
    *,
    sampler: str = "dynesty",
    n_live: int | None = None,
    dlogz: float | None = None,
    seed: int | None = None,
    pool: Any = None,
    n_pool: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    max_calls: int | None = None,
    timeout: Duration | None = None,
    progress: bool = True,
    **sampler_options: Any,
) -> Fit:
    """Fit a model to the data of one object.

    Parameters
    ----------
    model : Model
    data
        Whatever the likelihood takes.
    sampler : str
        "dynesty", "dynesty-dynamic", "maxlike", "emcee", or with their extras "nautilus",
        "nessai" and "ultranest".
    n_live : int, optional
        Live points, or walkers; more is finer and slower.
    dlogz : float, optional
        How much of the logarithm of the evidence may be left when nested sampling ends.
    seed : int, optional
        Of all random numbers. Drawn and recorded in the fit's ``settings`` if not given.
    pool, n_pool : optional
        A pool of workers that compute likelihoods, or how many of our own to start.
    checkpoint : path, optional
        A folder from which the fit goes on after it was killed, on any host, and which
        gives the finished fit at once. Refused if it was made with another likelihood,
        prior, data, sampler or option.
    checkpoint_every : float
        Seconds.
    max_calls : int, optional
        Calls of the likelihood after which to end, converged or not.
    timeout : duration, optional
        The same in time: seconds or ``"1:30:00"``.
    progress : bool
        Whether to show a bar where somebody looks, at a terminal or in a notebook.
    **sampler_options
        As of the sampler.

    Returns
    -------
    Fit

    Raises
    ------
    LikelihoodError
        The likelihood raised, or gave no number below infinity; says where.
    ExistsError
        The checkpoint belongs to another fit; says what differs.

    Notes
    -----
    In a case of a crop that runs out of time, or is asked to stop, the case is given back
    unfinished: with a checkpoint in ``current_case().checkpoint_dir`` the next worker
    goes on from there.
    """
    begin = time.monotonic()
    case = current_case()
    problem = model.bind(data)
    check_derived(model)
    how = {"sampler": sampler, "n_live": n_live, "dlogz": dlogz, "options": sampler_options}
    seed = _check_seed(seed)
    kept = None if checkpoint is None else _open(checkpoint, problem, how, seed)
    if kept is not None and (done := kept.finished()):
        done.model, done.data = model, data
        return done
    limits = {
        "max_calls": max_calls,
        "deadline": _deadline(case, timeout),
        "should_stop": case.should_stop,
        "checkpoint": None if kept is None else kept.sampler_folder(),
        "checkpoint_every": checkpoint_every,
    }
    if kept is not None:
        seed = kept.seed
    elif seed is None:
        seed = secrets.randbits(32)
    with _workers(problem, pool, n_pool) as workers, _bar(progress) as show:
        draws = _run(problem, {**how, **limits, "seed": seed, "pool": workers, "progress": show})
    if not draws.converged and case.should_stop():
        case.leave()
    found = _gather(problem, draws, {**how, "seed": seed, "max_calls": max_calls}, begin)
    long = found.seconds >= checkpoint_every
    if kept is not None and found.converged and (long or not _ends_with(case, kept)):
        kept.finish(found)
    return found


def _ends_with(case: Case, kept: Checkpoint) -> bool:
    """Whether the checkpoint goes away with the case, so that only a kill just now would need it.

    A fit shorter than the time between two checkpoints is then not worth a file.
    """
    return bool(case.folder) and kept.folder.startswith(os.path.abspath(case.folder) + os.sep)


def _check_seed(seed: Any) -> int | None:
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise DesignError(f"seed must be an int from 0 to 2**32 - 1, not {seed!r}.")
    return int(seed)


def _open(
    folder: str | os.PathLike[str], problem: Problem, how: dict[str, Any], seed: int | None
) -> Checkpoint:
    from cropfit.fitting.checkpoint import Checkpoint

    plain = {name: how[name] for name in ("sampler", "n_live", "dlogz")}
    options = {f"option {name}": told(value) for name, value in how["options"].items()}
    settings = to_plain({**plain, **options, "seed": seed})
    fresh = secrets.randbits(32) if seed is None else seed
    return Checkpoint(folder, problem.identity(), settings, fresh)


def _deadline(case: Case, timeout: Duration | None) -> float:
    """When to end, in seconds since the epoch: the earlier of the fit's time and the case's."""
    own = np.inf if timeout is None else seconds(timeout)
    return time.time() + min(own, case.time_left())


@contextlib.contextmanager
def _workers(problem: Problem, pool: Any, n_pool: int | None) -> Iterator[Any]:
    """The pool that computes likelihoods; None for this process alone."""
    if pool is None and n_pool is None:
        yield None
        return
    from cropfit.fitting.pools import likelihood_pool

    with likelihood_pool(problem, pool=pool, n_pool=n_pool) as workers:
        yield workers


@contextlib.contextmanager
def _bar(wanted: bool) -> Iterator[Callable[..., None] | None]:
    """What shows ``calls=``, ``dlogz=`` and others; None where nobody looks."""
    if not wanted or not is_watched():
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(unit="call", dynamic_ncols=True) as bar:

        def show(calls: int | None = None, **numbers: float) -> None:
            bar.set_postfix(
                {name: f"{value:.4g}" for name, value in numbers.items()}, refresh=False
            )
            if calls is not None:
                bar.update(calls - bar.n)

        yield show


def _run(problem: Problem, terms: dict[str, Any]) -> Draws:
    from cropfit.fitting.samplers import load_sampler
    from cropfit.fitting.samplers.base import Task

    run = load_sampler(terms.pop("sampler"))
    return run(problem, Task(**terms))


def _gather(problem: Problem, draws: Draws, how: dict[str, Any], begin: float) -> Fit:
    """The fit that the draws make, with all that the sampler does not know."""
    model = problem.model
    options = how.pop("options")
    used = {**how, **options, **draws.settings, "likelihood_calls": problem.layout.shape}
    settings = {**used, "cropfit": __version__, "numpy": np.__version__}
    derived = derive(model, draws.samples)
    return Fit(
        names=problem.names,
        samples=draws.samples,
        log_weights=draws.log_weights - np.logaddexp.reduce(draws.log_weights),
        log_likelihood=draws.log_likelihood,
        log_prior=problem.log_prior(draws.samples),
        derived=derived,
        fixed={name: float(value) for name, value in model.fixed.items()},
        units={**model.units, **derived_units(model)},
        labels={**model.labels, **{name: name for name in derived}},
        log_evidence=float(draws.log_evidence),
        log_evidence_error=float(draws.log_evidence_error),
        ess=float(draws.extra.get("ess", 0.0)),
        calls=int(draws.calls),
        converged=bool(draws.converged),
        why=draws.why,
        sampler=how["sampler"],
        settings=from_plain(to_plain(settings)),
        covariance=draws.covariance,
        model=model,
        data=problem.data,
        seconds=time.monotonic() - begin,
    )
