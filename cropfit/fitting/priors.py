"""Priors: what is believed of each parameter before the data are seen.

A prior maps the unit interval onto its parameter by the inverse of its cumulative
distribution. Quantiles and densities are static functions of arrays, so that a model
computes all parameters of one family at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError

__all__ = ["Conditional", "Distribution", "Fixed", "LogNormal", "LogUniform", "Normal", "Prior"]
__all__ += ["Uniform", "as_prior"]

_SMALLEST, _LARGEST = np.finfo(float).tiny, 1 - 2.0**-53  # u of 0 or 1 would be infinite
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
_BOUNDARIES = (None, "periodic", "reflective")


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
        if self.boundary not in _BOUNDARIES:
            raise DesignError(f"{self!r}: boundary must be None, 'periodic' or 'reflective'.")
        for name, value in zip(self._own(), self.values(), strict=True):
            _check_number(self, name, value)
        self._check()
        if self.boundary is not None and not np.all(np.isfinite(self.support)):
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
        return _show(self, [_short(value) for value in self.values()])


@dataclass(frozen=True, repr=False)
class Uniform(Prior):
    """All values from `low` to `high` alike."""

    low: float
    high: float

    def _check(self) -> None:
        _check_order(self)
        if not np.all(np.isfinite(np.subtract(self.high, self.low))):
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
        if np.any(np.less_equal(self.low, 0)) or not np.all(np.isfinite(self.high)):
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
        x = mean + sd * _standard_quantile(u, (low - mean) / sd, (high - mean) / sd)
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
        if np.any(np.less(self.low, 0)):
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
        inside = np.clip(u, _SMALLEST, _LARGEST)
        inverse = getattr(self.frozen, "ppf", None) or self.frozen.icdf
        return np.asarray(inverse(inside), np.float64)

    def log_density(self, x: Any) -> NDArray[np.float64]:
        """Natural logarithm of the density at `x`; -inf outside of the support."""
        density = getattr(self.frozen, "logpdf", None) or self.frozen.logpmf
        return np.asarray(density(np.asarray(x, np.float64)), np.float64)

    def __repr__(self) -> str:
        return _show(self, [_name_of(self.frozen)])

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
        return _show(self, [_short(self.value)])

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
        if self.boundary not in _BOUNDARIES:
            raise DesignError(f"{self!r}: boundary must be None, 'periodic' or 'reflective'.")

    def __repr__(self) -> str:
        return _show(self, [getattr(self.prior, "__name__", repr(self.prior))])

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


def _show(prior: Any, own: list[str]) -> str:
    for name in ("unit", "label", "boundary"):
        if getattr(prior, name, None) is not None:
            own.append(f"{name}={getattr(prior, name)!r}")
    return f"{type(prior).__name__}({', '.join(own)})"


def _short(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def _name_of(frozen: Any) -> str:
    family = getattr(frozen, "dist", None)
    if family is None:
        return repr(frozen)
    said = [repr(each) for each in frozen.args]
    said += [f"{name}={value!r}" for name, value in sorted(frozen.kwds.items())]
    return f"{family.name}({', '.join(said)})"


def _check_number(prior: Prior, name: str, value: Any) -> None:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise DesignError(f"{prior!r}: {name} must be a number, not {value!r}.")
    if np.any(np.isnan(array)):
        raise DesignError(f"{prior!r}: {name} is NaN.")


def _check_order(prior: Any) -> None:
    if not np.all(np.less(prior.low, prior.high)):
        raise DesignError(f"{prior!r}: low must be below high.")


def _check_bell(prior: Any) -> None:
    if not np.all(np.isfinite(prior.mean)) or not np.all(
        np.greater(prior.sd, 0) & np.isfinite(prior.sd)
    ):
        raise DesignError(f"{prior!r}: mean must be finite, and sd finite and above 0.")


def _log(value: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(value)


def _standard_quantile(u: NDArray[np.float64], low: Any, high: Any) -> NDArray[np.float64]:
    """Quantile of the standard normal between `low` and `high`.

    In the logarithm of the CDF, and mirrored where the interval lies to the right, so that
    it is exact however far out the interval is.
    """
    from scipy.special import log_ndtr, ndtri, ndtri_exp

    u = np.minimum(np.maximum(u, _SMALLEST), _LARGEST)
    if np.all(np.isneginf(low)) and np.all(np.isposinf(high)):
        return np.asarray(ndtri(u))
    mirrored = np.abs(low) < np.abs(high)
    start, end = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    rest, part = np.log1p(-u), np.log(u)
    from_start, from_end = np.where(mirrored, part, rest), np.where(mirrored, rest, part)
    log_cdf = np.logaddexp(from_start + log_ndtr(start), from_end + log_ndtr(end))
    z = np.asarray(ndtri_exp(np.minimum(log_cdf, 0.0)))
    return np.where(mirrored, -z, z)


def _log_mass(low: Any, high: Any) -> NDArray[np.float64]:
    """Logarithm of the standard normal's probability between `low` and `high`."""
    from scipy.special import log_ndtr

    mirrored = np.abs(low) < np.abs(high)
    start, end = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    upper = log_ndtr(end)
    return np.asarray(upper + np.log1p(-np.exp(log_ndtr(start) - upper)))
