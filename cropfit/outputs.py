"""What a function gives back: names, inner dimensions, their coordinates, attributes.

    "flux"  or  ["mass", "flux"]                        var_names
    {"flux": ["wavelength"]}                            var_dims
    {"wavelength": array}                               var_coords
    {"flux": {"units": "Jy"}, "wavelength": {...}}      var_attrs

Users type this in several shapes; `Outputs` is the one that the rest of cropfit
sees. Without names the function tells by what it returns (a Dataset, a
DataArray, a dict), or its results stay what they are, a list in case order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.attributes import from_plain, to_plain
from cropfit.errors import DesignError

__all__ = ["Coordinate", "Outputs"]


@dataclass(frozen=True, eq=False)
class Coordinate:
    """The positions along an inner dimension, or a label for each of them.

    Parameters
    ----------
    values : 1-D array
        Numbers, strings, booleans or dates; not objects.
    attrs
        Units and so on, as they came with the array.
    """

    values: NDArray[Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outputs:
    """The declared outputs of a function; make it with `Outputs.parse`."""

    var_names: tuple[str, ...] | None = None
    var_dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    var_coords: Mapping[str, Coordinate] = field(default_factory=dict)
    var_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        var_names: str | Iterable[str] | None = None,
        *,
        var_dims: Any = None,
        var_coords: Mapping[str, Any] | None = None,
        var_attrs: Mapping[str, Mapping[str, Any]] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Outputs:
        """Bring what a user typed into one form.

        Parameters
        ----------
        var_names
            One name, or the names of the outputs in the order in which the function returns them.
        var_dims
            The inner dimensions of outputs that are arrays: ``{"flux": "wavelength"}``,
            ``{"flux": ["time", "wavelength"]}``, several outputs at once
            ``{("a", "b"): ["time"]}``, a sequence in the order of `var_names`
            (``[None, ["wavelength"]]``), or for a single output just its dimensions.
        var_coords
            Dimension to 1-D array-like, with ``attrs`` if it has any (an xarray coordinate).
        var_attrs
            Attributes of outputs, or of inner dimensions.
        attrs
            Attributes of the whole Dataset.

        Raises
        ------
        DesignError
            A name is unknown, given twice or cannot be written to netCDF, or a coordinate
            is not a plain 1-D array.
        """
        names = _names(var_names)
        dims = _dims(var_dims, names)
        coords = {name: _coordinate(name, value) for name, value in (var_coords or {}).items()}
        outputs = cls(
            names,
            dims,
            coords,
            {name: dict(each) for name, each in (var_attrs or {}).items()},
            dict(attrs or {}),
        )
        outputs._check()
        return outputs

    @property
    def inner(self) -> tuple[str, ...]:
        """The declared inner dimensions, each once, in order of appearance."""
        return tuple(dict.fromkeys(dim for dims in self.var_dims.values() for dim in dims))

    def with_constants(self, constants: Mapping[str, Any]) -> Outputs:
        """Constants named like an inner dimension are its coordinates, the others attributes.

        What was declared as a coordinate or attribute stays as declared.
        """
        inner = set(self.inner)
        coords = {
            name: _coordinate(name, value) for name, value in constants.items() if name in inner
        }
        attrs = {name: value for name, value in constants.items() if name not in inner}
        return replace(
            self, var_coords={**coords, **self.var_coords}, attrs={**attrs, **self.attrs}
        )

    def check_against(self, axes: Iterable[str]) -> None:
        """Refuse outputs and inner dimensions that are named like a combo or case column.

        Raises
        ------
        DesignError
            Naming the first name that is taken.
        """
        taken = set(axes)
        for kind, names in (("output", self.var_names or ()), ("inner dimension", self.inner)):
            for name in names:
                if name in taken:
                    raise DesignError(
                        f"{name!r} is both an {kind} and an argument that is varied; "
                        "one of them needs another name"
                    )

    def to_json(self) -> dict[str, Any]:
        """All but the coordinates, which are arrays, in a form for ``json.dump``."""
        return {
            "var_names": None if self.var_names is None else list(self.var_names),
            "var_dims": {name: list(dims) for name, dims in self.var_dims.items()},
            "var_attrs": {name: to_plain(dict(each)) for name, each in self.var_attrs.items()},
            "attrs": to_plain(dict(self.attrs)),
        }

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], var_coords: Mapping[str, Coordinate] | None = None
    ) -> Outputs:
        """What `to_json` gave, with the coordinates that were stored beside it."""
        names = data["var_names"]
        return cls(
            None if names is None else tuple(names),
            {name: tuple(dims) for name, dims in data["var_dims"].items()},
            dict(var_coords or {}),
            {name: from_plain(each) for name, each in data["var_attrs"].items()},
            from_plain(data["attrs"]),
        )

    def _check(self) -> None:
        """Raise DesignError for names that refer to nothing or clash."""
        inner = set(self.inner)
        for name in (*(self.var_names or ()), *inner, *self.var_coords):
            check_name(name)
        if self.var_names is None:
            return
        names = set(self.var_names)
        both = sorted(names & (inner | set(self.var_coords)))
        if both:
            raise DesignError(f"{both[0]!r} is both an output and an inner dimension")
        known = inner | names
        for what, given in (("var_coords", self.var_coords), ("var_attrs", self.var_attrs)):
            for name in given:
                if name not in known and not self._is_automatic(name):
                    raise DesignError(
                        f"{what} names {name!r}, which is neither an output nor an inner "
                        f"dimension; known are {sorted(known)}"
                    )

    def _is_automatic(self, name: str) -> bool:
        """Whether an undeclared array output would get a dimension of that name."""
        stem, _, number = name.rpartition("_")
        return number.isdigit() and stem in (self.var_names or ()) and stem not in self.var_dims


def check_name(name: object) -> None:
    """Refuse a name that a netCDF file cannot hold.

    Raises
    ------
    DesignError
        It is not a str, is empty, holds a slash or control character, or ends in a space.
    """
    if not isinstance(name, str):
        raise DesignError(f"names of outputs and dimensions are strings, got {name!r}")
    sound = name.isprintable() and "/" not in name and name == name.rstrip()
    if not sound or not (name[:1].isalnum() or name[:1] == "_"):
        raise DesignError(
            f"{name!r} cannot name an output or a dimension in a file: it must begin with a "
            "letter, digit or underscore, hold no slash, and not end in a space"
        )


def _names(given: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if given is None or isinstance(given, str):
        return None if given is None else (given,)
    names = tuple(given)
    for name in names:
        check_name(name)
    if not names:
        raise DesignError("var_names is empty; leave it out if the function tells by its result")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DesignError(f"var_names has {twice[0]!r} twice")
    return names


def _dims(given: Any, names: tuple[str, ...] | None) -> dict[str, tuple[str, ...]]:
    """Inner dimensions per output, from each of the shapes that `Outputs.parse` takes."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs = [
            (name, dims)
            for key, dims in given.items()
            for name in ((key,) if isinstance(key, str) else key)
        ]
    else:
        pairs = _dims_in_order(given, names)
    found: dict[str, tuple[str, ...]] = {}
    for name, dims in pairs:
        if names is not None and name not in names:
            raise DesignError(f"var_dims names {name!r}, which is not in var_names {list(names)}")
        if name in found:
            raise DesignError(f"var_dims has {name!r} twice")
        inner = _one_or_more(dims)
        if len(set(inner)) < len(inner):
            raise DesignError(f"the output {name!r} has an inner dimension twice: {list(inner)}")
        if inner:
            found[name] = inner
    return found


def _dims_in_order(given: Any, names: tuple[str, ...] | None) -> list[tuple[str, Any]]:
    if names is None:
        raise DesignError(
            f"var_dims={given!r} has no names to go with: give var_names, or a dict by name"
        )
    items = [given] if isinstance(given, str) else list(given)
    if len(names) == 1 and not (len(items) == 1 and not isinstance(items[0], str)):
        return [(names[0], items)]
    if len(items) != len(names):
        raise DesignError(
            f"var_dims has {len(items)} entries for {len(names)} outputs ({', '.join(names)}); "
            "give one each, None where there is no inner dimension, or a dict by name"
        )
    return list(zip(names, items, strict=True))


def _one_or_more(dims: str | Sequence[str] | None) -> tuple[str, ...]:
    if dims is None:
        return ()
    return (dims,) if isinstance(dims, str) else tuple(dims)


def _coordinate(name: str, value: Any) -> Coordinate:
    if isinstance(value, Coordinate):
        return value
    attrs = dict(getattr(value, "attrs", {}))
    values = np.asarray(value)
    if values.dtype.kind == "T" or (values.dtype == object and _all_text(values)):
        values = values.astype(str)
    if values.ndim != 1 or values.dtype.kind not in "biufcUMm":
        raise DesignError(
            f"the coordinate {name!r} must be a 1-D array of numbers, strings or dates; got "
            f"{values.ndim} dimensions of {values.dtype}"
        )
    return Coordinate(values, attrs)


def _all_text(values: NDArray[Any]) -> bool:
    return bool(values.size) and all(isinstance(each, str) for each in values.ravel())
