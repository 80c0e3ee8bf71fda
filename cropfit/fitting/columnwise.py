"""Quantiles and densities of a model's priors, many columns at once.

Samplers ask for one point at a time, so it is calls of numpy that cost: what does not
depend on the point is computed when the model is made. The numbers are those that
`quantile` and `log_pdf` of each family give for these columns, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.fitting.families import LogUniform, Normal, Prior, Uniform, standard_quantile

__all__ = ["densities", "inverses"]

Floats = NDArray[np.float64]
Columns = list[tuple[Any, Callable[[Floats], Any]]]  # which of them, and their function


def inverses(priors: Mapping[int, Prior]) -> Columns:
    """The quantiles of priors, given by column."""
    return [
        (as_slice(columns), _inverse(kind, [priors[column] for column in columns]))
        for kind, columns in _by_kind(priors, {LogUniform: Uniform}).items()
    ]


def densities(priors: Mapping[int, Prior]) -> Columns:
    """The logarithms of the densities of priors, given by column."""
    return [
        (as_slice(columns), _given(kind.log_pdf, _values(priors[column] for column in columns)))
        for kind, columns in _by_kind(priors, {}).items()
    ]


def _by_kind(priors: Mapping[int, Prior], alike: Mapping[Any, Any]) -> dict[Any, list[int]]:
    kinds: dict[Any, list[int]] = {}
    for column, prior in priors.items():
        kinds.setdefault(alike.get(type(prior), type(prior)), []).append(column)
    return kinds


def _values(priors: Iterable[Prior]) -> tuple[Floats, ...]:
    return tuple(np.array([prior.values() for prior in priors], float).T)


def _given(function: Callable[..., Any], values: tuple[Floats, ...]) -> Callable[[Floats], Any]:
    return lambda points: function(points, *values)


def as_slice(columns: list[int]) -> Any:
    """Columns as a slice if they stand together, which numpy takes without a copy."""
    if columns == list(range(columns[0], columns[-1] + 1)):
        return slice(columns[0], columns[-1] + 1)
    return np.array(columns)


def _inverse(kind: type[Prior], priors: list[Prior]) -> Callable[[Floats], Any]:
    values = _values(priors)
    if kind is Uniform:
        low, high = values
        return _straight(low, high, [isinstance(prior, LogUniform) for prior in priors])
    if kind is Normal and np.isinf(values[2:]).all():
        mean, sd, *_ = values
        return lambda u: mean + sd * standard_quantile(u)
    return _given(kind.quantile, values)


def _straight(low: Floats, high: Floats, in_logarithm: list[bool]) -> Callable[[Floats], Floats]:
    """Of parameters, or their logarithms, that go along a line."""
    logs = np.flatnonzero(in_logarithm)
    if not len(logs):
        width = high - low
        return lambda u: np.asarray(np.minimum(low + u * width, high))
    start, end = low.copy(), high.copy()
    start[logs], end[logs] = np.log(low[logs]), np.log(high[logs])
    width, part = end - start, as_slice(logs.tolist())

    def quantile(u: Floats) -> Floats:
        x = u * width
        x += start
        if x.ndim == 1:
            x[part] = np.exp(x[part])
        else:
            x[..., part] = np.exp(x[..., part].copy())  # numpy may round strided ones otherwise
        np.maximum(x, low, out=x)
        return np.minimum(x, high, out=x)

    return quantile
