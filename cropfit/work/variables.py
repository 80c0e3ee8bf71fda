"""The variables of the Dataset: type, dimensions and missing value of each, planned once.

    every case of one dtype, none missing     that dtype, bit by bit
    several dtypes of numbers                 the common one, if it changes no value
    missing: float, complex, date, text       NaN, NaN, NaT, ""
    missing: int, bool                        float64 with NaN, or `fill_value` in their own dtype
    arrays of several lengths                 padded as if missing, true lengths in <name>_length
    anything else                             objects

Labelled results (a Dataset, a DataArray) may differ in the labels of their own
dimensions: these are joined, and each result is put where its labels are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError, ResultError
from cropfit.outputs import Outputs
from cropfit.work.kinds import OBJECT, clock, held_as, missing_of, type_of
from cropfit.work.survey import Make, Sort, common, equal
from cropfit.work.target import Labelled, Target, join_labels

__all__ = ["FILL", "Plan", "Variable", "plan_variables"]

FILL = "cropfit_fill_value"
"""Attribute that tells which value stands for a missing one."""


@dataclass(frozen=True, eq=False)
class Variable:
    """One variable as it will be.

    Parameters
    ----------
    inner, shape
        Its dimensions beside those of the cases, and their lengths.
    dtype
        In memory; object for text, too, until its width is known.
    missing
        What stands where there is no result.
    partial
        Whether there is such a place.
    lengths
        Position of a padded dimension to the variable that holds the true lengths.
    """

    name: str
    inner: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    missing: Any
    partial: bool
    attrs: Mapping[str, Any]
    is_text: bool = False
    is_coord: bool = False
    lengths: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Plan:
    """All of the Dataset but the values.

    Parameters
    ----------
    variables
        What is filled case by case.
    coords
        What is known now: labels of the parameters and of inner dimensions.
    index
        Joined labels of inner dimensions that the results themselves labelled.
    """

    target: Target
    variables: Mapping[str, Variable]
    coords: Mapping[str, Labelled]
    attrs: Mapping[str, Any]
    index: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class _Part:
    """What is known of a variable: of which sorts it is, in how many cases."""

    name: str
    dims: tuple[str, ...]
    sorts: Sequence[Sort]
    cases: int
    is_coord: bool = False


def plan_variables(
    makes: Sequence[Make],
    outputs: Outputs,
    target: Target,
    *,
    expected: int,
    fill_value: Any = None,
) -> Plan:
    """Decide what each variable is.

    Parameters
    ----------
    makes
        All makes of results.
    expected
        Cases that a variable must have to be in every cell; -1 if cells stay empty anyway.
    fill_value
        Stands for what is missing, and keeps the dtype; one for all that can hold it, or a
        dict by variable.

    Raises
    ------
    ResultError
        Results do not fit the declaration or each other.
    DesignError
        `fill_value` names no variable, or a variable cannot hold it.
    """
    fixed, varying = _constants(makes, target)
    parts = [*_outputs(makes, outputs), *varying]
    _check_names(parts, target)
    index = _joined(makes)
    sizes = _sizes(parts, index, outputs)
    _check_fills(fill_value, parts)
    variables: dict[str, Variable] = {}
    taken = {part.name for part in parts}
    for part in parts:
        padded = _padded(part, sizes, index)
        lengths = _length_names(part, padded, taken)
        shorter = any(
            len(make.index.get(dim, index[dim])) < len(index[dim])
            for make in makes
            for dim in part.dims
            if part.name in make.sorts and dim in index
        )
        partial = part.cases != expected or bool(padded) or shorter
        attrs = _attrs_of(part.name, makes, outputs)
        variable = _variable(part, sizes, partial, attrs, fill_value, lengths)
        variables[part.name] = variable
        for at, name in lengths.items():
            variables[name] = _length(variable, at, name, part.cases != expected)
    coords = _coords(parts, fixed, index, sizes, makes, outputs, target)
    attrs = {**common(make.attrs for make in makes), **outputs.attrs}
    return Plan(target, variables, coords, attrs, index)


# -- names and dimensions --------------------------------------------------------------


def _outputs(makes: Sequence[Make], outputs: Outputs) -> list[_Part]:
    """What the results consist of, in order of declaration or appearance."""
    if any(make.kind == "value" for make in makes):
        raise ResultError(
            "results without names cannot be put into a Dataset: they are reaped as a list. "
            "Declare var_names, or let the function return a dict, to have a Dataset"
        )
    names: Iterable[str] = outputs.var_names or ()
    names = dict.fromkeys([*names, *(name for make in makes for name in make.sorts)])
    parts = []
    for name in names:
        having = [make for make in makes if name in make.sorts]
        sorts = [make.sorts[name] for make in having]
        dims = _dims_of(name, having, outputs)
        parts.append(_Part(name, dims, sorts, sum(make.cases for make in having)))
    return parts


def _dims_of(name: str, having: Sequence[Make], outputs: Outputs) -> tuple[str, ...]:
    """Inner dimensions: as declared, as the results say, or `name_0`, `name_1`, ..."""
    depths = {len(make.sorts[name].most) for make in having}
    if not having:
        return ()
    told = {make.dims[name] for make in having if name in make.dims}
    if len(told) > 1:
        raise ResultError(f"{name!r} has other dimensions in other cases: {sorted(told)}")
    declared = outputs.var_dims.get(name)
    dims = told.pop() if told else declared
    if dims is None:
        depth = depths.pop() if len(depths) == 1 else 0
        return tuple(f"{name}_{i}" for i in range(depth))
    if depths != {len(dims)}:
        found = ", ".join(
            sorted(
                {
                    f"{s.kind} of {len(s.most)} dimensions"
                    for m in having
                    for s in [m.sorts[name]]
                    if len(s.most) != len(dims)
                }
            )
        )
        raise ResultError(
            f"{name!r} was declared with the inner dimensions {list(dims)}, but some results are "
            f"{found}"
        )
    return dims


def _constants(
    makes: Sequence[Make], target: Target
) -> tuple[dict[str, tuple[tuple[str, ...], NDArray[Any]]], list[_Part]]:
    """Coordinates of results without a dimension of their own: one for all, or one a case.

    Those that are named like a parameter tell what is known already.
    """
    fixed, varying = {}, []
    for name in dict.fromkeys(name for make in makes for name in make.constants):
        having = [make for make in makes if name in make.constants]
        dims, values = having[0].constants[name]
        if name in target.coords or name in target.dims:
            continue
        if len(having) == len(makes) and all(
            each.constants[name][0] == dims and equal(each.constants[name][1], values)
            for each in having
        ):
            fixed[name] = (dims, values)
            continue
        if any(each.constants[name][0] != dims for each in having):
            raise ResultError(f"the coordinate {name!r} has other dimensions in other cases")
        sorts = [_sort_of(each.constants[name][1]) for each in having]
        varying.append(_Part(name, dims, sorts, sum(m.cases for m in having), is_coord=True))
    return fixed, varying


def _sort_of(values: NDArray[Any]) -> Sort:
    if values.dtype.kind == "O":
        return Sort("pickle", "", (), ())
    return Sort("array", values.dtype.str, values.shape, values.shape)


def _check_names(parts: Sequence[_Part], target: Target) -> None:
    """Refuse what would have two meanings in one Dataset."""
    parameters = {*target.coords, *target.dims}
    inner = {dim for part in parts for dim in part.dims}
    for part in parts:
        for name, what in ((part.name, "result"), *((dim, "dimension") for dim in part.dims)):
            if name in parameters:
                raise ResultError(
                    f"the {what} {name!r} of the function is named like a parameter that is "
                    "varied; one of them needs another name"
                )
        if part.name in inner:
            raise ResultError(f"{part.name!r} is both a result and a dimension of a result")


def _joined(makes: Sequence[Make]) -> dict[str, NDArray[Any]]:
    """The labels of each dimension that results labelled themselves, sorted where they differ."""
    dims = dict.fromkeys(dim for make in makes for dim in make.index)
    index = {}
    for dim in dims:
        parts = [make.index[dim] for make in makes if dim in make.index]
        labels, _ = join_labels(parts, sort=True)
        differ = any(not np.array_equal(labels, part) for part in parts)
        index[dim] = np.sort(labels) if differ and labels.dtype.kind != "O" else labels
    return index


def _sizes(
    parts: Sequence[_Part], index: Mapping[str, NDArray[Any]], outputs: Outputs
) -> dict[str, int]:
    """Length of each inner dimension."""
    sizes = {dim: len(labels) for dim, labels in index.items()}
    for part in parts:
        for at, dim in enumerate(part.dims):
            most = max(sort.most[at] for sort in part.sorts)
            coord = outputs.var_coords.get(dim)
            if dim in index or coord is None:
                sizes[dim] = len(index[dim]) if dim in index else max(most, sizes.get(dim, 0))
                continue
            sizes[dim] = len(coord.values)
            least = min(sort.least[at] for sort in part.sorts)
            if not least == most == sizes[dim]:
                found = f"{most}" if least == most else f"{least} to {most}"
                raise ResultError(
                    f"{part.name!r} has {found} values along {dim!r}, whose declared coordinate "
                    f"has {sizes[dim]}"
                )
    return sizes


# -- types and missing values ----------------------------------------------------------


def _variable(
    part: _Part,
    sizes: Mapping[str, int],
    partial: bool,
    attrs: dict[str, Any],
    fill_value: Any,
    lengths: Mapping[int, str],
) -> Variable:
    dtype, is_text = type_of(part.sorts)
    inner, shape = part.dims, tuple(sizes[dim] for dim in part.dims)
    if dtype == OBJECT and inner and not is_text:
        raise ResultError(
            f"{part.name!r} has the inner dimensions {list(inner)}, but its results have no "
            "common type"
        )
    given = fill_value.get(part.name) if isinstance(fill_value, Mapping) else fill_value
    strict = isinstance(fill_value, Mapping)
    held = None if given is None else held_as(part.name, dtype, is_text, given, strict=strict)
    if partial and held is not None:
        attrs = {**attrs, FILL: held.item() if isinstance(held, np.generic) else held}
    elif partial and dtype.kind in "iub":
        dtype = np.dtype(np.float64)
    missing = missing_of(dtype, is_text) if held is None else held
    return Variable(
        part.name, inner, shape, dtype, missing, partial, attrs, is_text, part.is_coord, lengths
    )


def _check_fills(fill_value: Any, parts: Sequence[_Part]) -> None:
    if isinstance(fill_value, Mapping):
        names = {part.name for part in parts}
        for name in fill_value:
            if name not in names:
                raise DesignError(f"fill_value names {name!r}; the variables are {sorted(names)}")


# -- padding ---------------------------------------------------------------------------


def _padded(part: _Part, sizes: Mapping[str, int], index: Mapping[str, NDArray[Any]]) -> list[int]:
    """Positions of the inner dimensions along which some results are short."""
    return [
        at
        for at, dim in enumerate(part.dims)
        if dim not in index
        and any(not sort.least[at] == sort.most[at] == sizes[dim] for sort in part.sorts)
    ]


def _length_names(part: _Part, padded: Sequence[int], taken: set[str]) -> dict[int, str]:
    """One ``<name>_length``, or one a padded dimension."""
    names = {}
    for at in padded:
        name = f"{part.name}_length" if len(padded) == 1 else f"{part.name}_length_{at}"
        while name in taken:
            name += "_"
        taken.add(name)
        names[at] = name
    return names


def _length(variable: Variable, at: int, name: str, partial: bool) -> Variable:
    attrs = {"long_name": f"number of values of {variable.name} along {variable.inner[at]}"}
    return Variable(name, (), (), np.dtype(np.int64), 0, partial, attrs)


# -- coordinates and attributes --------------------------------------------------------


def _coords(
    parts: Sequence[_Part],
    fixed: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]],
    index: Mapping[str, NDArray[Any]],
    sizes: Mapping[str, int],
    makes: Sequence[Make],
    outputs: Outputs,
    target: Target,
) -> dict[str, Labelled]:
    """Labels of the parameters, then of the inner dimensions."""
    coords = {
        name: Labelled(
            each.dims, _settled(each.labels), {**each.attrs, **outputs.var_attrs.get(name, {})}
        )
        for name, each in target.coords.items()
    }
    for dim in dict.fromkeys([*(dim for part in parts for dim in part.dims), *index]):
        attrs = _attrs_of(dim, makes, outputs)
        declared = outputs.var_coords.get(dim)
        if dim in index:
            coords.setdefault(dim, Labelled((dim,), _settled(index[dim]), attrs))
        elif declared is not None:
            coords[dim] = Labelled((dim,), _settled(declared.values), {**declared.attrs, **attrs})
    for name, (dims, values) in fixed.items():
        if all(sizes.get(dim) == size for dim, size in zip(dims, values.shape, strict=True)):
            coords[name] = Labelled(dims, _settled(values), _attrs_of(name, makes, outputs))
    return coords


def _settled(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as xarray keeps them."""
    return labels.astype(clock(labels.dtype)) if labels.dtype.kind in "Mm" else labels


def _attrs_of(name: str, makes: Sequence[Make], outputs: Outputs) -> dict[str, Any]:
    told = common(make.var_attrs.get(name, {}) for make in makes if make.has(name))
    return {**told, **outputs.var_attrs.get(name, {})}
