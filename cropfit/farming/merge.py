"""Two Datasets become one: by position on the union of their coordinates, types kept.

old labels ∪ new labels ──▶ where each block stands ──▶ one allocation a variable

both have a value, and another       a conflict, told before anything is written
floats within the tolerance          one coordinate, that of the old
nothing missing                      the common type: ints stay ints, bools bools
something missing                    NaN, NaT or ""; ints and bools become floats, if that
changes none, unless a fill value is declared
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.exact import common_dtype, exact_cast
from cropfit.errors import ConflictError, ResultError
from cropfit.farming.join import RTOL, Joined, join
from cropfit.work.kinds import missing_of
from cropfit.work.variables import FILL

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["merge", "missing_in"]

SHOWN = 3  # conflicts that a message tells in full
PIECE = 8 << 20  # bytes that are compared at a time


def merge(
    old: xr.Dataset, new: xr.Dataset, *, overwrite: bool | None = None, rtol: float = RTOL
) -> xr.Dataset:
    """Put `new` into `old`.

    Parameters
    ----------
    old, new : Dataset
        Neither is changed.
    overwrite : bool, optional
        Which one counts where both have a value: True the new one, False the old one; by
        default only equal values are taken.
    rtol : float
        How far float coordinates may be apart and be the same, relative to the larger.

    Returns
    -------
    Dataset

    Raises
    ------
    ConflictError
        Both have a value in the same place, and another; says where, and how many.
    ResultError
        A variable has other dimensions in both, or types that have nothing in common.

    Notes
    -----
    Needs memory for the result, and some 50 MiB.
    """
    import xarray as xr

    joined = {dim: join(dim, old, new, rtol) for dim in dict.fromkeys((*old.dims, *new.dims))}
    names = [*old.variables, *(name for name in new.variables if name not in old.variables)]
    variables: dict[Any, xr.Variable] = {}
    conflicts: list[_Conflict] = []
    for name in names:
        if name in joined and joined[name].labels is not None:
            attrs = {**_attrs(new, name), **_attrs(old, name)}
            variables[name] = xr.Variable((name,), joined[name].labels, attrs)
            continue
        pair = _Pair(str(name), old.variables.get(name), new.variables.get(name), joined)
        if overwrite is None:
            conflicts += pair.conflicts()
        if not conflicts:
            variables[name] = pair.merged(overwrite)
    if conflicts:
        raise _told(conflicts)
    coords = {*old.coords, *new.coords}
    data = {name: each for name, each in variables.items() if name not in coords}
    kept = {name: each for name, each in variables.items() if name in coords}
    return xr.Dataset(data, kept, {**new.attrs, **old.attrs})


def _attrs(ds: xr.Dataset, name: Any) -> dict[Any, Any]:
    return dict(ds.variables[name].attrs) if name in ds.variables else {}


# -- values ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Conflict:
    name: str
    count: int
    examples: list[str]


@dataclass(frozen=True, eq=False)
class _Piece:
    """Positions of a block along each dimension: in the result, in old, and in new."""

    there: list[NDArray[np.intp]]
    old: list[NDArray[np.intp]]
    new: list[NDArray[np.intp]]


class _Pair:
    """One variable in both, or in one of them."""

    def __init__(
        self,
        name: str,
        old: xr.Variable | None,
        new: xr.Variable | None,
        joined: Mapping[Any, Joined],
    ) -> None:
        self.name = name
        self.old = old
        self.dims = old.dims if old is not None else (new.dims if new is not None else ())
        if old is not None and new is not None and set(old.dims) != set(new.dims):
            raise ResultError(
                f"{name!r} has dimensions {old.dims} in what is there and {new.dims} in what is "
                "added. Use another name, or expand_dims() first."
            )
        self.new = None if new is None else _refilled(new.transpose(*self.dims), old)
        self.joined = [joined[dim] for dim in self.dims]
        attrs = [dict(each.attrs) for each in (new, old) if each is not None]
        self.attrs = {key: value for each in attrs for key, value in each.items()}

    def conflicts(self) -> list[_Conflict]:
        """Where both have a value, and another."""
        if self.old is None or self.new is None:
            return []
        fill, count, examples = self.attrs.get(FILL), 0, list[str]()
        for piece in self._overlap():
            before, after = self.old.values[_box(piece.old)], self.new.values[_box(piece.new)]
            differ = ~missing_in(before, fill) & ~missing_in(after, fill)
            differ &= _unequal(before, after)
            count += int(np.count_nonzero(differ))
            for place in np.argwhere(differ)[: SHOWN - len(examples)]:
                spot = tuple(place)
                where = self._where([at[i] for at, i in zip(piece.there, place, strict=True)])
                examples.append(f"{where}: {before[spot]!s} there, {after[spot]!s} new")
        return [_Conflict(self.name, count, examples)] if count else []

    def _where(self, places: list[Any]) -> str:
        told = zip(self.dims, self.joined, places, strict=True)
        return ", ".join(
            f"{dim}={at if joined.labels is None else joined.labels[at]}"
            for dim, joined, at in told
        )

    def _overlap(self) -> Iterator[_Piece]:
        """The block that both have, a few rows at a time: what is computed of them stays small."""
        if self.old is None or self.new is None:
            return
        common = [
            np.intersect1d(each.old, each.new, assume_unique=True, return_indices=True)
            for each in self.joined
        ]
        if not common:
            yield _Piece([], [], [])
            return
        row = math.prod(len(each[0]) for each in common[1:])
        rows = max(1, PIECE // max(row * max(self.old.dtype.itemsize, self.new.dtype.itemsize), 1))
        for begin in range(0, len(common[0][0]), rows):
            first = [places[begin : begin + rows] for places in common[0]]
            rest = [[each[k] for each in common[1:]] for k in range(3)]
            yield _Piece(*([first[k], *rest[k]] for k in range(3)))

    def merged(self, overwrite: bool | None) -> xr.Variable:
        """The variable of the result."""
        import xarray as xr

        blocks = [each for each in (self.old, self.new) if each is not None]
        shape = tuple(each.size for each in self.joined)
        covered = self._is_covered()
        if covered and len(blocks) == 1 and blocks[0].shape == shape and self._in_order():
            return blocks[0]
        dtype = self._dtype(blocks)
        fill = self.attrs.get(FILL)
        if not covered and fill is None:
            dtype = self._with_missing(dtype, blocks)
        values: NDArray[Any] = (
            np.empty(shape, dtype)
            if covered
            else np.full(shape, self._missing(dtype, blocks) if fill is None else fill, dtype)
        )
        if self.old is not None:
            values[_box([each.old for each in self.joined])] = self.old.values
        if self.new is not None:
            values[_box([each.new for each in self.joined])] = self.new.values
        if self.old is not None and self.new is not None:
            self._keep(self.old.values, self.new.values, values, overwrite)
        return xr.Variable(self.dims, self._settled(values, blocks), self.attrs)

    def _in_order(self) -> bool:
        mine = "new" if self.old is None else "old"
        return all(np.array_equal(getattr(e, mine), np.arange(e.size)) for e in self.joined)

    def _is_covered(self) -> bool:
        """Whether every cell is in one of the two blocks."""
        full_old = [self.old is not None and len(e.old) == e.size for e in self.joined]
        full_new = [self.new is not None and len(e.new) == e.size for e in self.joined]
        if all(full_old) and self.old is not None:
            return True
        if all(full_new) and self.new is not None:
            return True
        both = self.old is not None and self.new is not None
        # Two boxes make a box if they differ along one dimension alone.
        open_dims = [not (o and n) for o, n in zip(full_old, full_new, strict=True)]
        return both and sum(open_dims) == 1

    def _keep(
        self, old: NDArray[Any], new: NDArray[Any], values: NDArray[Any], overwrite: bool | None
    ) -> None:
        """Put the old values back where those count."""
        fill = self.attrs.get(FILL)
        for piece in self._overlap():
            before, after = old[_box(piece.old)], new[_box(piece.new)]
            keep = ~missing_in(before, fill)
            if overwrite:
                keep &= missing_in(after, fill)
            if keep.any():
                box, dtype = _box(piece.there), values.dtype
                values[box] = np.where(keep, before.astype(dtype), after.astype(dtype))

    def _dtype(self, blocks: list[xr.Variable]) -> np.dtype[Any]:
        """The type that holds all values of both exactly."""
        dtypes = {each.dtype for each in blocks}
        if len(dtypes) == 1:
            return next(iter(dtypes))
        if any(dtype.kind == "O" for dtype in dtypes):
            return np.dtype(object)
        kinds = {dtype.kind for dtype in dtypes}
        target = common_dtype(dtypes)
        if kinds == {"b", "f"}:  # bools that were incomplete once are floats
            target = np.result_type(*(d for d in dtypes if d.kind == "f"))
        if target is not None and (
            kinds == {"b", "f"} or all(_holds(target, each.values) for each in blocks)
        ):
            return target
        raise ResultError(
            f"{self.name!r} is {' and '.join(sorted(map(str, dtypes)))} in what is there and what "
            "is added, and no type holds the values of both exactly. Nothing was written."
        )

    def _with_missing(self, dtype: np.dtype[Any], blocks: list[xr.Variable]) -> np.dtype[Any]:
        """The type that can be missing: of ints and bools a float, if that changes none."""
        if dtype.kind not in "biu":
            return dtype
        if dtype.kind == "b" or all(_holds(np.dtype(float), each.values) for each in blocks):
            return np.dtype(float)
        raise ResultError(
            f"{self.name!r} holds integers that a float64 cannot hold, and some values are "
            f"missing. Add the whole block, or declare var_attrs={{'{self.name}': {{'{FILL}': "
            "-1}} as the value that stands for missing ones. Nothing was written."
        )

    def _missing(self, dtype: np.dtype[Any], blocks: list[xr.Variable]) -> Any:
        """What stands where there is no value, as in a reap."""
        is_text = dtype.kind == "O" and all(
            isinstance(value, str) for each in blocks for value in each.values.flat
        )
        return b"" if dtype.kind == "S" else missing_of(dtype, is_text)

    def _settled(self, values: NDArray[Any], blocks: list[xr.Variable]) -> NDArray[Any]:
        """Ints and bools that were floats for want of a value become what they were."""
        whole = {each.dtype for each in blocks if each.dtype.kind in "biu"}
        if values.dtype.kind != "f" or len(whole) != 1 or len(blocks) == 1:
            return values
        (target,) = whole
        if np.isnan(values).any():
            return values
        back = values.astype(target)
        return back if np.array_equal(back, values) else values


def _refilled(new: xr.Variable, old: xr.Variable | None) -> xr.Variable:
    """The same, with the value for what is missing that `old` has."""
    fill, other = None if old is None else old.attrs.get(FILL), new.attrs.get(FILL)
    if fill is None or other is None or np.array_equal(fill, other):
        return new
    return new.copy(data=np.where(missing_in(new.values, other), fill, new.values))


def _box(places: list[NDArray[np.intp]]) -> Any:
    """An index of a block; slices where the places follow each other, which copy whole runs."""
    box: list[Any] = list(places)
    for at, each in enumerate(places):
        if len(each) and np.array_equal(each, np.arange(each[0], each[0] + len(each))):
            box[at] = slice(int(each[0]), int(each[0]) + len(each))
    scattered = sum(not isinstance(each, slice) for each in box)
    return (*box, ...) if scattered <= 1 else (*np.ix_(*places), ...)


def missing_in(values: NDArray[Any], fill: Any = None) -> NDArray[np.bool_]:
    """Where an array has no value."""
    if fill is not None and values.dtype.kind != "O":
        return np.asarray((values == fill) | missing_in(values))
    if values.dtype.kind in "fc":
        return np.asarray(np.isnan(values))
    if values.dtype.kind in "mM":
        return np.asarray(np.isnat(values))
    if values.dtype.kind in "US":
        return np.asarray(values == np.array("", values.dtype))
    if values.dtype.kind == "O":
        flat = [_is_nothing(value) for value in values.ravel()]
        return np.array(flat, bool).reshape(values.shape)
    return np.zeros(values.shape, bool)


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value) or _is_nan(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, (float, complex, np.floating)) and value != value


def _unequal(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    if object in (one.dtype, other.dtype):
        pairs = zip(one.ravel(), other.ravel(), strict=True)
        flat = [not bool(np.all(a == b)) for a, b in pairs]
        return np.array(flat, bool).reshape(one.shape)
    return np.asarray(one != other)


def _holds(dtype: np.dtype[Any], values: NDArray[Any]) -> bool:
    if values.dtype == dtype:
        return True
    flat, step = values.reshape(-1), PIECE // 8
    parts = (flat[begin : begin + step] for begin in range(0, len(flat), step))
    return all(exact_cast([part], dtype) is not None for part in parts)


def _told(conflicts: list[_Conflict]) -> ConflictError:
    total = sum(each.count for each in conflicts)
    lines = [
        f"{each.name!r}: {each.count} ({'; '.join(each.examples)}"
        f"{'; …' if each.count > SHOWN else ''})"
        for each in conflicts
    ]
    return ConflictError(
        f"{total} values are there already, and others: {', '.join(lines)}. Nothing was written. "
        "overwrite=True takes the new ones, overwrite=False keeps the old ones."
    )
