"""What the results of a crop are made of, before any of them is copied.

Results of one make have the same names, kinds, dtypes, shapes, dimensions and
coordinates. A crop usually has one make. Where it has several, the variables of
the Dataset are planned (`cropfit.work.variables`) to hold them all.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cropfit.attributes import to_plain
from cropfit.disk.codec import Chunk
from cropfit.disk.columns import Column
from cropfit.disk.schema import Schema

__all__ = ["UNNAMED", "Make", "Sort", "Survey", "columns_of", "common", "equal"]

UNNAMED = "result"
"""What a DataArray without a name is called in the Dataset."""


class Sort(NamedTuple):
    """Of which kind one output is in the cases of one make."""

    kind: str
    dtype: str
    most: tuple[int, ...]
    least: tuple[int, ...]


@dataclass(eq=False)
class Make:
    """Results that are alike.

    Attributes
    ----------
    sorts
        By the variable's name.
    dims
        Inner dimensions of each variable, where the result itself told.
    index
        Labels of an inner dimension.
    constants
        Other coordinates (dimensions and values), the same for all cases of this make.
    attrs, var_attrs
        As the result had them.
    cases
        How many there are.
    """

    kind: str
    sorts: Mapping[str, Sort]
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    index: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    constants: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    var_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cases: int = 0

    def has(self, name: str) -> bool:
        """Whether these results have a variable or coordinate of that name."""
        return name in self.sorts or name in self.index or name in self.constants


class Survey:
    """The makes that were seen, and how many cases there are of each."""

    def __init__(self) -> None:
        self.makes: dict[Hashable, Make] = {}

    def add(self, chunk: Chunk, cases: int) -> None:
        """Count `cases` of a chunk."""
        key = _key(chunk)
        make = self.makes.get(key)
        if make is None:
            make = self.makes[key] = _make(chunk)
        make.cases += cases

    def make_of(self, chunk: Chunk) -> Make | None:
        """The make of a chunk; None if it was not seen yet."""
        return self.makes.get(_key(chunk))

    @property
    def cases(self) -> int:
        """How many cases were counted."""
        return sum(make.cases for make in self.makes.values())


def columns_of(chunk: Chunk) -> dict[str, Column]:
    """The columns by the name of their variable."""
    if chunk.schema.kind == "dataarray":
        return {name or UNNAMED: column for name, column in chunk.columns.items()}
    return chunk.columns


def _key(chunk: Chunk) -> Hashable:
    sorts = tuple([(name, _sort(column)) for name, column in chunk.columns.items()])
    if chunk.schema.kind not in ("dataset", "dataarray"):
        return chunk.schema.kind, sorts
    return chunk.schema.kind, sorts, _fingerprint(chunk.schema)


def _sort(column: Column) -> Sort:
    if column.kind == "array":
        shape = column.data.shape[1:]
        return Sort("array", column.data.dtype.str, shape, shape)
    if column.kind == "ragged" and column.index is not None:
        most, least = column.index.max(0), column.index.min(0)
        return Sort("array", column.data.dtype.str, tuple(most.tolist()), tuple(least.tolist()))
    return Sort(column.kind, "", (), ())


def _fingerprint(schema: Schema) -> Hashable:
    """All that tells one labelled result from another, but its values."""
    coords = []
    for name, coord in schema.coords.items():
        column = coord.column
        ends = b"" if column.index is None else column.index.tobytes()
        coords.append((name, coord.dims, _sort(column), column.data.tobytes(), ends))
    attrs = {name: dict(each) for name, each in schema.var_attrs.items()}
    described = json.dumps(to_plain([dict(schema.attrs), attrs]))
    return schema.name, tuple(schema.dims.items()), tuple(coords), described


def _make(chunk: Chunk) -> Make:
    sorts = {name: _sort(column) for name, column in columns_of(chunk).items()}
    schema = chunk.schema
    if schema.kind not in ("dataset", "dataarray"):
        return Make(schema.kind, sorts)
    index, constants = {}, {}
    for name, coord in schema.coords.items():
        labels = np.array(coord.labels)  # a copy: the original is a view of the file
        if coord.dims == (name,):
            index[name] = labels
        else:
            constants[name] = (coord.dims, labels)
    return Make(
        schema.kind,
        sorts,
        {name or UNNAMED: dims for name, dims in schema.dims.items()},
        index,
        constants,
        dict(schema.attrs),
        {name: dict(each) for name, each in schema.var_attrs.items()},
    )


def common(attrs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributes that are the same in all."""
    every = list(attrs)
    if not every:
        return {}
    return {
        key: value
        for key, value in every[0].items()
        if all(key in each and equal(each[key], value) for each in every[1:])
    }


def equal(one: Any, other: Any) -> bool:
    """Whether two attributes or arrays are the same; NaN is NaN."""
    if one is other:
        return True
    a, b = np.asarray(one), np.asarray(other)
    if a.dtype.kind in "fc" and b.dtype.kind in "fc":
        return bool(np.array_equal(a, b, equal_nan=True))
    return type(one) is type(other) and bool(np.array_equal(a, b))
