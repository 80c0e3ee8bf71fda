"""What a labelled result says beside its numbers: dimensions, coordinates, attributes.

xarray is told by the name of its module and never imported. Attributes that JSON keeps exactly
are written as JSON; coordinates and all other attributes become columns of one value, shared by
the cases of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from cropfit.disk.columns import Column, Encoded, encode_column

__all__ = ["Attrs", "Coord", "Described", "Schema", "describe", "read_schema"]

SchemaKind = Literal["names", "value", "dict", "dataset", "dataarray"]


class Attrs(Mapping[str, Any]):
    """Attributes as they were; one that had to be pickled is loaded when asked for."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self._kept = kept

    def __getitem__(self, key: str) -> Any:
        """Give one attribute."""
        value = self._kept[key]
        if isinstance(value, Column):
            return value.values()[0]
        return list(value) if isinstance(value, list) else value  # chunks share it

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._kept)

    def __len__(self) -> int:
        """Count the attributes."""
        return len(self._kept)

    def __repr__(self) -> str:
        """Name the attributes without loading any."""
        return f"Attrs({list(self._kept)})"


@dataclass(frozen=True, eq=False)
class Coord:
    """A coordinate: its dimensions, and one column of one value, its labels."""

    dims: tuple[str, ...]
    column: Column

    @property
    def labels(self) -> Any:
        """The labels: an array with one axis a dimension, or a scalar."""
        return self.column.values()[0]


@dataclass(frozen=True, eq=False)
class Schema:
    """What the cases of a chunk have in common.

    Attributes
    ----------
    kind : {"names", "value", "dict", "dataset", "dataarray"}
        "names": declared outputs. "value": one column "" with what was returned. "dict":
        undeclared outputs by key. Else what kind of xarray object was returned.
    name : str or None
        Of a DataArray. Its column has the same name, "" for None.
    dims : dict
        Column → dimensions, for xarray objects.
    coords : dict
        Coordinate → `Coord`.
    attrs : Attrs
        Of the xarray object.
    var_attrs : dict
        Column or coordinate → its attributes, where it has any.
    """

    kind: SchemaKind
    name: str | None = None
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    coords: Mapping[str, Coord] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    var_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Described(NamedTuple):
    """One xarray result, taken apart."""

    columns: dict[str, Any]
    meta: dict[str, Any]
    constants: list[Encoded]


def describe(result: Any) -> Described | None:
    """Take an xarray result apart; None for anything else.

    None also where something would be lost: names that are not str, and indexes other than
    xarray's default ones.

    Raises
    ------
    ResultError
        An attribute cannot be pickled.
    """
    kind = _xarray_kind(type(result))
    if kind is None or not _is_simple(result):
        return None
    constants = _Constants()
    variables = dict(result.variables) if kind == "dataset" else {}
    data = {name: variables[name] for name in variables if name not in result.coords}
    if kind == "dataarray":
        data = {result.name or "": result.variable}
    coords = {name: coord.variable for name, coord in result.coords.items()}
    owned = {**coords, **data} if kind == "dataset" else coords
    meta = {
        "kind": kind,
        "name": result.name if kind == "dataarray" else None,
        "dims": {name: list(variable.dims) for name, variable in data.items()},
        "coords": {name: [list(v.dims), constants.put(v.values)] for name, v in coords.items()},
        "attrs": constants.put_attrs(result.attrs),
        "var_attrs": {name: constants.put_attrs(v.attrs) for name, v in owned.items() if v.attrs},
    }
    return Described({name: v.values for name, v in data.items()}, meta, constants.encoded)


def read_schema(meta: Mapping[str, Any], constants: list[Column]) -> Schema:
    """Put together what `describe` took apart."""
    if "dims" not in meta:
        return Schema(meta["kind"])

    def attrs(kept: Mapping[str, Any]) -> Attrs:
        return Attrs({k: constants[v["$"]] if isinstance(v, dict) else v for k, v in kept.items()})

    return Schema(
        meta["kind"],
        meta["name"],
        {name: tuple(dims) for name, dims in meta["dims"].items()},
        {name: Coord(tuple(dims), constants[i]) for name, (dims, i) in meta["coords"].items()},
        attrs(meta["attrs"]),
        {name: attrs(kept) for name, kept in meta["var_attrs"].items()},
    )


class _Constants:
    """Values that are kept once for all cases of a chunk."""

    def __init__(self) -> None:
        self.encoded: list[Encoded] = []

    def put(self, value: Any) -> int:
        encoded = encode_column("", [value])
        for error in encoded.failures.values():
            raise error
        self.encoded.append(encoded)
        return len(self.encoded) - 1

    def put_attrs(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v if _is_json(v) else {"$": self.put(v)} for k, v in attrs.items()}


def _xarray_kind(cls: type) -> Literal["dataset", "dataarray"] | None:
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "xarray":
            if base.__name__ == "Dataset":
                return "dataset"
            if base.__name__ == "DataArray":
                return "dataarray"
    return None


def _is_simple(result: Any) -> bool:
    names = [*result.coords, *result.dims, *result.attrs]
    name = getattr(result, "name", None)
    if hasattr(result, "data_vars"):
        names += result.data_vars
        name = None
    variables = [*result.coords.values(), *getattr(result, "data_vars", {}).values()]
    for variable in variables:
        names += variable.attrs
    indexed = {name for name, coord in result.coords.items() if coord.dims == (name,)}
    return (
        all(type(text) is str for text in names)
        and (name is None or (type(name) is str and name != "" and name not in result.coords))
        and set(result.xindexes) == indexed
        and all(type(index).__name__ == "PandasIndex" for index in result.xindexes.values())
    )


_EXACT = (str, int, float, bool, type(None))


def _is_json(value: Any) -> bool:
    if type(value) is list:
        return all(type(item) in _EXACT for item in value)
    return type(value) in _EXACT
