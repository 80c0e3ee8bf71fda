"""Nelder and Mead's simplex from many starts at once, so that their points share one call.

Reflection is asked for all simplices that still move, then what each of them asks next:
expansion or contraction. With lengths that suit many parameters (Gao and Han 2012).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["descend"]

Floats = NDArray[np.float64]
FLAT = 1e-3  # difference of depth within a simplex that has arrived
NARROW = 1e-9  # and how narrow it is: bent valleys are flat long before their lowest point
STEPS = 300  # of a simplex, at most, for each parameter


def descend(
    depths: Callable[[Floats], Floats], starts: Floats, size: float
) -> tuple[Floats, Floats]:
    """The lowest corners, and their depths, to which simplices of `size` in the unit cube shrink.

    Parameters
    ----------
    depths : callable
        Points (n, n_dim) → (n,), infinite where nothing can be.
    starts : (m, n_dim) float array
    size : float
    """
    n_dim = starts.shape[1]
    steps = np.where(starts > 0.5, -size, size)
    corners = starts[:, None] + np.vstack([np.zeros(n_dim), np.eye(n_dim)]) * steps[:, None]
    values = depths(corners.reshape(-1, n_dim)).reshape(len(starts), n_dim + 1)
    for _ in range(STEPS * n_dim):
        order = np.argsort(values, axis=1, kind="stable")
        values = np.take_along_axis(values, order, 1)
        corners = np.take_along_axis(corners, order[:, :, None], 1)
        flat = values[:, -1] <= values[:, 0] + FLAT
        narrow = np.abs(corners - corners[:, :1]).max(axis=(1, 2)) <= NARROW
        moving = np.flatnonzero(~(flat & narrow))
        if not len(moving):
            break
        corners[moving], values[moving] = _step(depths, corners[moving], values[moving])
    best = np.argmin(values, axis=1)
    rows = np.arange(len(starts))
    return corners[rows, best], values[rows, best]


def _step(
    depths: Callable[[Floats], Floats], corners: Floats, values: Floats
) -> tuple[Floats, Floats]:
    """Move the worst corner of each simplex, or shrink it; corners are in order of depth."""
    n_dim = corners.shape[2]
    expand, contract, shrink = 1 + 2 / n_dim, 0.75 - 0.5 / n_dim, 1 - 1 / n_dim
    centre = corners[:, :-1].mean(axis=1)
    away = centre - corners[:, -1]
    lowest, second, worst = values[:, 0], values[:, -2], values[:, -1]

    def at(far: Floats) -> Floats:
        return np.asarray(np.clip(centre + far[:, None] * away, 0, 1))

    new = at(np.ones(len(centre)))
    found = depths(new)
    further = found < lowest
    stuck = ~(found < second)
    limit = np.where(stuck, np.minimum(found, worst), found)
    far = np.where(further, expand, np.where(found < worst, contract, -contract))
    asked = np.flatnonzero(further | stuck)
    if len(asked):
        tried = at(far)[asked]
        depth = depths(tried)
        better = depth < limit[asked]
        new[asked[better]], found[asked[better]] = tried[better], depth[better]
        stuck[asked[better]] = False
    corners[~stuck, -1], values[~stuck, -1] = new[~stuck], found[~stuck]
    low = np.flatnonzero(stuck)
    if len(low):
        nearest = corners[low, :1]
        corners[low, 1:] = nearest + shrink * (corners[low, 1:] - nearest)
        values[low, 1:] = depths(corners[low, 1:].reshape(-1, n_dim)).reshape(len(low), n_dim)
    return corners, values
