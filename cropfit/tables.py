"""Combos and cases as users write them, read into named columns.

    {"a": [1, 2], ("b", "c"): [(1, 2), (3, 4)]} ──read_combos──▶ [(("a",), [1, 2]), ...]
    dicts | tuples with names | DataFrame       ──read_cases───▶ {"a": column, "b": column}

Names are judged here (arguments of a function, each once), and so is the shape of every row;
what the values are is judged by `cropfit.axes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError
from cropfit.values import some

__all__ = ["Column", "check_names", "read_cases", "read_combos", "read_rows"]

Column = list[Any] | NDArray[Any]


def read_combos(combos: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Read combos as pairs of names (several for a zip) and values; one pair alone will do.

    Raises
    ------
    DesignError
        Neither a mapping nor pairs.
    """
    if combos is None:
        return []
    if isinstance(combos, str) or not isinstance(combos, Iterable):
        raise DesignError(f"combos must map names to values, not {some([combos])}")
    pairs = list(combos.items() if isinstance(combos, Mapping) else combos)
    if len(pairs) == 2 and isinstance(pairs[0], str) and not isinstance(pairs[1], str):
        pairs = [tuple(pairs)]
    bad = [p for p in pairs if not isinstance(p, (tuple, list)) or len(p) != 2]
    if bad:
        raise DesignError(f"combos: {len(bad)} entries are not (name, values) ({some(bad)})")
    return [_named(key, raw) for key, raw in pairs]


def read_cases(cases: Any, fn_args: Sequence[str] | str | None) -> dict[str, Column]:
    """Read cases as one column a name, all of the same length.

    Parameters
    ----------
    cases
        A list of dicts, a list of tuples, a 2-D array or a DataFrame.
    fn_args
        The names, needed where the rows do not have them; else they set the order.

    Raises
    ------
    DesignError
        No case, or rows that do not have the names.
    """
    names = (fn_args,) if isinstance(fn_args, str) else tuple(fn_args or ())
    check_names(names, [])
    if hasattr(cases, "columns"):
        columns = _read_frame(cases, names)
    elif isinstance(cases, (str, Mapping)) or not isinstance(cases, Iterable):
        raise DesignError("cases must be a list of dicts, a list of tuples or a DataFrame")
    else:
        rows = cases if isinstance(cases, np.ndarray) else list(cases)
        if len(rows) == 0:
            raise DesignError("cases are empty")
        if any(isinstance(row, Mapping) for row in rows):
            columns = _read_dicts(names, list(rows))
        elif names:
            columns = read_rows("cases", names, rows)
        else:
            raise DesignError("cases are not dicts: their names are needed (fn_args)")
    if not columns or not any(map(len, columns.values())):
        raise DesignError("cases are empty")
    return columns


def read_rows(where: str, names: Sequence[str], rows: Column) -> dict[str, Column]:
    """Read rows of values as one column a name.

    Raises
    ------
    DesignError
        A row does not have one value a name.
    """
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == len(names):
        return {name: rows[:, j] for j, name in enumerate(names)}
    if len(names) == 1:
        rows = [row if isinstance(row, (tuple, list)) else (row,) for row in rows]
    bad = [i for i, row in enumerate(rows) if not _is_row(row, len(names))]
    if bad:
        raise DesignError(
            f"{where}: {len(bad)} of {len(rows)} rows are not {len(names)} values "
            f"(rows {some(bad)}; row {bad[0]} is {some([rows[bad[0]]])})"
        )
    return {name: [row[j] for row in rows] for j, name in enumerate(names)}


def check_names(columns: Sequence[Any], keys: Sequence[tuple[Any, ...]]) -> None:
    """Refuse names that no function can take, and names given twice.

    Parameters
    ----------
    columns
        Names of the cases' columns.
    keys
        Names of each combo; several for a zip.
    """
    combos = [name for key in keys for name in key]
    bad = [n for n in [*columns, *combos] if not (isinstance(n, str) and n.isidentifier())]
    if bad:
        raise DesignError(f"{len(bad)} names cannot be arguments of a function: {some(bad)}")
    if () in keys:
        raise DesignError("a combo has no name: its key is ()")
    both = sorted(set(columns) & set(combos))
    if both:
        raise DesignError(f"{len(both)} names are in both cases and combos: {some(both)}")
    for where, names in (("cases", list(columns)), ("combos", combos)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DesignError(f"{len(twice)} names are twice in {where}: {some(twice)}")


def _named(key: Any, raw: Any) -> tuple[tuple[Any, ...], Any]:
    if not isinstance(key, (tuple, list)):
        return (key,), raw
    if len(key) == 1 and isinstance(raw, (tuple, list)):
        # a zip of one: its rows are (value,)
        raw = [row[0] if isinstance(row, tuple) and len(row) == 1 else row for row in raw]
    return tuple(key), raw


def _is_row(row: Any, length: int) -> bool:
    if isinstance(row, np.ndarray):
        return bool(row.shape == (length,))
    return isinstance(row, (tuple, list)) and len(row) == length


def _read_frame(frame: Any, names: tuple[str, ...]) -> dict[str, Column]:
    there = list(frame.columns)
    check_names(there, [])
    if names and set(names) != set(there):
        raise DesignError(f"cases: the columns {some(there)} are not the names {some(names)}")
    # as an array: a Series would hand on the attrs of the whole frame
    return {name: np.asarray(frame[name]) for name in names or there}


def _read_dicts(names: tuple[str, ...], rows: list[Any]) -> dict[str, Column]:
    names = names or tuple(next(row for row in rows if isinstance(row, Mapping)))
    wanted = set(names)
    bad = [i for i, row in enumerate(rows) if not isinstance(row, Mapping) or row.keys() != wanted]
    if bad:
        row = rows[bad[0]]
        raise DesignError(
            f"cases: {len(bad)} of {len(rows)} rows do not have the names {some(names, 9)} "
            f"(rows {some(bad)}; row {bad[0]} {_difference(wanted, row)})"
        )
    return {name: [row[name] for row in rows] for name in names}


def _difference(wanted: set[str], row: Any) -> str:
    if not isinstance(row, Mapping):
        return f"is {some([row])}"
    lacks, adds = sorted(wanted - row.keys(), key=str), sorted(row.keys() - wanted, key=str)
    told = [f"{verb} {some(what)}" for verb, what in (("lacks", lacks), ("adds", adds)) if what]
    return " and ".join(told)
