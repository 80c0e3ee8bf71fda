"""The parameters of one point, or of many at once, by name.

A view is made for every call of a likelihood, so it is a bare dictionary behind
attributes: names and units stand in a class that each model makes for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from functools import partial
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError

__all__ = ["Params", "check_names", "params_maker"]

_new, _set = object.__new__, object.__setattr__


class Params(Mapping[str, Any]):
    """Parameters by attribute, ``p.mass``, or by name, ``p["mass"]``; not to be changed.

    Attributes
    ----------
    units : mapping
        Name → unit, of those parameters that have one.

    Notes
    -----
    A value is a number, or in a vectorised call an array with one entry a point; fixed
    parameters are numbers in any case. ``dict(p)`` is a copy that may be changed.
    """

    units: ClassVar[Mapping[str, str]] = {}

    def __init__(self, values: Mapping[str, Any]) -> None:
        _set(self, "__dict__", dict(values))

    def __getitem__(self, name: str) -> Any:
        try:
            return self.__dict__[name]
        except KeyError:
            raise KeyError(self._unknown(name)) from None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._unknown(name))

    def _unknown(self, name: object) -> str:
        return f"there is no parameter {name!r}; there are {', '.join(self.__dict__)}"

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def keys(self) -> KeysView[str]:
        """The names, in the order of the model."""
        return self.__dict__.keys()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name!r} cannot be set: parameters are given, not changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name!r} cannot be deleted: parameters are given, not changed")

    def __dir__(self) -> list[str]:
        return [*(name for name in self.__dict__ if name.isidentifier()), "units", "keys", "items"]

    def __repr__(self) -> str:
        shown = [
            f"{name}={_shown(value)}{' ' + self.units[name] if name in self.units else ''}"
            for name, value in self.__dict__.items()
        ]
        return f"Params({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.__dict__, dict(self.units))


_RESERVED = frozenset(name for name in dir(Params) if not name.startswith("__"))
_OF_SAMPLES = frozenset(("sample", "log_weight", "log_likelihood", "log_prior"))


def check_names(names: Iterable[str]) -> None:
    """Refuse names that no view could have.

    Raises
    ------
    DesignError
        One is no text, is empty, or is what a view or a file of samples itself has.
    """
    for name in names:
        if not isinstance(name, str) or not name.strip() or name.startswith("__"):
            raise DesignError(f"{name!r} cannot be the name of a parameter.")
        if "/" in name:
            raise DesignError(f"The name {name!r} holds a '/', which no netCDF variable may.")
        if name in _RESERVED or name in _OF_SAMPLES:
            raise DesignError(
                f"A parameter cannot be called {name!r}, which every set of parameters or of "
                "samples has already; give it another name."
            )


def params_maker(
    order: Iterable[str],
    names: tuple[str, ...],
    fixed: Mapping[str, float],
    units: Mapping[str, str],
) -> Callable[[Iterable[Any]], Params]:
    """A function that makes the view of a point, in about a microsecond.

    Parameters
    ----------
    order : iterable of str
        All names, as the model gives them.
    names : tuple of str
        Those of the point's numbers.
    fixed : mapping
        The values of all others.
    units : mapping
        Name → unit.
    """
    family = type("Params", (Params,), {"units": dict(units), "__module__": __name__})
    template = {name: fixed.get(name) for name in order} if fixed else {}
    named = partial(zip, names)  # whose check of lengths would take as long as all else here

    def make(theta: Iterable[Any]) -> Params:
        made: Params = _new(family)
        values = made.__dict__
        values.update(template)
        values.update(named(theta))
        return made

    return make


def columns(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points (n, n_dim) as (n_dim, n), a copy that cannot be written to."""
    turned = np.array(theta.T, order="C")
    turned.flags.writeable = False
    return turned


def _restore(values: dict[str, Any], units: dict[str, str]) -> Params:
    family = type("Params", (Params,), {"units": units, "__module__": __name__})
    restored: Params = family(values)
    return restored


def _shown(value: Any) -> str:
    array = np.asarray(value)
    return f"{array:.6g}" if array.ndim == 0 else f"<{' × '.join(map(str, array.shape))}>"
