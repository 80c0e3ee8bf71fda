"""Leaps: points drawn anew from an ellipsoid around the live points, whatever comes before.

    live points ──▶ ellipsoid ──▶ candidates, one call of the likelihood ──▶ those above it

A walker inside the ellipsoid goes to the next candidate that is above the likelihood, if
there is one for it. Which one, and whether, does not depend on where it is, so that there
and back is equally likely. What the ellipsoid leaves out is reached by walks alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Leaps"]

Floats = NDArray[np.float64]
Points = tuple[Floats, Floats, Floats]

ENLARGED = 1.25  # volume of the ellipsoid over that which holds all live points
ENOUGH = 20  # live points a parameter, below which an ellipsoid says little about the shape
SPARE = 1.2  # candidates for each that is expected to be needed
TRIES = 3
REFRESHED = 0.97  # share of the walkers that must leap for their walks to be short
SHORTER = 4  # how much shorter


class Leaps:
    """How walkers leap, and what that takes.

    Parameters
    ----------
    worth : float
        Candidates a walker at most; where more are needed, leaps are only tried.

    Attributes
    ----------
    share : float
        Of the candidates that were above the likelihood, when last tried.
    """

    def __init__(self, worth: float) -> None:
        self.worth = worth
        self.share = 1.0

    def leap(
        self,
        rng: np.random.Generator,
        live: Floats,
        points: Points,
        above: Callable[[Floats], tuple[Points, int]],
    ) -> tuple[float, float, int]:
        """Move what can be moved of `points`, in place.

        Parameters
        ----------
        rng : Generator
        live : (n, n_dim) float array
            In the unit cube, `points` among them.
        points : (m, n_dim), (m, n_dim) and (m,) float arrays
            In the unit cube, as parameters, and their likelihoods.
        above : callable
            ``above(cube)`` → those of the candidates that are high enough, and how many were
            computed.

        Returns
        -------
        tuple
            Share of the points that were moved, `share` for the next time, candidates computed.
        """
        shape = _ellipsoid(live)
        if shape is None:
            return 0.0, self.share, 0
        number, done, tried, found, computed = len(points[0]), 0, 0, 0, 0
        for _ in range(TRIES if self.share * self.worth >= 1 else 1):
            wanted = number - done
            if self.share * self.worth >= 1:
                wanted = int(np.ceil(SPARE * wanted / max(found / (tried or 1), self.share)))
            good, calls = above(_draw(rng, *shape, wanted))
            here = slice(done, min(number, done + len(good[0])))
            for old, new in zip(points, good, strict=True):
                old[here] = new[: here.stop - here.start]
            done, tried = here.stop, tried + wanted
            found, computed = found + len(good[0]), computed + calls
            if done == number:
                break
        return done / number, max(found, 0.5) / tried, computed


def _ellipsoid(live: Floats) -> tuple[Floats, Floats] | None:
    """Centre and axes (as columns) of one that holds all; None where there is no telling."""
    n_dim = live.shape[1]
    if len(live) < ENOUGH * n_dim:
        return None
    centre = live.mean(axis=0)
    away = live - centre
    try:
        axes = np.linalg.cholesky(away.T @ away / len(live))
        reach = np.linalg.norm(np.linalg.solve(axes, away.T), axis=0).max()
    except np.linalg.LinAlgError:  # they lie in a plane
        return None
    return centre, axes * reach * ENLARGED ** (1 / n_dim)


def _draw(rng: np.random.Generator, centre: Floats, axes: Floats, number: int) -> Floats:
    """Points (number, n_dim), uniform in the ellipsoid."""
    ball = rng.standard_normal((number, len(centre)))
    ball *= rng.random((number, 1)) ** (1 / len(centre)) / np.linalg.norm(ball, axis=1)[:, None]
    drawn: Floats = centre + ball @ axes.T
    return drawn
