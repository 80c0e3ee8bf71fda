"""A model with its data: all that samplers and pools get to see.

A likelihood gives a number below infinity, or the fit ends with an error that holds
the parameters; it never goes on with a NaN.
"""

from __future__ import annotations

import math
import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import LikelihoodError
from cropfit.fitting.model import Model
from cropfit.fitting.vectorize import Layout, find_layout

__all__ = ["Problem"]

_INF = math.inf


class Problem:
    """A model bound to data.

    Parameters
    ----------
    model : Model
    data
        Whatever the likelihood takes.
    layout : Layout, optional
        How many points go into one call of the likelihood, if it is known already.

    Attributes
    ----------
    names : tuple of str
        The free parameters, in the order of the last axis of all points.
    periodic, reflective : list of int
        Which of them have such a boundary.

    Raises
    ------
    LikelihoodError
        It is declared vectorised and is not.
    """

    def __init__(self, model: Model, data: Any, layout: Layout | None = None) -> None:
        self.model = model
        self.data = data
        self.names = model.names
        self.n_dim = model.n_dim
        free = [model.priors[name] for name in model.names]
        bounds = [getattr(prior, "boundary", None) for prior in free]
        self.periodic = [i for i, bound in enumerate(bounds) if bound == "periodic"]
        self.reflective = [i for i, bound in enumerate(bounds) if bound == "reflective"]
        self._checks = 0
        self.layout = Layout("scalar") if layout is None else layout
        if layout is None:
            self.layout = find_layout(model, data)

    def __reduce__(self) -> tuple[Any, ...]:
        return Problem, (self.model, self.data, self.layout)

    @property
    def vectorized(self) -> bool:
        """Whether `log_likelihoods` is one call of the likelihood."""
        return self.layout.many

    def transform(self, u: Any) -> NDArray[np.float64]:
        """Points (..., n_dim) of the unit cube as parameters."""
        return self.model.transform(u)

    def log_prior(self, theta: Any) -> NDArray[np.float64]:
        """Natural logarithm of the prior density of points (..., n_dim)."""
        return self.model.log_prior(theta)

    def log_likelihood(self, theta: NDArray[np.float64]) -> float:
        """Natural logarithm of the likelihood of one point (n_dim,).

        Raises
        ------
        LikelihoodError
            It raised, or gave anything but a number below infinity.
        """
        if self.layout.declared:
            return float(self.log_likelihoods(np.asarray(theta)[None])[0])
        model = self.model
        try:
            params = _locked(theta) if model.as_array else model.params(theta)
            if model.constraint is not None and not model.constraint(params):
                return -_INF
            value = model.log_likelihood(params, self.data)
        except Exception as error:
            raise LikelihoodError(self._raised(error, theta)) from error
        if isinstance(value, float) and value < _INF:
            return value
        return self._checked(value, theta)

    def log_likelihoods(self, thetas: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of many points (n, n_dim): an array (n,).

        Raises
        ------
        LikelihoodError
            As of one, or a point has another likelihood alone than among others.
        """
        thetas = np.asarray(thetas, np.float64)
        if not self.vectorized:
            return np.array([self.log_likelihood(theta) for theta in thetas], np.float64)
        if self.model.constraint is not None and len(thetas):
            allowed = self._allowed(thetas)
            found = np.full(len(thetas), -_INF)
            if allowed.any():
                found[allowed] = self._many(thetas[allowed])
            return found
        return self._many(thetas) if len(thetas) else np.empty(0)

    def fingerprint(self) -> str:
        """The same wherever the same likelihood, priors and data are bound."""
        from cropfit.disk.fingerprint import digest

        return digest(repr(sorted(self.identity().items())).encode())

    def identity(self) -> dict[str, str]:
        """A fingerprint of each thing that makes up the problem, by what it is."""
        from cropfit.fitting.identity import identity

        return identity(self.model, self.data)

    # -- inside --------------------------------------------------------------------

    def _allowed(self, thetas: NDArray[np.float64]) -> NDArray[np.bool_]:
        try:
            return self.layout.allowed(self.model, thetas)
        except Exception as error:
            raise LikelihoodError(self._raised(error, thetas[0], "constraint")) from error

    def _many(self, thetas: NDArray[np.float64]) -> NDArray[np.float64]:
        try:
            values = self.layout.call(self.model, thetas, self.data)
        except Exception as error:
            self._one_by_one(thetas)
            raise LikelihoodError(
                f"{self._raised(error, thetas[0])} This was the first of {len(thetas)} points in "
                "one call, none of which raises alone; Model(..., vectorized=False) avoids such "
                "calls."
            ) from error
        if values.shape != (len(thetas),):
            raise LikelihoodError(
                f"{self._name} gave shape {values.shape} for {len(thetas)} points, where "
                f"({len(thetas)},) was due. Model(..., vectorized=False) calls it for one "
                "point at a time."
            )
        good = values < _INF
        if not good.all():
            row = int(np.argmin(good))
            self._checked(values[row], thetas[row])
        self._spot_check(thetas, values)
        return values

    def _one_by_one(self, thetas: NDArray[np.float64]) -> None:
        """Raise what the first of the points raises when it is computed alone."""
        if not self.layout.declared:
            for theta in thetas:
                self.log_likelihood(theta)
        elif len(thetas) > 1:
            for theta in thetas:
                self._many(theta[None])

    def _spot_check(self, thetas: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Hold a row of the 1st, 2nd, 4th, 8th, ... call against the same point alone."""
        self._checks += 1
        if self._checks & (self._checks - 1) or len(thetas) == 1:
            return
        row = self._checks % len(thetas)
        if self.layout.declared:
            alone = float(self.layout.call(self.model, thetas[row : row + 1], self.data)[0])
        else:
            alone = self.log_likelihood(thetas[row])
        if not self.layout.agree(values[row], alone):
            raise LikelihoodError(
                f"{self._name} gave {float(values[row])!r} for a point among {len(thetas)} and "
                f"{float(alone)!r} for it alone, at {self._at(thetas[row])}. "
                "Points of one call must not depend on each other; Model(..., vectorized=False) "
                "computes one at a time."
            )

    def _checked(self, value: Any, theta: NDArray[np.float64]) -> float:
        """The number that the likelihood gave; anything else is an error."""
        if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf":
            number = float(value)
            if number < _INF:
                return number
        raise LikelihoodError(
            f"{self._name} gave {_described(value)} at {self._at(theta)}; it must give a number "
            "below infinity, or -inf where the data are impossible."
        )

    def _raised(self, error: Exception, theta: NDArray[np.float64], what: str = "") -> str:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f" in {last.name}, {last.filename}:{last.lineno},"
        return (
            f"{what or self._name} raised {type(error).__name__}: {error},{place} "
            f"at {self._at(theta)}."
        )

    @property
    def _name(self) -> str:
        function = self.model.log_likelihood
        return str(getattr(function, "__name__", type(function).__name__))

    def _at(self, theta: NDArray[np.float64]) -> str:
        free = [f"{n}={float(v)!r}" for n, v in zip(self.names, theta, strict=True)]
        fixed = [f"{n}={v!r} (fixed)" for n, v in self.model.fixed.items()]
        return ", ".join([*free, *fixed])


def _locked(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point as an array that cannot be written to: it belongs to the sampler."""
    view = theta.view()
    view.flags.writeable = False
    return view


def _described(value: Any) -> str:
    if value is None:
        return "None (is a return missing?)"
    shape = getattr(value, "shape", ())
    if shape != ():
        return f"an array of shape {shape}"
    return str(value) if isinstance(value, float | np.floating) else repr(value)[:200]
