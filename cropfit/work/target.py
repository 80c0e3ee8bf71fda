"""Which cell of the Dataset each case fills.

    grid    one dimension an axis; zipped axes share one; scattered cases
            spread over theirs as long as at most half of the cells stay empty
    case    one dimension for all cases, with the parameters as coordinates

A `Target` is planned once, from the sowings alone. Where sowings were appended,
their labels are joined: a value that they share (floats within 1e-12 relative)
is one coordinate, and its cases meet in one cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cropfit.batching import Sown
from cropfit.errors import DesignError
from cropfit.grid import Axis, Block

__all__ = ["Labelled", "Layout", "Target", "join_labels", "plan_layout"]

Layout = Literal["auto", "grid", "case"]
CASE = "case"
SAME = 1e-12
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Labelled:
    """A coordinate: its dimensions, labels and attributes."""

    dims: tuple[str, ...]
    labels: NDArray[Any]
    attrs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Target:
    """Dimensions and coordinates of the parameters, and the way from a case to its cell."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: Mapping[str, Labelled]
    routes: tuple[_Route, ...]
    filled: int = 0
    """Cells that hold a case when all are there; fewer than cases where sowings overlap."""

    @property
    def size(self) -> int:
        """How many cells there are."""
        return math.prod(self.shape)

    def cells(self, sowing: int, flat: Index) -> Index:
        """The cell, in C order, of each flat case index of the sowing with that position."""
        return self.routes[sowing].cells(flat)

    def shift(self, sowing: int) -> int | None:
        """The cell of case 0 if the others follow it one by one; None if they are scattered."""
        return self.routes[sowing].shift


@dataclass(frozen=True, eq=False)
class _Route:
    """For each block of a grid, what the row adds to the number of the cell."""

    shift: int | None
    tables: tuple[Index, ...] = ()

    def cells(self, flat: Index) -> Index:
        if self.shift is not None:
            return flat + self.shift
        found = np.zeros(len(flat), np.intp)
        rest = flat
        for table in reversed(self.tables):
            rest, row = np.divmod(rest, len(table))
            found += table[row]
        return found


def plan_layout(sowings: Sequence[Sown], layout: Layout = "auto") -> Target:
    """Choose the dimensions of the Dataset.

    Parameters
    ----------
    sowings
        In the order in which they were sown; all vary the same parameters.
    layout
        "auto" takes the grid where at least half of its cells are cases, else keeps the
        scattered cases along one dimension, and puts everything along it where that does
        not suffice.

    Raises
    ------
    DesignError
        The sowings vary different parameters, or `layout` is none of the three.
    """
    if layout not in ("auto", "grid", "case"):
        raise DesignError(f"layout is 'auto', 'grid' or 'case', not {layout!r}")
    names = sowings[0].grid.names
    for sown in sowings[1:]:
        if set(sown.grid.names) != set(names):
            raise DesignError(
                f"sowings that vary {list(names)} and {list(sown.grid.names)} have no common "
                "Dataset; reap them as two crops"
            )
    if layout != "case":
        total = sum(sown.grid.size for sown in sowings)
        for spread in (True, False):
            target = _grid_target(sowings, _groups(sowings, spread))
            if layout == "auto" and target.size > 2 * total:
                continue
            target = _counted(target, sowings)
            if layout == "grid" or target.size <= 2 * target.filled:
                return target
    return _case_target(sowings)


def _groups(sowings: Sequence[Sown], spread: bool) -> list[tuple[str, tuple[str, ...]]]:
    """(dimension, its axes) in order; axes stay together only where all sowings have them so.

    With `spread`, explicit cases are taken apart as well.
    """
    others = [
        {frozenset(axis.name for axis in block.axes) for block in sown.grid.blocks}
        for sown in sowings[1:]
    ]
    groups: list[tuple[str, tuple[str, ...]]] = []
    for block in sowings[0].grid.blocks:
        names = tuple(axis.name for axis in block.axes)
        together = all(frozenset(names) in blocks for blocks in others)
        if len(names) > 1 and together and not (spread and block.dim == CASE):
            groups.append((block.dim, names))
        else:
            groups.extend((name, (name,)) for name in names)
    return groups


def _counted(target: Target, sowings: Sequence[Sown]) -> Target:
    """The target with its `filled` cells counted."""
    if len(sowings) == 1:
        return replace(target, filled=sowings[0].grid.size)
    taken = np.zeros(target.size, bool)
    for number, sown in enumerate(sowings):
        taken[target.cells(number, np.arange(sown.grid.size))] = True
    return replace(target, filled=int(np.count_nonzero(taken)))


def _grid_target(sowings: Sequence[Sown], groups: Sequence[tuple[str, tuple[str, ...]]]) -> Target:
    """One dimension a group; the labels of all sowings joined."""
    axes = {
        name: _join_axis([sown.grid.axes[name] for sown in sowings])
        for _, names in groups
        for name in names
    }
    dims = tuple(dim for dim, _ in groups)
    coords: dict[str, Labelled] = {}
    rows: list[list[Index]] = []  # for each group and sowing: block row -> position along the dim
    shape: list[int] = []
    for dim, names in groups:
        blocks = [_block_of(sown, names[0]) for sown in sowings]
        codes = [
            np.stack([axes[name].positions[number][_column(block, name)] for name in names], -1)
            for number, block in enumerate(blocks)
        ]
        if len(names) == 1:
            rows.append([each[:, 0] for each in codes])
            shape.append(len(axes[dim].labels))
            coords[dim] = Labelled((dim,), axes[dim].labels, axes[dim].attrs)
            continue
        kept, where = _join_rows(codes)
        rows.append(where)
        shape.append(len(kept))
        for j, name in enumerate(names):
            joined = axes[name]
            coords[name] = Labelled((dim,), joined.labels[kept[:, j]], joined.attrs)
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    routes = [_route(sown, number, groups, rows, strides) for number, sown in enumerate(sowings)]
    return Target(dims, tuple(shape), coords, tuple(routes))


def _route(
    sown: Sown,
    number: int,
    groups: Sequence[tuple[str, tuple[str, ...]]],
    rows: Sequence[Sequence[Index]],
    strides: Sequence[int],
) -> _Route:
    """Sum what the groups of each block add, and see whether cells simply follow the cases."""
    tables = [np.zeros(len(block), np.intp) for block in sown.grid.blocks]
    for (_, names), positions, stride in zip(groups, rows, strides, strict=True):
        block = _block_of(sown, names[0])
        at = next(i for i, each in enumerate(sown.grid.blocks) if each is block)
        tables[at] += positions[number] * stride
    steps = [math.prod(len(t) for t in tables[i + 1 :]) for i in range(len(tables))]
    follow = all(
        np.array_equal(table - table[0], np.arange(len(table)) * step)
        for table, step in zip(tables, steps, strict=True)
    )
    return _Route(sum(int(t[0]) for t in tables) if follow else None, tuple(tables))


def _case_target(sowings: Sequence[Sown]) -> Target:
    """All cases of all sowings along one dimension, in the order of their numbers."""
    names = sowings[0].grid.names
    dim = CASE if CASE not in names else f"{CASE}_number"
    sizes = [sown.grid.size for sown in sowings]
    starts = np.cumsum([0, *sizes])
    at = [sown.grid.positions(np.arange(sown.grid.size)) for sown in sowings]
    coords = {}
    for name in names:
        joined = _join_axis([sown.grid.axes[name] for sown in sowings])
        labels = [joined.labels[joined.positions[i][at[i][name]]] for i in range(len(sowings))]
        coords[name] = Labelled((dim,), np.concatenate(labels), joined.attrs)
    routes = tuple(_Route(int(start)) for start in starts[:-1])
    total = int(starts[-1])
    return Target((dim,), (total,), coords, routes, total)


@dataclass(frozen=True, eq=False)
class _Joined:
    """An axis over all sowings, and where the labels of each sowing stand in it."""

    labels: NDArray[Any]
    attrs: Mapping[str, Any]
    positions: list[Index]


def _join_axis(axes: Sequence[Axis]) -> _Joined:
    attrs = next((axis.attrs for axis in axes if axis.attrs), {})
    parts = [axis.labels for axis in axes]
    labels, positions = join_labels(parts, sort=all(axis.kind == "plain" for axis in axes))
    return _Joined(labels, attrs, positions)


def join_labels(
    parts: Sequence[NDArray[Any]], *, sort: bool = True
) -> tuple[NDArray[Any], list[Index]]:
    """Bring together the labels of one dimension.

    Parameters
    ----------
    parts
        Each without repetition.
    sort
        Whether the joined labels rise if those of each part do; else they stand in the order
        of their first appearance.

    Returns
    -------
    labels : 1-D array
        Each once; floats within 1e-12 relative are one. Labels of types that have nothing in
        common become text.
    positions : list of int arrays
        Where the labels of each part stand among them.
    """
    first = parts[0]
    if all(part.dtype == first.dtype and np.array_equal(part, first) for part in parts[1:]):
        return first, [np.arange(len(first)) for _ in parts]
    parts = _common_type(parts)
    labels = np.concatenate(parts)
    distinct, where = _distinct(labels)
    seen = np.full(len(distinct), len(labels))
    np.minimum.at(seen, where, np.arange(len(labels)))
    rising = sort and all(bool(np.all(part[1:] > part[:-1])) for part in parts)
    order = np.arange(len(distinct)) if rising else np.argsort(seen)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    return labels[seen[order]], list(np.split(rank[where], cuts))


def _distinct(labels: NDArray[Any]) -> tuple[NDArray[Any], Index]:
    """Sorted distinct labels, floats within `SAME` taken as one, and which each label is."""
    distinct, where = np.unique(labels, return_inverse=True)
    if distinct.dtype.kind == "f" and len(distinct) > 1:
        size = np.maximum(np.abs(distinct[1:]), np.abs(distinct[:-1]))
        new = np.concatenate([[True], np.diff(distinct) > SAME * size])
        distinct, where = distinct[new], (np.cumsum(new) - 1)[where]
    return distinct, where.astype(np.intp)


def _common_type(parts: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """All labels in one type that changes no value; as text where there is none."""
    kinds = {part.dtype.kind for part in parts}
    if len(kinds) == 1 or kinds <= set("iufc"):
        common = np.result_type(*parts)
        changed = [part.astype(common) for part in parts]
        if all(np.array_equal(a, b) for a, b in zip(changed, parts, strict=True)):
            return changed
    return [part.astype(str) for part in parts]


def _join_rows(codes: Sequence[NDArray[np.intp]]) -> tuple[NDArray[np.intp], list[Index]]:
    """Distinct rows in order of appearance, and which of them each row is."""
    rows = np.concatenate(codes)
    _, first, where = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    cuts = np.cumsum([len(each) for each in codes])[:-1]
    return rows[first[order]], list(np.split(rank[where.ravel()], cuts))


def _block_of(sown: Sown, name: str) -> Block:
    return next(b for b in sown.grid.blocks if any(axis.name == name for axis in b.axes))


def _column(block: Block, name: str) -> Index:
    """The position in the axis of that name, for each row of the block."""
    if block.codes is None:
        return np.arange(len(block))
    return block.codes[:, next(i for i, axis in enumerate(block.axes) if axis.name == name)]
