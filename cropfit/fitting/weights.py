"""What weighted samples say: quantiles, effective number, equally weighted draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["effective_size", "normalised", "quantiles", "resample"]


def normalised(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that sum to one, from their logarithms up to a constant."""
    if not len(log_weights):
        return np.empty(0)
    weights = np.exp(log_weights - np.max(log_weights))
    return np.asarray(weights / weights.sum())


def effective_size(weights: NDArray[np.float64]) -> float:
    """How many independent, equally weighted samples would say as much (Kish)."""
    total = float(np.sum(weights**2))
    return float(np.sum(weights)) ** 2 / total if total else 0.0


def quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], levels: ArrayLike
) -> NDArray[np.float64]:
    """Quantiles of weighted values at `levels` in [0, 1].

    Between the middles of the weights, which for equal weights is Hazen's definition.
    """
    order = np.argsort(values, kind="stable")
    order = order[weights[order] > 0]
    if not len(order) or np.isnan(values[order]).any():
        return np.full(np.shape(levels), np.nan)
    sorted_weights = weights[order]
    middles = np.cumsum(sorted_weights) - 0.5 * sorted_weights
    found = np.interp(np.asarray(levels, float) * sorted_weights.sum(), middles, values[order])
    return np.asarray(found)


def resample(weights: NDArray[np.float64], size: int, seed: int) -> NDArray[np.intp]:
    """Indices of `size` equally weighted draws, in random order (systematic resampling)."""
    rng = np.random.default_rng(seed)
    positions = (np.arange(size) + rng.random()) / size
    edges = np.cumsum(weights)
    found = np.searchsorted(edges / edges[-1], positions, side="right")
    chosen: NDArray[np.intp] = np.minimum(found, len(weights) - 1)
    shuffled: NDArray[np.intp] = rng.permutation(chosen)
    return shuffled
