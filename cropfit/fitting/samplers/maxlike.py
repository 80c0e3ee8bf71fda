"""The maximum of the likelihood: several starts from the prior, then Newton's method.

    draws of the prior ──▶ the best few ──▶ simplices, together ──▶ the best end
                                                                     │ Newton, to rounding
        normal draws for percentiles ◀── covariance ◀── curvature ◀──┘

Nothing is assumed of the likelihood but that it is smooth near its maximum. Differences
are taken over steps that cost about half a unit of its logarithm, whatever the units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import LikelihoodError
from cropfit.fitting.samplers.base import Draws, Halt, Task, check_options
from cropfit.fitting.samplers.evaluations import Evaluations, save, watched
from cropfit.fitting.samplers.simplex import descend

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["Summit", "climb", "run"]

Floats = NDArray[np.float64]
VERSIONS = {"maxlike": "2"}  # of the order in which points are asked for, which a state relies on
STARTS = 8
DRAWS = 500
AGREE = 0.01  # by how much the logarithms of two maxima may differ to be the same
SIGNS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
HALVINGS = 50  # of the unit interval, in search of a parameter's place in it
FARTHEST = 40  # halvings or doublings of a step until it costs what it should


@dataclass
class Summit:
    """The best point found.

    Parameters
    ----------
    theta : (n_dim,) float array
    height : float
        The logarithm of the likelihood there.
    covariance : (n_dim, n_dim) float array or None
        Inverse of the curvature; None where that is no maximum within the prior.
    agree : int
        How many starts ended there.
    starts : int
        How many there were.
    """

    theta: Floats
    height: float
    covariance: Floats | None
    agree: int
    starts: int = 1


def run(problem: Problem, task: Task) -> Draws:
    """Find the maximum of the likelihood within the prior.

    ``n_live`` is the number of starts. Options: ``draws``, how many samples of the normal
    distribution with the found covariance to give, so that percentiles mean something;
    ``start``, name → value, where all starts have these parameters.
    """
    check_options("maxlike", task.options, ("draws", "start"))
    start = dict(task.options.get("start") or {})
    starts = STARTS if task.n_live is None else task.n_live
    number = int(task.options.get("draws", DRAWS))
    settings = {"n_live": starts, "draws": number, "start": start}
    evaluations, keeper = watched(problem, task, VERSIONS)
    try:
        summit = climb(evaluations, starts, task.seed, start)
        samples = _spread(problem, summit, number, task.seed)
        heights = np.append(summit.height, evaluations.many(samples))
    except Halt as halt:
        save(evaluations, keeper)
        return Draws.none(problem, evaluations.calls, str(halt), settings)
    samples = np.vstack([summit.theta, samples])
    why = _doubts(summit)
    return Draws(
        samples=samples,
        log_weights=np.zeros(len(samples)),
        log_likelihood=heights,
        log_evidence=np.nan,
        log_evidence_error=np.nan,
        calls=evaluations.calls,
        converged=not why,
        why=why or f"{summit.agree} of {summit.starts} starts ended at the maximum",
        covariance=summit.covariance,
        settings=settings,
        extra={"ess": float(len(samples))},
    )


def _doubts(summit: Summit) -> str:
    if summit.covariance is None:
        return "the best point is no maximum within the prior"
    if summit.agree < min(2, summit.starts):
        return f"only 1 of {summit.starts} starts ended at the best point"
    return ""


def climb(
    evaluations: Evaluations, starts: int, seed: int, start: Mapping[str, float] | None = None
) -> Summit:
    """The highest point that the starts lead to; all of them begin where `start` says."""
    problem = evaluations.problem
    rng = np.random.default_rng(seed)
    cube = rng.random((max(50 * problem.n_dim, 4 * starts), problem.n_dim))
    if start:
        cube = np.unique(_begin_at(problem, cube, start), axis=0)
    heights = evaluations.many(problem.transform(cube))
    if not np.isfinite(heights).any():
        raise LikelihoodError(
            f"The likelihood is zero at all of {len(cube)} draws of the prior: there is "
            "nowhere to start from."
        )
    best = np.argsort(-heights, kind="stable")[:starts]
    ends = _descend(evaluations, cube[best])
    polished = [_newton(evaluations, problem.transform(end)) for end in ends]
    top = max(polished, key=lambda each: each.height)
    top.agree = sum(each.height > top.height - AGREE for each in polished)
    top.starts = len(polished)
    return top


def _begin_at(problem: Problem, cube: Floats, start: Mapping[str, float]) -> Floats:
    """The points of the unit cube, moved to where some parameters have the given values.

    Halves intervals, parameter by parameter, since a prior may depend on those before it.
    """
    for column, name in enumerate(problem.names):
        if name not in start:
            continue
        low, high = np.zeros(len(cube)), np.ones(len(cube))
        for _ in range(HALVINGS):
            cube[:, column] = (low + high) / 2
            below = problem.transform(cube)[:, column] < start[name]
            low, high = (
                np.where(below, cube[:, column], low),
                np.where(below, high, cube[:, column]),
            )
    return cube


def _descend(evaluations: Evaluations, cube: Floats) -> Floats:
    """The simplices' way down in the unit cube, started again while that helps."""

    def depths(points: Floats) -> Floats:
        return -evaluations.many(evaluations.problem.transform(points))

    lowest, moving, size = np.full(len(cube), np.inf), np.arange(len(cube)), 0.1
    for _ in range(6):
        cube[moving], found = descend(depths, cube[moving], size)
        gain, lowest[moving] = lowest[moving] - found, found
        moving = moving[gain >= AGREE]
        if not len(moving):
            break
        size /= 3
    return cube


def _newton(evaluations: Evaluations, theta: Floats) -> Summit:
    """Newton's method from `theta`, in coordinates in which the maximum is round."""
    problem = evaluations.problem

    def height(points: Floats) -> Floats:
        inside = np.isfinite(problem.log_prior(points))
        found = np.full(len(points), -np.inf)
        if inside.any():
            found[inside] = evaluations.many(points[inside])
        return found

    top = float(height(theta[None])[0])
    axes, covariance = np.diag(_steps(height, theta, top)), None
    for _ in range(30):
        slope, bend = _derivatives(height, theta, top, axes)
        if np.isnan(slope).any():
            return Summit(theta, top, None, 1)
        curvature, turn = np.linalg.eigh(bend)
        if curvature[0] <= 0:  # a saddle or an edge: go up where it bends the right way
            curvature = np.maximum(np.abs(curvature), 1e-3 * np.abs(curvature).max() + 1e-12)
            covariance = None
        else:
            covariance = axes @ turn @ np.diag(1 / curvature) @ turn.T @ axes.T
        move = turn @ (turn.T @ slope / curvature)
        tries = theta + np.outer(0.5 ** np.arange(8), axes @ move)
        heights = height(tries)
        best = int(np.argmax(heights > heights.max() - 1e-12 * max(1.0, abs(top))))
        far = float(np.sqrt(move @ bend @ move)) if covariance is not None else np.inf
        if heights[best] < top - 1e-12 * max(1.0, abs(top)):
            break
        theta, top = tries[best], float(heights[best])
        axes = axes @ turn / np.sqrt(curvature)
        if far < 1e-6:
            break
    return Summit(theta, top, covariance, 1)


def _steps(height: Any, theta: Floats, top: float) -> Floats:
    """How far each parameter can go until the likelihood falls by about half a unit."""
    steps = np.maximum(np.abs(theta), 1e-8) * 1e-3
    for _ in range(FARTHEST):
        ahead, behind = (height(theta + sign * np.diag(steps)) for sign in (1, -1))
        cost = top - 0.5 * (ahead + behind)
        factor = np.where(cost > 2, 0.25, np.where(cost < 0.1, 2.5, 1.0))
        if (factor == 1).all():
            break
        steps = steps * factor
    return steps


def _derivatives(height: Any, theta: Floats, top: float, axes: Floats) -> tuple[Floats, Floats]:
    """Slope (n_dim,) and downward curvature (n_dim, n_dim) along the columns of `axes`.

    NaN where a step of a fifth of a standard deviation leads out of the prior.
    """
    n_dim, step = len(theta), 0.1
    unit = step * np.eye(n_dim)
    pairs = [(i, j) for i in range(n_dim) for j in range(i)]
    single = np.vstack([unit, -unit, 2 * unit, -2 * unit])
    double = [s * unit[i] + t * unit[j] for i, j in pairs for s, t in SIGNS]
    points = np.vstack([single, *double]) if pairs else single
    found = height(theta + points @ axes.T)
    up, down, far_up, far_down = found[: 4 * n_dim].reshape(4, n_dim)
    if not np.isfinite(found).all():
        return np.full(n_dim, np.nan), np.full((n_dim, n_dim), np.nan)
    slope = (8 * (up - down) - (far_up - far_down)) / (12 * step)
    bend = np.diag((30 * top - 16 * (up + down) + far_up + far_down) / (12 * step**2))
    for (i, j), corners in zip(pairs, found[4 * n_dim :].reshape(-1, 4), strict=True):
        mixed = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step**2)
        bend[i, j] = bend[j, i] = -mixed
    return slope, bend


def _spread(problem: Problem, summit: Summit, number: int, seed: int) -> Floats:
    """Draws of the normal distribution about the maximum that the prior allows."""
    if summit.covariance is None or not number:
        return np.empty((0, problem.n_dim))
    rng = np.random.default_rng([seed, 1])
    draws = rng.multivariate_normal(summit.theta, summit.covariance, 4 * number, method="eigh")
    return np.asarray(draws[np.isfinite(problem.log_prior(draws))][:number])
