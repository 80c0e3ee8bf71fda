"""Derived quantities: functions of the parameters, computed for all samples of a fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError, LikelihoodError
from cropfit.fitting.model import Model
from cropfit.fitting.params import check_names
from cropfit.fitting.quiet import quiet
from cropfit.fitting.vectorize import Layout

__all__ = ["check_derived", "derive", "derived_names", "derived_units"]

COMPARED = 16  # samples that are held against the same sample alone


def derived_units(model: Model) -> dict[str, str]:
    """Units of derived quantities that were given with one: ``name: (function, unit)``."""
    if not isinstance(model.derived, Mapping):
        return {}
    return {name: each[1] for name, each in model.derived.items() if isinstance(each, tuple)}


def derived_names(model: Model) -> list[str]:
    """Names of the derived quantities, by computing them once where they do not tell."""
    check_derived(model)
    if model.derived is None or isinstance(model.derived, Mapping):
        return [*(model.derived or ())]
    return [*_compute(model)(_alone(model, model.transform(np.full(model.n_dim, 0.5))))]


def check_derived(model: Model) -> None:
    """Compute the derived quantities once, before a fit spends hours.

    Raises
    ------
    DesignError
        They have the names of parameters, or are no numbers.
    LikelihoodError
        A function raised.
    """
    if model.derived is None:
        return
    theta = model.transform(np.full(model.n_dim, 0.5))
    try:
        found = _compute(model)(_alone(model, theta))
    except Exception as error:
        at = ", ".join(f"{n}={float(v)!r}" for n, v in zip(model.names, theta, strict=True))
        raise LikelihoodError(
            f"derived raised {type(error).__name__}: {error} at {at}. Nothing was fitted yet."
        ) from error
    check_names(found)
    for name, value in found.items():
        if name in model.priors:
            raise DesignError(f"The derived quantity {name!r} has the name of a parameter.")
        if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "biuf":
            raise DesignError(f"The derived quantity {name!r} is {value!r}; it must be a number.")


def derive(model: Model, thetas: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The derived quantities of points (n, n_dim), each of shape (n,).

    A point at which a function raises has NaN, with a warning: samples are not lost for it.
    """
    if model.derived is None or not len(thetas):
        return {}
    compute = _compute(model)
    together = _together(model, compute, thetas)
    return _one_by_one(model, compute, thetas) if together is None else together


def _compute(model: Model) -> Callable[[Any], dict[str, Any]]:
    derived = model.derived
    if callable(derived):
        return lambda params: dict(derived(params))
    pairs = (derived or {}).items()
    functions = {name: each[0] if isinstance(each, tuple) else each for name, each in pairs}
    return lambda params: {name: function(params) for name, function in functions.items()}


def _alone(model: Model, theta: NDArray[np.float64]) -> Any:
    return theta if model.as_array else model.params(theta)


def _together(
    model: Model, compute: Callable[[Any], dict[str, Any]], thetas: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]] | None:
    """All points in one call; None if that gives something else than one by one."""
    layout = Layout("array" if model.as_array else "flat")
    try:
        with quiet():
            raw = compute(layout.arguments(model, thetas))
            found = {name: np.asarray(value, np.float64) for name, value in raw.items()}
            if any(value.shape != (len(thetas),) for value in found.values()):
                return None
            for row in np.unique(np.linspace(0, len(thetas) - 1, COMPARED).astype(int)):
                alone = compute(_alone(model, thetas[row]))
                pairs = [(found[name][row], float(alone[name])) for name in found]
                if not all(layout.agree(*pair) or np.isnan(pair).all() for pair in pairs):
                    return None
    except Exception:
        return None
    return found


def _one_by_one(
    model: Model, compute: Callable[[Any], dict[str, Any]], thetas: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    columns: dict[str, NDArray[np.float64]] = {}
    failed: list[Exception] = []
    for row, theta in enumerate(thetas):
        try:
            values = {name: float(value) for name, value in compute(_alone(model, theta)).items()}
        except Exception as error:
            failed.append(error)
            continue
        for name, value in values.items():
            column = columns.setdefault(name, np.full(len(thetas), np.nan))
            column[row] = value
    if failed:
        warnings.warn(
            f"derived raised for {len(failed)} of {len(thetas)} samples, which have NaN there "
            f"(first: {type(failed[0]).__name__}: {failed[0]}).",
            stacklevel=2,
        )
    return columns
