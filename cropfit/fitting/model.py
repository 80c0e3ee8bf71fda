"""A model: what a likelihood needs to be fitted, without the data.

    priors ──┐
             ├──▶ Model ──bind(data)──▶ Problem ──▶ sampler
    likelihood ┘

A model is never changed: settings of one object make a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError
from cropfit.fitting.columnwise import densities, inverses
from cropfit.fitting.params import Params, check_names, columns, params_maker
from cropfit.fitting.priors import Conditional, Distribution, Fixed, Prior, as_prior
from cropfit.fitting.quiet import quiet

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["Model"]

COMPARED = (0, 1, -1)  # points that a conditional prior of many is held against

Derived = Callable[[Any], Any] | Mapping[str, Any]


class Model:
    """A likelihood and the priors of its parameters.

    Parameters
    ----------
    log_likelihood : callable
        ``log_likelihood(params, data)`` → natural logarithm of the likelihood, a number;
        ``-inf`` where the data are impossible.
    priors : mapping
        Name → `Prior`, frozen distribution of ``scipy.stats``, `Conditional`, or a
        number (or `Fixed`) for a parameter that is not varied.
    predict : callable, optional
        ``predict(params, data)`` → what the model expects in place of the observed
        values, for pictures.
    derived : callable or mapping, optional
        ``derived(params)`` → mapping of name → number; or name → function of the parameters,
        or name → (function, unit). Computed
        for all samples once the fit is done.
    vectorized : bool, optional
        Whether the likelihood takes many points at once: each parameter is then an array
        of shape (n,), or (n, 1) so that data broadcast along the last axis, and the result
        has shape (n,). By default found out by trying.
    as_array : bool
        Whether all these functions get the free parameters as one array of shape (n_dim,),
        or (n, n_dim) when vectorised, instead of by name.
    constraint : callable, optional
        ``constraint(params)`` → whether the parameters may be; the likelihood is not
        called where they may not. The evidence refers to the priors without it.

    Examples
    --------
    >>> def log_likelihood(p, data):
    ...     residual = data["y"] - p.height * np.exp(-data["x"] / p.length)
    ...     return -0.5 * np.sum((residual / data["yerr"]) ** 2, axis=-1)
    >>> model = Model(
    ...     log_likelihood,
    ...     priors={"height": Uniform(0, 10, unit="mJy"), "length": LogUniform(0.1, 10)},
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        log_likelihood: Callable[[Any, Any], Any],
        priors: Mapping[str, Any],
        *,
        predict: Callable[[Any, Any], Any] | None = None,
        derived: Derived | None = None,
        vectorized: bool | None = None,
        as_array: bool = False,
        constraint: Callable[[Any], Any] | None = None,
    ) -> None:
        functions = {"predict": predict, "constraint": constraint}
        for what, function in {"log_likelihood": log_likelihood, **functions}.items():
            if not callable(function) and (function is not None or what == "log_likelihood"):
                raise DesignError(f"{what} must be a function, not {function!r}.")
        if not isinstance(priors, Mapping):
            raise DesignError(f"priors must be a mapping of names to priors, not {priors!r}.")
        check_names(priors)
        self.priors: Mapping[str, Prior | Conditional | Fixed] = MappingProxyType(
            {name: as_prior(name, value) for name, value in priors.items()}
        )
        self.log_likelihood = log_likelihood
        self.predict = predict
        self.derived = derived
        self.vectorized = vectorized
        self.as_array = as_array
        self.constraint = constraint
        self._arrange()
        if not self.names:
            raise DesignError("All parameters are fixed: there is nothing to fit.")

    def _arrange(self) -> None:
        """Sort the priors into those that are computed together, alone, and given others."""
        free = {n: each for n, each in self.priors.items() if not isinstance(each, Fixed)}
        self.names = tuple(free)
        self.fixed = {n: each.value for n, each in self.priors.items() if isinstance(each, Fixed)}
        self.units = {n: each.unit for n, each in self.priors.items() if each.unit is not None}
        self.labels = {n: each.label or n for n, each in self.priors.items()}
        together: dict[int, Prior] = {}
        self._alone: list[tuple[int, Prior]] = []
        self._given: list[tuple[int, Conditional, Callable[..., Params]]] = []
        for index, (name, prior) in enumerate(free.items()):
            if isinstance(prior, Conditional):
                self._given.append((index, prior, self._maker_before(name)))
            elif isinstance(prior, Distribution):
                self._alone.append((index, prior))
            else:
                together[index] = prior
        self._inverses = inverses(together)
        self._densities = densities(together)
        self._shape = (len(self.names),)
        # Most priors are of one kind: then nothing is to be put together.
        only = len(self._inverses) == 1 and not self._alone and not self._given
        self._all_at_once = self._inverses[0][1] if only else None
        self.params = params_maker(self.priors, self.names, self.fixed, self.units)

    def _maker_before(self, name: str) -> Callable[..., Params]:
        order = list(self.priors)[: list(self.priors).index(name)]
        free = tuple(each for each in order if each in self.names)
        return params_maker(order, free, self.fixed, self.units)

    @property
    def n_dim(self) -> int:
        """Number of free parameters."""
        return len(self.names)

    def transform(self, cube: Any) -> NDArray[np.float64]:
        """Map points of the unit cube to parameters.

        Parameters
        ----------
        cube : (..., n_dim) float array
            Points in [0, 1]; the last axis follows `names`.

        Returns
        -------
        (..., n_dim) float array
            A new array.
        """
        cube = self._points(cube)
        if self._all_at_once is not None:
            return np.asarray(self._all_at_once(cube))
        theta = np.empty(cube.shape)
        for part, inverse in self._inverses:
            theta[..., part] = inverse(cube[..., part])
        for index, prior in self._alone:
            theta[..., index] = prior.transform(cube[..., index])
        for index, conditional, make in self._given:
            earlier = theta[..., :index]
            theta[..., index] = _each(conditional, make, "transform", earlier, cube[..., index])
        return theta

    def log_prior(self, theta: Any) -> NDArray[np.float64]:
        """Natural logarithm of the prior density of points (..., n_dim); -inf outside."""
        theta = self._points(theta)
        total: NDArray[np.float64] = np.zeros(theta.shape[:-1])
        for part, log_pdf in self._densities:
            total = total + log_pdf(theta[..., part]).sum(axis=-1)
        for index, prior in self._alone:
            total = total + prior.log_density(theta[..., index])
        for index, conditional, make in self._given:
            earlier = theta[..., :index]
            total = total + _each(conditional, make, "log_density", earlier, theta[..., index])
        return np.asarray(total)

    def _points(self, points: Any) -> NDArray[np.float64]:
        array: NDArray[np.float64] = np.asarray(points, np.float64)
        if array.shape[-1:] != self._shape:
            raise DesignError(
                f"points of shape {array.shape} were given to a model of {len(self.names)} "
                f"free parameters ({', '.join(self.names)}); they stand along the last axis."
            )
        return array

    def bind(self, data: Any) -> Problem:
        """Put this model and `data` together, as samplers take them."""
        from cropfit.fitting.problem import Problem

        return Problem(self, data)

    def with_settings(
        self,
        *,
        fixed: Mapping[str, float] | None = None,
        priors: Mapping[str, Any] | None = None,
    ) -> Model:
        """A copy in which some parameters are fixed or have other priors.

        Parameters
        ----------
        fixed : mapping, optional
            Name → value; units and labels stay.
        priors : mapping, optional
            Name → prior, as of `Model`; units and labels stay where it has none.

        Raises
        ------
        DesignError
            The model has no parameter of that name, or it is given twice.
        """
        both = sorted(set(fixed or {}) & set(priors or {}))
        if both:
            raise DesignError(f"{both[0]!r} is fixed and has a prior: give one of them.")
        new = dict(self.priors)
        for name, value in {**(fixed or {}), **(priors or {})}.items():
            if name not in new:
                raise DesignError(f"The model has no parameter {name!r}; it has {', '.join(new)}.")
            new[name] = _described(as_prior(name, value), new[name])
        for name in fixed or {}:
            if not isinstance(new[name], Fixed):
                raise DesignError(f"{name!r} cannot be fixed at {new[name]!r}: give a number.")
        return self._with_priors(new)

    def _with_priors(self, priors: Mapping[str, Any]) -> Model:
        return Model(
            self.log_likelihood,
            priors,
            predict=self.predict,
            derived=self.derived,
            vectorized=self.vectorized,
            as_array=self.as_array,
            constraint=self.constraint,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in vars(self).items() if name in _KEPT}
        return _restore, ({**state, "priors": dict(self.priors)},)

    def __repr__(self) -> str:
        name = getattr(self.log_likelihood, "__name__", type(self.log_likelihood).__name__)
        priors = "".join(f"\n  {n}: {each!r}" for n, each in self.priors.items())
        return f"<Model {name}, {self.n_dim} free parameters{priors}>"


_KEPT = (
    "log_likelihood",
    "priors",
    "predict",
    "derived",
    "vectorized",
    "as_array",
    "constraint",
)


def _restore(state: dict[str, Any]) -> Model:
    model = Model.__new__(Model)
    vars(model).update(state, priors=MappingProxyType(state["priors"]))
    model._arrange()
    return model


def _described(new: Any, old: Any) -> Any:
    """The new prior, with unit and label of the old one where it has none."""
    from dataclasses import replace

    missing = {name: getattr(old, name) for name in ("unit", "label") if getattr(new, name) is None}
    return replace(new, **missing)


def _each(
    conditional: Conditional,
    make: Callable[..., Params],
    what: Literal["transform", "log_density"],
    earlier: NDArray[np.float64],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Transform or density, `what`, of each value under the prior that its point gives."""
    if values.ndim == 0:
        return np.asarray(getattr(conditional.given(make(earlier)), what)(values))
    rows, flat = earlier.reshape(-1, earlier.shape[-1]), values.ravel()

    def alone(i: int) -> float:
        return float(getattr(conditional.given(make(rows[i])), what)(flat[i]))

    found = _together(conditional, make, what, rows, flat) if len(flat) > len(COMPARED) else None
    if found is None or any(found[i] != alone(i) for i in COMPARED):
        found = np.array([alone(i) for i in range(len(flat))])
    return found.reshape(values.shape)


def _together(
    conditional: Conditional,
    make: Callable[..., Params],
    what: Literal["transform", "log_density"],
    rows: NDArray[np.float64],
    flat: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """The same of all points in one call, if the conditional takes arrays."""
    try:
        with quiet():
            prior = conditional.given(make(columns(rows)))
            shapes = {np.shape(value) for value in prior.values()}
            found = np.asarray(getattr(prior, what)(flat))
    except Exception:  # it takes one point at a time
        return None
    return found if found.shape == flat.shape and shapes <= {(), flat.shape} else None
