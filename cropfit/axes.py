"""One parameter of a grid: the labels that a Dataset shows, the values that a function gets.

    whatever a user types ──values.py──▶ labels and values ──here──▶ Axis

The labels of an axis are always one-dimensional, unique and free of NaN; whatever cannot be
made so is refused with the name of the offender. Objects are kept by reference, never copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError
from cropfit.values import (
    Values,
    identity,
    object_labels,
    read_column,
    read_values,
    refuse,
    some,
)

__all__ = ["CLOSEST", "Axis", "make_axis", "make_column", "match_labels"]

# Two floats that differ by less than this, relatively, were meant to be one: 0.3 and 0.1 + 0.2.
CLOSEST = 1e-12


@dataclass(frozen=True, eq=False)
class Axis:
    """One parameter: the labels that the Dataset shows and the values that the function gets.

    Parameters
    ----------
    name
        The function's argument.
    labels : (n,) array
        Unique and without NaN: bool, int, float, complex, text ('<U'), datetime64, timedelta64.
    values
        What the function gets where it is not the label itself; None for the label itself, or
        for an object axis whose objects are on disk.
    attrs
        Units and the like, for the Dataset's coordinate.
    scalar
        Whether a label reaches the function as a Python or as a numpy scalar.
    kind
        "object" where values have to be pickled; a plain axis has values only where its list
        mixed int and float.
    """

    name: str
    labels: NDArray[Any]
    values: tuple[Any, ...] | None = field(default=None, repr=False)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    scalar: Literal["python", "numpy"] = "python"
    kind: Literal["plain", "object"] = "plain"

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.labels)

    def label(self, position: int) -> Any:
        """Return one label as JSON has it: dates, durations and complex numbers as text."""
        label = self.labels[position]
        return str(label) if self.labels.dtype.kind in "cmM" else label.item()

    def take(self, positions: NDArray[np.intp]) -> Axis:
        """Return the axis of these labels alone, in this order."""
        values = self.values
        if values is not None:
            values = tuple(values[i] for i in positions.tolist())
        return replace(self, labels=_sealed(self.labels[positions]), values=values)

    def reader(
        self, lookup: Callable[[int], Any] | None = None
    ) -> Callable[[NDArray[np.intp]], Iterable[Any]]:
        """Return what turns positions into values; objects come lazily, one at a time.

        Raises
        ------
        DesignError
            The objects of this axis are not in memory and there is no `lookup`.
        """
        get = lookup
        if get is None and self.values is not None:
            get = self.values.__getitem__
        if get is not None:
            found = get
            return lambda positions: map(found, positions.tolist())
        if self.kind == "object":
            raise DesignError(f"the {len(self)} objects of '{self.name}' are not in memory")
        labels = self.labels
        if self.scalar == "numpy":
            return lambda positions: list(labels[positions])
        return lambda positions: labels[positions].tolist()


def make_axis(name: str, raw: Any) -> Axis:
    """Turn the values of one combo into an axis.

    Parameters
    ----------
    name
        The function's argument.
    raw
        List, tuple, range, generator, 1-D array, pandas Index or Series, 1-D DataArray (their
        attrs are kept), mapping from labels to objects, or one value.

    Raises
    ------
    DesignError
        Empty, not 1-D, a value twice, NaN, an int beyond int64, or two floats closer than
        1e-12 relative.
    """
    found = read_values(name, raw)
    if len(found) == 0:
        refuse(name, "has no values")
    labels = found.labels
    if labels is None:
        given = found.given or ()
        _refuse_repeated_objects(name, given)
        labels = object_labels(name, given)
    _refuse_repeats(name, labels)
    return _axis(name, found, labels, found.given)


def make_column(
    name: str, raw: list[Any] | NDArray[Any], *, drawn: bool = False
) -> tuple[Axis, NDArray[np.intp]]:
    """Turn a column of cases, in which values repeat, into an axis and a position for each row.

    Parameters
    ----------
    name
        The function's argument.
    raw
        One value a row.
    drawn
        Whether the values were drawn at random: of very many, some are close by chance.

    Returns
    -------
    Axis
        Sorted labels; objects in the order of their first appearance.
    (n_rows,) int array
        The position of each row's value in the axis.

    Raises
    ------
    DesignError
        As `make_axis`, except that values may repeat.
    """
    found = read_column(name, raw)
    if found.labels is not None:
        labels, first, codes = np.unique(found.labels, return_index=True, return_inverse=True)
        given = None if found.given is None else [found.given[i] for i in first.tolist()]
        if given is not None and not _agree(found.given or (), given, codes):
            # 1 and 1.0 in one column are one float; other equals that differ are objects
            given = None
            if found.kind == "object":
                return _object_column(name, found)
        if not drawn:
            _refuse_repeats(name, labels)
        return _axis(name, found, labels, given), codes.astype(np.intp, copy=False)
    return _object_column(name, found)


def match_labels(new: Axis, old: Axis) -> NDArray[np.intp]:
    """Find each label of `new` in `old`: its position there, or -1.

    Ints match equal floats, floats match within 1e-12 relative, text never matches a number.
    Objects are compared by label alone: whether they are the same is for the caller to know.
    """
    place = np.full(len(new), -1, np.intp)
    common = _common_dtype(new.labels.dtype, old.labels.dtype)
    if common is None or not len(old):
        return place
    wanted, there = new.labels.astype(common), old.labels.astype(common)
    order = np.argsort(there, kind="stable")
    there = there[order]
    right = np.searchsorted(there, wanted)
    for candidate in (right - 1, right):
        at = np.clip(candidate, 0, len(there) - 1)
        same = _same(wanted, there[at])
        place[same] = order[at[same]]
    return place


def _axis(name: str, found: Values, labels: NDArray[Any], values: Sequence[Any] | None) -> Axis:
    kept = None if values is None else tuple(values)
    return Axis(name, _sealed(labels), kept, found.attrs, found.scalar, found.kind)


def _object_column(name: str, found: Values) -> tuple[Axis, NDArray[np.intp]]:
    seen: dict[Any, int] = {}
    objects: list[Any] = []
    codes = np.empty(len(found), np.intp)
    for row, value in enumerate(found.given or ()):
        position = seen.setdefault(identity(value), len(objects))
        if position == len(objects):
            objects.append(value)
        codes[row] = position
    return _axis(name, found, object_labels(name, objects), objects), codes


def _agree(given: Sequence[Any], firsts: list[Any], codes: NDArray[np.intp]) -> bool:
    """Tell whether values of equal labels are all alike, so that one can stand for them."""
    return all(
        value is first or (type(value) is type(first) and repr(value) == repr(first))
        for value, first in zip(given, map(firsts.__getitem__, codes.tolist()), strict=True)
    )


def _refuse_repeated_objects(name: str, objects: Sequence[Any]) -> None:
    seen: set[Any] = set()
    twice: dict[Any, Any] = {}
    for value in objects:
        key = identity(value)
        if key in seen:
            twice[key] = value
        seen.add(key)
    if twice:
        refuse(name, f"holds {len(twice)} values more than once ({some(list(twice.values()))})")


def _refuse_repeats(name: str, labels: NDArray[Any]) -> None:
    ordered = np.sort(labels)
    after, before = ordered[1:], ordered[:-1]
    twice = np.unique(after[after == before])
    if len(twice):
        shown = twice.astype(str) if twice.dtype.kind in "mM" else twice
        refuse(name, f"holds {len(twice)} values more than once ({some(shown[:4].tolist())})")
    close = np.flatnonzero(_same(after, before))
    if len(close):
        pairs = [f"{before[i].item()!r} and {after[i].item()!r}" for i in close[:3]]
        refuse(
            name,
            f"holds {len(close)} pairs of values closer than {CLOSEST} relative "
            f"({'; '.join(pairs)}), which would become separate coordinates; round them",
        )


def _common_dtype(new: np.dtype[Any], old: np.dtype[Any]) -> np.dtype[Any] | None:
    kinds = {new.kind, old.kind}
    if kinds <= set("iu"):
        return np.dtype(np.int64)
    if kinds <= set("iuf"):
        return np.dtype(np.float64)
    if kinds <= set("iufc"):
        return np.dtype(np.complex128)
    return np.promote_types(new, old) if len(kinds) == 1 else None


def _same(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = one == other
    if one.dtype.kind in "fc":
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(one - other) <= CLOSEST * np.maximum(np.abs(one), np.abs(other))
        same |= near & np.isfinite(one) & np.isfinite(other)
    return same


def _sealed(labels: NDArray[Any]) -> NDArray[Any]:
    labels.setflags(write=False)
    return labels
