"""Priors: what is believed of each parameter before the data are seen.

A parameter has a prior of one of our families, a distribution of scipy, a prior that
depends on earlier parameters, or is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError
from cropfit.fitting.families import (
    BOUNDARIES,
    LARGEST,
    SMALLEST,
    LogNormal,
    LogUniform,
    Normal,
    Prior,
    Uniform,
    as_text,
    shown,
)

__all__ = ["Conditional", "Distribution", "Fixed", "LogNormal", "LogUniform", "Normal", "Prior"]
__all__ += ["Uniform", "as_prior"]


@dataclass(frozen=True, eq=False, repr=False)
class Distribution(Prior):
    """A frozen distribution of ``scipy.stats``, with a unit."""

    frozen: Any

    def __post_init__(self) -> None:
        if not _is_frozen(self.frozen):
            raise DesignError(
                f"{self.frozen!r} is no frozen distribution of one parameter: give one such as "
                "scipy.stats.gamma(2, scale=3)."
            )
        if np.any(np.isnan(self.support)):
            raise DesignError(f"{self!r}: the numbers that it was made with make no distribution.")
        super().__post_init__()

    def values(self) -> tuple[Any, ...]:
        """None: a frozen distribution is computed on its own."""
        return ()

    @classmethod
    def _own(cls) -> tuple[str, ...]:
        return ()

    @property
    def support(self) -> tuple[float, float]:
        """The interval outside of which the density is zero."""
        low, high = self.frozen.support()
        return float(low), float(high)

    def transform(self, u: Any) -> NDArray[np.float64]:
        """Map points of [0, 1], of any shape, to the parameter: the inverse CDF."""
        inside = np.clip(u, SMALLEST, LARGEST)
        inverse = getattr(self.frozen, "ppf", None) or self.frozen.icdf
        return np.asarray(inverse(inside), np.float64)

    def log_density(self, x: Any) -> NDArray[np.float64]:
        """Natural logarithm of the density at `x`; -inf outside of the support."""
        density = getattr(self.frozen, "logpdf", None) or self.frozen.logpmf
        return np.asarray(density(np.asarray(x, np.float64)), np.float64)

    def __repr__(self) -> str:
        return shown(self, [_name_of(self.frozen)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Distribution) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True, repr=False)
class Fixed:
    """A parameter that is known."""

    value: float
    _: KW_ONLY
    unit: str | None = None
    label: str | None = None

    def __repr__(self) -> str:
        return shown(self, [as_text(self.value)])

    def __post_init__(self) -> None:
        if not _is_number(self.value) or not math.isfinite(self.value):
            raise DesignError(f"{self!r}: the value must be one finite number.")


@dataclass(frozen=True, repr=False)
class Conditional:
    """A prior that depends on parameters which stand before it.

    Parameters
    ----------
    prior : callable
        Takes the earlier parameters, fixed ones included, and returns a `Prior`.
    unit, label, boundary
        As of any prior.

    Examples
    --------
    >>> slower = Conditional(lambda p: Uniform(0, p.fast), unit="km/s")
    """

    prior: Callable[[Any], Any]
    _: KW_ONLY
    unit: str | None = None
    label: str | None = None
    boundary: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.prior):
            raise DesignError(f"{self!r}: the prior must be a function of the earlier parameters.")
        if self.boundary not in BOUNDARIES:
            raise DesignError(f"{self!r}: boundary must be None, 'periodic' or 'reflective'.")

    def __repr__(self) -> str:
        return shown(self, [getattr(self.prior, "__name__", repr(self.prior))])

    def given(self, params: Any) -> Prior:
        """The prior that belongs to these earlier parameters."""
        found = as_prior("a conditional parameter", self.prior(params))
        if isinstance(found, Prior):
            return found
        raise DesignError(f"{self!r} gave {found!r}, which is no prior.")


def as_prior(name: str, value: Any) -> Prior | Conditional | Fixed:
    """What a user may write for a prior, as a prior.

    Raises
    ------
    DesignError
        It is none; says for which parameter.
    """
    if isinstance(value, Prior | Conditional | Fixed):
        return value
    if _is_number(value):
        return Fixed(value)
    if _is_frozen(value):
        return Distribution(value)
    hint = " Did you mean Conditional(...)?" if callable(value) else ""
    raise DesignError(
        f"The prior of {name!r} is {value!r}: give a prior such as Uniform(0, 1), a frozen "
        f"distribution of scipy.stats, or a number for a parameter that is fixed.{hint}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_frozen(value: Any) -> bool:
    inverse, density = ("ppf", "icdf"), ("logpdf", "logpmf")
    return (
        hasattr(value, "support")
        and not hasattr(value, "shapes")  # which only the family has, not its frozen member
        and any(hasattr(value, name) for name in inverse)
        and any(hasattr(value, name) for name in density)
    )


def _name_of(frozen: Any) -> str:
    family = getattr(frozen, "dist", None)
    if family is None:
        return repr(frozen)
    said = [repr(each) for each in frozen.args]
    said += [f"{name}={value!r}" for name, value in sorted(frozen.kwds.items())]
    return f"{family.name}({', '.join(said)})"
