"""Which columns the results of a run of cases make.

With declared names: one column a name. Without: a dict with str keys and an xarray object make
named columns, everything else stands in the column "" as it is. Cases whose results are of
another make go to another group.
"""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cropfit.disk.columns import Encoded
from cropfit.disk.schema import describe
from cropfit.errors import ResultError

__all__ = ["Failure", "Group", "arrange"]

Failure = tuple[int, ResultError]
"""The position of a case among those given, and what is wrong with its result."""

_DICTS = (dict, OrderedDict, defaultdict)
_BARE = frozenset({float, int, bool, complex, str, type(None), np.ndarray, np.float64, list, tuple})


@dataclass
class Group:
    """Cases whose results are of one make.

    Attributes
    ----------
    rows : sequence of int
        Positions of the cases among those given.
    columns : dict
        Name → one value a row.
    meta : dict
        What is to be written of the schema.
    constants : list of Encoded
        Columns of one value, shared by all rows.
    """

    rows: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    meta: dict[str, Any]
    constants: list[Encoded] = field(default_factory=list)

    def without(self, positions: set[int]) -> Group:
        """Leave out the rows at some positions of this group."""
        keep = [i for i in range(len(self.rows)) if i not in positions]
        columns = {name: [values[i] for i in keep] for name, values in self.columns.items()}
        return Group([self.rows[i] for i in keep], columns, self.meta, self.constants)


def arrange(
    results: Sequence[Any], names: tuple[str, ...] | None
) -> tuple[list[Group], list[Failure]]:
    """Sort results into columns.

    Parameters
    ----------
    results : sequence
        What the function returned, one a case.
    names : tuple of str or None
        The outputs that were declared.

    Returns
    -------
    groups : list of Group
        Each case in exactly one, if it is not in `failures`.
    failures : list of (position, ResultError)
        What does not fit the declaration, or cannot be kept.
    """
    if names is None:
        return _undeclared(results)
    columns = _quickly(results, names)
    failures: list[Failure] = []
    rows: Sequence[int] = range(len(results))
    if columns is None:
        rows, columns, failures = _one_by_one(results, names)
    return ([Group(rows, columns, {"kind": "names"})] if rows else []), failures


def _quickly(results: Sequence[Any], names: tuple[str, ...]) -> dict[str, Sequence[Any]] | None:
    """Sort all results at once; None if they have to be looked at one by one."""
    types = set(map(type, results))
    if len(names) == 1:
        return {names[0]: results} if types <= _BARE else None
    if types <= {tuple, list} and set(map(len, results)) == {len(names)}:
        return dict(zip(names, zip(*results, strict=True), strict=True))
    columns = _of_dicts(results) if types == {dict} else None
    return columns if columns is not None and columns.keys() == set(names) else None


def _of_dicts(results: Sequence[dict[Any, Any]]) -> dict[str, Sequence[Any]] | None:
    """Sort dicts by key; None unless all have the same keys, in one order, all of them str."""
    makes = set(map(tuple, results))
    keys = makes.pop()
    if makes or not all(type(key) is str for key in keys):
        return None
    return {key: [result[key] for result in results] for key in keys}


def _one_by_one(
    results: Sequence[Any], names: tuple[str, ...]
) -> tuple[list[int], dict[str, Sequence[Any]], list[Failure]]:
    rows, failures = [], []
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row, result in enumerate(results):
        values = _split(result, names)
        if isinstance(values, ResultError):
            failures.append((row, values))
            continue
        rows.append(row)
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return rows, dict(columns), failures


def _split(result: Any, names: tuple[str, ...]) -> Sequence[Any] | ResultError:
    """Give one value a name, or say why that cannot be."""
    if isinstance(result, dict):
        if result.keys() == set(names):
            return [result[name] for name in names]
        if len(names) != 1:
            return _misfit(names, f"a dict with the keys {_shortly(list(result))} came")
    if len(names) == 1:
        return [result]
    if isinstance(result, (tuple, list)) or (type(result) is np.ndarray and result.ndim > 0):
        if len(result) == len(names):
            return list(result)
        return _misfit(names, f"a {type(result).__name__} of length {len(result)} came")
    came = f"a {type(result).__name__} came"
    if result is None or isinstance(result, (bool, int, float, complex, str)):
        came = f"{_shortly(result)} ({type(result).__name__}) came"
    return _misfit(names, came)


def _misfit(names: tuple[str, ...], came: str) -> ResultError:
    return ResultError(
        f"{len(names)} outputs were declared, {_shortly(list(names))}, but {came}: return a "
        f"tuple of {len(names)} values or a dict with exactly these keys."
    )


def _shortly(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _undeclared(results: Sequence[Any]) -> tuple[list[Group], list[Failure]]:
    types = set(map(type, results))
    rows = range(len(results))
    if types <= _BARE:
        return [Group(rows, {"": results}, {"kind": "value"})] if rows else [], []
    alike = _of_dicts(results) if types == {dict} else None
    if alike is not None:
        return [Group(rows, alike, {"kind": "dict"})], []
    groups: dict[Hashable, tuple[list[int], dict[str, list[Any]], _Made]] = {}
    failures: list[Failure] = []
    for row, result in enumerate(results):
        try:
            made = _make(result)
        except ResultError as error:
            failures.append((row, error))
            continue
        empty: dict[str, list[Any]] = {name: [] for name in made.columns}
        members, columns, _ = groups.setdefault(made.key, ([], empty, made))
        members.append(row)
        for name, value in made.columns.items():
            columns[name].append(value)
    return [
        Group(members, dict(columns), made.meta, made.constants)
        for members, columns, made in groups.values()
    ], failures


class _Made(NamedTuple):
    """One result taken apart; results with equal keys stand in one group."""

    key: Hashable
    columns: Mapping[str, Any]
    meta: dict[str, Any]
    constants: list[Encoded]


def _make(result: Any) -> _Made:
    if type(result) in _DICTS and all(type(key) is str for key in result):
        return _Made(("dict", *result), result, {"kind": "dict"}, [])
    try:
        described = describe(result)
    except ResultError:
        raise
    except Exception as error:  # an array that is computed only now
        raise ResultError(
            f"the values of a {type(result).__name__} cannot be had: "
            f"{type(error).__name__}: {error}"
        ) from error
    if described is None:
        return _Made("value", {"": result}, {"kind": "value"}, [])
    columns, meta, constants = described
    shared = b"".join(b"".join(constant.parts) for constant in constants)
    specs = [constant.spec for constant in constants]
    return _Made((json.dumps([meta, specs]), shared), columns, meta, constants)
