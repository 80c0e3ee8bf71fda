"""Families of priors: uniform and normal, of a parameter or of its logarithm.

A prior maps the unit interval onto its parameter by the inverse of its cumulative
distribution. Quantiles and densities are static functions of arrays, so that a model
computes all parameters of one family at once.
"""

from __future__ import annotations

import functools
import math
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError, MissingDependencyError

__all__ = ["BOUNDARIES", "LARGEST", "SMALLEST", "LogNormal", "LogUniform", "Normal", "Prior"]
__all__ += ["Uniform", "as_text", "shown", "standard_quantile"]

SMALLEST, LARGEST = np.finfo(float).tiny, 1 - 2.0**-53  # u of 0 or 1 would be infinite
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
BOUNDARIES = (None, "periodic", "reflective")


@dataclass(frozen=True, repr=False)
class Prior:
    """What all priors have in common.

    Parameters
    ----------
    unit : str, optional
        Of the parameter; goes into tables, files and pictures.
    label : str, optional
        What pictures call the parameter, instead of its name.
    boundary : {None, "periodic", "reflective"}
        Whether the ends of the support are one point, such as 0 and 360 degrees, or
        walks are mirrored there.
    """

    _: KW_ONLY
    unit: str | None = None
    label: str | None = None
    boundary: str | None = None

    def __post_init__(self) -> None:
        for name in ("unit", "label"):
            if not isinstance(getattr(self, name), str | None):
                raise DesignError(f"{self!r}: {name} must be text.")
        if self.boundary not in BOUNDARIES:
            raise DesignError(f"{self!r}: boundary must be None, 'periodic' or 'reflective'.")
        for name, value in zip(self._own(), self.values(), strict=True):
            _check_number(self, name, value)
        self._check()
        if self.boundary is not None and not all(map(_finite, self.support)):
            raise DesignError(f"{self!r}: a {self.boundary} parameter needs two finite ends.")

    def _check(self) -> None:
        """Refuse values that make no distribution."""

    @classmethod
    def _own(cls) -> tuple[str, ...]:
        shared = {field.name for field in fields(Prior)}
        return tuple(field.name for field in fields(cls) if field.name not in shared)

    def values(self) -> tuple[Any, ...]:
        """The numbers that tell this prior from others of its family."""
        return tuple(getattr(self, name) for name in self._own())

    @property
    def support(self) -> tuple[float, float]:
        """The interval outside of which the density is zero."""
        raise NotImplementedError

    @staticmethod
    def quantile(u: NDArray[np.float64], *values: Any) -> Any:
        """The inverse of the cumulative distribution of the family, at `u`."""
        raise NotImplementedError

    @staticmethod
    def log_pdf(x: NDArray[np.float64], *values: Any) -> Any:
        """Natural logarithm of the density of the family, at `x`."""
        raise NotImplementedError

    def transform(self, u: Any) -> NDArray[np.float64]:
        """Map points of [0, 1], of any shape, to the parameter: the inverse CDF."""
        return np.asarray(self.quantile(np.asarray(u, np.float64), *self.values()))

    def log_density(self, x: Any) -> NDArray[np.float64]:
        """Natural logarithm of the density at `x`, of any shape; -inf outside of the support."""
        return np.asarray(self.log_pdf(np.asarray(x, np.float64), *self.values()))

    def __repr__(self) -> str:
        return shown(self, [as_text(value) for value in self.values()])


@dataclass(frozen=True, repr=False)
class Uniform(Prior):
    """All values from `low` to `high` alike."""

    low: float
    high: float

    def _check(self) -> None:
        _check_order(self)
        with np.errstate(over="ignore"):
            width = self.high - self.low
        if not _finite(width):
            raise DesignError(f"{self!r}: low and high must be finite, and so their difference.")

    @property
    def support(self) -> tuple[float, float]:
        """From `low` to `high`."""
        return self.low, self.high

    @staticmethod
    def quantile(u: NDArray[np.float64], *values: Any) -> Any:
        """The inverse of the cumulative distribution."""
        low, high = values
        return np.minimum(low + u * (high - low), high)

    @staticmethod
    def log_pdf(x: NDArray[np.float64], *values: Any) -> Any:
        """Natural logarithm of the density."""
        low, high = values
        return np.where((x >= low) & (x <= high), -np.log(high - low), -np.inf)


@dataclass(frozen=True, repr=False)
class LogUniform(Prior):
    """All logarithms from that of `low` to that of `high` alike (Jeffreys)."""

    low: float
    high: float

    def _check(self) -> None:
        _check_order(self)
        if not _every(self.low > 0) or not _finite(self.high):
            raise DesignError(f"{self!r}: low must be above 0 and high finite.")

    @property
    def support(self) -> tuple[float, float]:
        """From `low` to `high`."""
        return self.low, self.high

    @staticmethod
    def quantile(u: NDArray[np.float64], *values: Any) -> Any:
        """The inverse of the cumulative distribution."""
        low, high = values
        start, end = np.log(low), np.log(high)
        return np.minimum(np.maximum(np.exp(start + u * (end - start)), low), high)

    @staticmethod
    def log_pdf(x: NDArray[np.float64], *values: Any) -> Any:
        """Natural logarithm of the density."""
        low, high = values
        inside = (x >= low) & (x <= high)
        log_x = np.log(np.where(inside, x, 1.0))
        return np.where(inside, -log_x - np.log(np.log(high) - np.log(low)), -np.inf)


@dataclass(frozen=True, repr=False)
class Normal(Prior):
    """A Gaussian, cut off at `low` and `high` and normalised between them."""

    mean: float
    sd: float
    low: float = -math.inf
    high: float = math.inf

    def _check(self) -> None:
        _check_order(self)
        _check_bell(self)

    @property
    def support(self) -> tuple[float, float]:
        """From `low` to `high`."""
        return self.low, self.high

    @staticmethod
    def quantile(u: NDArray[np.float64], *values: Any) -> Any:
        """The inverse of the cumulative distribution, exact far out in either tail."""
        mean, sd, low, high = values
        x = mean + sd * _cut_quantile(u, (low - mean) / sd, (high - mean) / sd)
        return np.minimum(np.maximum(x, low), high)

    @staticmethod
    def log_pdf(x: NDArray[np.float64], *values: Any) -> Any:
        """Natural logarithm of the density."""
        mean, sd, low, high = values
        z = (x - mean) / sd
        mass = _log_mass((low - mean) / sd, (high - mean) / sd)
        inside = (x >= low) & (x <= high)
        return np.where(inside, -0.5 * z * z - _HALF_LOG_TAU - np.log(sd) - mass, -np.inf)


@dataclass(frozen=True, repr=False)
class LogNormal(Prior):
    """A parameter whose natural logarithm is Gaussian.

    Parameters
    ----------
    mean, sd : float
        Of the natural logarithm.
    low, high : float
        Where the parameter itself is cut off.
    """

    mean: float
    sd: float
    low: float = 0.0
    high: float = math.inf

    def _check(self) -> None:
        _check_order(self)
        _check_bell(self)
        if not _every(self.low >= 0):
            raise DesignError(f"{self!r}: low must not be below 0.")

    @property
    def support(self) -> tuple[float, float]:
        """From `low` to `high`."""
        return self.low, self.high

    @staticmethod
    def quantile(u: NDArray[np.float64], *values: Any) -> Any:
        """The inverse of the cumulative distribution."""
        mean, sd, low, high = values
        x = np.exp(Normal.quantile(u, mean, sd, _log(low), _log(high)))
        return np.minimum(np.maximum(x, low), high)

    @staticmethod
    def log_pdf(x: NDArray[np.float64], *values: Any) -> Any:
        """Natural logarithm of the density."""
        mean, sd, low, high = values
        inside = (x >= low) & (x <= high) & (x > 0)
        log_x = np.log(np.where(inside, x, 1.0))
        density = Normal.log_pdf(log_x, mean, sd, -np.inf, np.inf) - log_x
        mass = _log_mass((_log(low) - mean) / sd, (_log(high) - mean) / sd)
        return np.where(inside, density - mass, -np.inf)


def shown(prior: Any, own: list[str]) -> str:
    """How a prior reads: its own values, then what it is called."""
    for name in ("unit", "label", "boundary"):
        if getattr(prior, name, None) is not None:
            own.append(f"{name}={getattr(prior, name)!r}")
    return f"{type(prior).__name__}({', '.join(own)})"


def as_text(value: Any) -> str:
    """A number as it was written, whichever library it is of."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _check_number(prior: Prior, name: str, value: Any) -> None:
    if type(value) not in (float, int, np.float64):  # arrays too: a prior may stand for many
        value = np.asarray(value)
        if value.dtype.kind not in "iuf":
            raise DesignError(f"{prior!r}: {name} must be a number.")
    if not _every(value == value):
        raise DesignError(f"{prior!r}: {name} is NaN.")


def _every(condition: Any) -> bool:
    return bool(condition.all() if isinstance(condition, np.ndarray) else condition)


def _finite(value: Any) -> bool:
    return _every(abs(value) < math.inf)


def _check_order(prior: Any) -> None:
    if not _every(prior.low < prior.high):
        raise DesignError(f"{prior!r}: low must be below high.")


def _check_bell(prior: Any) -> None:
    if not _finite(prior.mean) or not _every(prior.sd > 0) or not _finite(prior.sd):
        raise DesignError(f"{prior!r}: mean must be finite, and sd finite and above 0.")


def _log(value: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(value)


def standard_quantile(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantile of the standard normal distribution."""
    return np.asarray(_special().ndtri(np.minimum(np.maximum(u, SMALLEST), LARGEST)))


def _cut_quantile(u: NDArray[np.float64], low: Any, high: Any) -> NDArray[np.float64]:
    """Quantile of the standard normal between `low` and `high`.

    In the logarithm of the CDF, and mirrored where the interval lies to the right, so that
    it is exact however far out the interval is.
    """
    if np.all(np.isneginf(low)) and np.all(np.isposinf(high)):
        return standard_quantile(u)
    special = _special()
    u = np.minimum(np.maximum(u, SMALLEST), LARGEST)
    mirrored = np.abs(low) < np.abs(high)
    start, end = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    rest, part = np.log1p(-u), np.log(u)
    from_start, from_end = np.where(mirrored, part, rest), np.where(mirrored, rest, part)
    log_cdf = np.logaddexp(from_start + special.log_ndtr(start), from_end + special.log_ndtr(end))
    z = np.asarray(special.ndtri_exp(np.minimum(log_cdf, 0.0)))
    return np.where(mirrored, -z, z)


def _log_mass(low: Any, high: Any) -> NDArray[np.float64]:
    """Logarithm of the standard normal's probability between `low` and `high`."""
    log_ndtr = _special().log_ndtr
    mirrored = np.abs(low) < np.abs(high)
    start, end = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    upper = log_ndtr(end)
    return np.asarray(upper + np.log1p(-np.exp(log_ndtr(start) - upper)))


@functools.cache
def _special() -> Any:
    try:
        from scipy import special
    except ImportError as error:
        raise MissingDependencyError(
            "A normal prior needs scipy: pip install 'cropfit[fit]'."
        ) from error
    return special
