"""What the samplers give a second, beside dynesty as it comes, and what `cropfit.fit` adds.

    python scripts/bench_fitting.py [--seeds N] [speed|evidence|ranks|overhead|checkpoint ...]

speed       effective samples a second on NIST problems, vectorised walkers and dynesty's defaults
evidence    evidences over seeds against the truth, or against scalar random walks
ranks       whether the ranks of new points among the live points are uniform, as they must be
overhead    seconds of `cropfit.fit` over those of bare dynesty with the same options, in turns
checkpoint  seconds with a checkpoint over those without, in turns
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kstest

sys.path.insert(0, str(Path(__file__).parent / "demo"))
import nist_models

import cropfit as cf
from cropfit.fitting.weights import effective_size, normalised

WIDTH = 15  # of the uniform priors, in certified standard deviations to each side


def nist_model(name: str) -> cf.Model:
    known = nist_models.load_problems()[name]
    sigma = math.sqrt(known.rss / (known.y.size - known.certified.size))
    function = nist_models.MODELS[name]

    def log_likelihood(p: Any, _: Any) -> Any:
        with np.errstate(all="ignore"):
            left = (known.y - function(known.x, *(p[each] for each in p))) / sigma
            return np.nan_to_num(-0.5 * np.sum(left**2, axis=-1), nan=-np.inf)

    spans = zip(known.certified, WIDTH * known.deviations, strict=True)
    return cf.Model(
        log_likelihood, {f"b{i}": cf.Uniform(c - w, c + w) for i, (c, w) in enumerate(spans)}
    )


def gaussian(n_dim: int, sigma: float = 0.05) -> tuple[cf.Model, float]:
    def log_likelihood(x: Any, _: Any) -> Any:
        return -0.5 * np.sum((x / sigma) ** 2, axis=-1)

    priors = {f"x{i}": cf.Uniform(-1, 1) for i in range(n_dim)}
    truth = n_dim * math.log(sigma * math.sqrt(2 * math.pi) / 2)
    return cf.Model(log_likelihood, priors, as_array=True), truth


def valleys(n_dim: int) -> tuple[cf.Model, float]:
    """Rosenbrock's valley, once for each pair of parameters."""

    def log_likelihood(x: Any, _: Any) -> Any:
        a, b = x[..., 0::2], x[..., 1::2]
        return -np.sum((1 - a) ** 2 + 100 * (b - a**2) ** 2, axis=-1)

    priors = {f"x{i}": cf.Uniform(-5, 5) for i in range(n_dim)}
    return cf.Model(log_likelihood, priors, as_array=True), -5.804 * n_dim / 2


def two_peaks(n_dim: int) -> tuple[cf.Model, float]:
    widths = (0.04, 0.02)

    def log_likelihood(x: Any, _: Any) -> Any:
        pairs = zip((0.5, -0.5), widths, strict=True)
        return np.logaddexp(*(-0.5 * np.sum(((x - c) / w) ** 2, axis=-1) for c, w in pairs))

    each = [n_dim * math.log(width * math.sqrt(2 * math.pi) / 2) for width in widths]
    priors = {f"x{i}": cf.Uniform(-1, 1) for i in range(n_dim)}
    return cf.Model(log_likelihood, priors, as_array=True), float(np.logaddexp(*each))


def shell(n_dim: int, radius: float = 0.7, width: float = 0.02) -> tuple[cf.Model, float]:
    """Hollow, so that an ellipsoid around it is mostly empty."""

    def log_likelihood(x: Any, _: Any) -> Any:
        return -0.5 * ((np.sqrt(np.sum(x**2, axis=-1)) - radius) / width) ** 2

    sphere = 2 * math.pi ** (n_dim / 2) / math.gamma(n_dim / 2)
    r = np.linspace(radius - 10 * width, radius + 10 * width, 10001)
    heights = r ** (n_dim - 1) * np.exp(-0.5 * ((r - radius) / width) ** 2)
    inside = sphere * float(np.sum(heights)) * (r[1] - r[0]) / 2**n_dim
    priors = {f"x{i}": cf.Uniform(-1, 1) for i in range(n_dim)}
    return cf.Model(log_likelihood, priors, as_array=True), math.log(inside)


def octahedron(n_dim: int, width: float = 0.03) -> tuple[cf.Model, float]:
    """A sharp peak whose contours have corners, which an ellipsoid cuts off first."""

    def log_likelihood(x: Any, _: Any) -> Any:
        return -np.sum(np.abs(x - 0.1), axis=-1) / width

    priors = {f"x{i}": cf.Uniform(-1, 1) for i in range(n_dim)}
    return cf.Model(log_likelihood, priors, as_array=True), n_dim * math.log(width)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, which a busy machine changes least, and the outcome."""
    begin = time.process_time()
    found = function()
    return time.process_time() - begin, found


def bare(model: cf.Model, seed: int, **options: Any) -> Any:
    """dynesty as it comes, with the likelihood of one point."""
    from dynesty import NestedSampler

    problem = model.bind(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = NestedSampler(
            problem.log_likelihood,
            problem.transform,
            problem.n_dim,
            rstate=np.random.default_rng(seed),
            **options,
        )
        sampler.run_nested(print_progress=False)
    return sampler.results


def walkers(model: cf.Model, seed: int, **options: Any) -> cf.Fit:
    return cf.fit(model, None, seed=seed, progress=False, **options)


def speed(seeds: int) -> None:
    print("problem     n_dim  walkers: ESS/s  dynesty's defaults: ESS/s  ratio   evidences")
    for name in ("Misra1a", "DanWood", "Chwirut2", "Rat43", "Gauss1", "Thurber", "ENSO"):
        model, ours, theirs, evidences = nist_model(name), [], [], []
        for seed in range(seeds):
            took, fit = timed(partial(walkers, model, seed))
            ours.append(fit.ess / took)
            took, found = timed(partial(bare, model, seed))
            theirs.append(effective_size(normalised(found["logwt"])) / took)
            evidences.append(f"{fit.log_evidence:.2f}|{found['logz'][-1]:.2f}")
        one, other = statistics.median(ours), statistics.median(theirs)
        print(
            f"{name:10s} {model.n_dim:6d} {one:15.0f} {other:26.0f} {one / other:6.1f}   "
            + " ".join(evidences),
            flush=True,
        )


def known() -> dict[str, tuple[cf.Model, float]]:
    """Models whose evidences are known: compact, bent, sharp, and with two peaks."""
    problems = {f"gaussian {n}": gaussian(n) for n in (2, 8, 20)}
    problems |= {f"valleys {n}": valleys(n) for n in (2, 6)}
    problems |= {f"shell {n}": shell(n) for n in (2, 5)}
    return problems | {"two peaks 5": two_peaks(5), "octahedron 6": octahedron(6)}


def evidence(seeds: int) -> None:
    print("problem          mean - truth       scatter  claimed")
    for name, (model, truth) in known().items():
        tell(name, model, truth, 0.0, seeds)
    for name in ("Misra1a", "Rat43", "Gauss1"):
        model = nist_model(name)
        long = {"sample": "rwalk", "walks": 60, "nlive": 500}
        truths = [bare(model, 100 + seed, **long)["logz"][-1] for seed in range(max(3, seeds // 4))]
        tell(name, model, np.mean(truths), np.std(truths, ddof=1) / len(truths) ** 0.5, seeds)


def tell(name: str, model: cf.Model, truth: Any, unsure: Any, seeds: int) -> None:
    fits = [walkers(model, seed) for seed in range(seeds)]
    off = np.array([fit.log_evidence for fit in fits]) - truth
    claimed = np.mean([fit.log_evidence_error for fit in fits])
    scatter = off.std(ddof=1)
    error = math.hypot(scatter / seeds**0.5, unsure)
    print(
        f"{name:14s} {off.mean():+.3f} ± {error:.3f}    {scatter:7.3f}  {claimed:7.3f}", flush=True
    )


def ranks(seeds: int) -> None:
    """Fowlie, Handley and Su 2020: new points are as likely to stand at any place."""
    from cropfit.fitting.samplers.walkers import Walkers

    replace, places = Walkers._replacements, []

    def noting(self: Any, order: Any, number: int) -> Any:
        new = replace(self, order, number)
        left = self.live_logl[order[number:]]
        places.extend((np.searchsorted(left, new[0][2]) + 0.5) / (len(left) + 1))
        return new

    Walkers._replacements = noting  # type: ignore[method-assign]
    print("problem          places     mean     p (Kolmogorov-Smirnov), per seed")
    nist = {name: (nist_model(name), 0.0) for name in ("Misra1a", "Rat43", "Gauss1")}
    for name, (model, _) in {**known(), **nist}.items():
        found, chances = [], []
        for seed in range(seeds):
            places.clear()
            walkers(model, seed)
            found += places
            chances.append(f"{kstest(places, 'uniform').pvalue:.2f}")
        print(
            f"{name:14s} {len(found):8d}   {np.mean(found):.4f}   {' '.join(chances)}", flush=True
        )


def overhead(seeds: int) -> None:
    scalar, ratios = nist_model("Rat43"), []
    scalar.vectorized = False
    for seed in range(seeds):
        took, fit = timed(partial(walkers, scalar, seed, n_live=200, sample="rwalk"))
        alone, found = timed(partial(bare, scalar, seed, nlive=200, sample="rwalk"))
        if fit.log_evidence != found["logz"][-1]:
            raise SystemExit("cropfit.fit gave other numbers than dynesty")
        ratios.append(took / alone)
    print(f"cropfit.fit / dynesty: {statistics.median(ratios):.3f} of", np.round(ratios, 3))


def checkpoint(seeds: int) -> None:
    model, ratios = nist_model("Gauss1"), []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            keeping = {"checkpoint": f"{folder}/checkpoint", "checkpoint_every": 1.0}
            kept, _ = timed(partial(walkers, model, seed, **keeping))
        alone, _ = timed(partial(walkers, model, seed))
        ratios.append(kept / alone)
    print(f"every second / never: {statistics.median(ratios):.3f} of", np.round(ratios, 3))


def main() -> None:
    tables = {each.__name__: each for each in (speed, evidence, ranks, overhead, checkpoint)}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=[[], *tables])
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    for name in chosen.tables or tables:
        tables[name](chosen.seeds)


if __name__ == "__main__":
    main()
