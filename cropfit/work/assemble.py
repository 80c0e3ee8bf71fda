"""A crop's results as one labelled Dataset in memory, or as a list in case order.

Each variable is allocated once and filled by position. Nothing is merged or
concatenated, so no dtype changes on the way and the peak is the Dataset itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.batching import Sown
from cropfit.disk.codec import Chunk
from cropfit.errors import DesignError
from cropfit.outputs import Outputs
from cropfit.work.fill import Cells, Harvest, Read, results_by_case
from cropfit.work.target import Layout, plan_layout
from cropfit.work.variables import Plan, Variable

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["WIDEST", "Instead", "assemble", "collect", "nested"]

WIDEST = 256
"""Characters up to which text is kept in an array of fixed width; beyond, as objects."""
Instead = Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]]


def assemble(
    sowings: Sequence[Sown],
    outputs: Outputs,
    read: Read,
    *,
    batches: Sequence[int],
    layout: Layout = "auto",
    fill_value: Any = None,
    diagnostics: bool = False,
    ignored: Collection[int] = (),
    instead: Instead = MappingProxyType({}),
) -> xr.Dataset:
    """Put the results of a crop into a Dataset.

    Parameters
    ----------
    sowings
        All of the crop; what `batches` does not cover is missing.
    outputs
        As declared, constants included (`Outputs.with_constants`).
    read
        Gives the records of a batch, checked; called once a batch, or twice if batches differ.
    batches
        Numbers of the batches that can be read, in the order in which to read them.
    layout
        "auto", "grid" or "case": see `plan_layout`.
    fill_value
        Stands for what is missing and keeps the dtype, instead of NaN in float64; one for all
        variables that can hold it, or a dict by variable. The attribute
        ``cropfit_fill_value`` tells where it was needed.
    diagnostics
        Add ``case_status``, ``case_seconds``, ``case_host`` and ``case_attempt``.
    ignored
        Batches that were set aside by hand, for ``case_status``.
    instead
        Name of a variable of text → what to have in place of the texts of some cases.

    Raises
    ------
    ResultError
        Results do not fit the declaration or each other; or an integer would change its
        value because others are missing (it names variable, value and case).
    DesignError
        `fill_value` or `layout` cannot be.

    Notes
    -----
    Arrays whose lengths differ are padded as if missing; ``<name>_length`` tells the true
    length (``<name>_length_<i>`` where several dimensions are padded), 0 where the whole
    result is missing. 1e6 floats from 1000 batches take some 30 ms beside reading; the peak
    of memory is the data, some 10 MiB and two batches.
    """
    harvest = Harvest(
        sowings,
        outputs,
        read,
        batches=batches,
        target=plan_layout(sowings, layout),
        fill_value=fill_value,
        diagnostics=diagnostics,
        ignored=ignored,
    )
    sinks: list[_Arrays] = []

    def open_sink(plan: Plan) -> _Arrays:
        sinks.clear()
        sinks.append(_Arrays(plan, instead))
        return sinks[0]

    plan, _ = harvest.run(open_sink)
    return _dataset(plan, sinks[0].arrays)


def collect(
    sowings: Sequence[Sown], read: Read, batches: Sequence[int], missing: Any = None
) -> list[Any]:
    """All results as they were returned, in the order of the cases.

    Parameters
    ----------
    sowings, read, batches
        See `assemble`.
    missing
        Stands for the results of cases that have none.
    """
    found = [missing] * sum(sown.grid.size for sown in sowings)
    firsts = np.array([sown.first_batch for sown in sowings])
    for batch in batches:
        sown = sowings[int(np.searchsorted(firsts, batch, "right")) - 1]
        for number, result in results_by_case(sown, batch, read(batch), _results):
            found[number] = result
    return found


def nested(sowings: Sequence[Sown], read: Read, batches: Sequence[int], missing: Any = None) -> Any:
    """All results as tuples in tuples, one level a dimension of what was sown.

    Raises
    ------
    DesignError
        There were several sowings, which have no common shape.
    """
    if len(sowings) != 1:
        raise DesignError(
            f"{len(sowings)} sowings have no common shape to nest; reap them as a list"
        )
    flat = collect(sowings, read, batches, missing)
    for length in reversed(sowings[0].grid.shape[1:]):
        flat = [tuple(flat[i : i + length]) for i in range(0, len(flat), length)]
    return tuple(flat)


class _Arrays:
    """Variables in memory."""

    def __init__(self, plan: Plan, instead: Instead) -> None:
        size = plan.target.size
        self._instead = instead
        self.arrays: dict[str, NDArray[Any]] = {}
        for name, variable in plan.variables.items():
            shape = (size, *variable.shape)
            if variable.partial:
                self.arrays[name] = np.full(shape, variable.missing, variable.dtype)
            else:
                self.arrays[name] = np.empty(shape, variable.dtype)

    def put(self, variable: Variable, cells: Cells, values: NDArray[Any]) -> None:
        if variable.name in self._instead:
            values = self._instead[variable.name](values)
        self.arrays[variable.name][cells] = values


def _dataset(plan: Plan, arrays: dict[str, NDArray[Any]]) -> xr.Dataset:
    import xarray as xr

    outer = plan.target.dims
    data: dict[str, Any] = {}
    coords: dict[str, Any] = {
        name: xr.Variable(each.dims, each.labels, dict(each.attrs))
        for name, each in plan.coords.items()
    }
    for name, variable in plan.variables.items():
        values = _narrow(arrays.pop(name)) if variable.is_text else arrays.pop(name)
        shaped = values.reshape(*plan.target.shape, *variable.shape)
        made = xr.Variable((*outer, *variable.inner), shaped, dict(variable.attrs))
        (coords if variable.is_coord else data)[name] = made
    return xr.Dataset(data, coords, dict(plan.attrs))


def _narrow(text: NDArray[Any]) -> NDArray[Any]:
    """Text in an array of fixed width, unless that wastes memory."""
    widest = max(map(len, text.tolist()), default=0)
    lost = any(each.endswith("\0") for each in text.tolist())
    return text if widest > WIDEST or lost else text.astype(f"U{max(widest, 1)}")


def _results(chunk: Chunk) -> list[Any]:
    """What the function returned, case by case."""
    columns = {name: column.values() for name, column in chunk.columns.items()}
    kind = chunk.schema.kind
    if kind == "value":
        return columns[""]
    if kind == "names":
        rows = list(zip(*columns.values(), strict=True))
        return [row[0] for row in rows] if len(columns) == 1 else rows
    if kind == "dict":
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    make: Callable[..., Any] = _labelled
    return [
        make(chunk, dict(zip(columns, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    ]


def _labelled(chunk: Chunk, values: dict[str, Any]) -> Any:
    """One Dataset or DataArray, as it was returned."""
    import xarray as xr

    schema = chunk.schema

    def attrs_of(name: str) -> dict[str, Any]:
        return dict(schema.var_attrs.get(name, {}))

    coords = {
        name: xr.Variable(coord.dims, coord.labels, attrs_of(name))
        for name, coord in schema.coords.items()
    }
    if schema.kind == "dataarray":
        (value,) = values.values()
        (dims,) = schema.dims.values()
        return xr.DataArray(value, coords, dims, schema.name, dict(schema.attrs))
    data = {
        name: xr.Variable(schema.dims[name], value, attrs_of(name))
        for name, value in values.items()
    }
    return xr.Dataset(data, coords, dict(schema.attrs))
