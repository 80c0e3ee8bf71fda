"""From batches to cells: each batch is read once, each value copied once.

    read ──survey──▶ plan ──pour──▶ sink (arrays in memory, or a file)

Small crops are read whole, then planned. Of large ones the first batches are
read, and the rest is taken to be like them; where it is not (`Surprise`), all
are surveyed, and pouring starts again under the better plan. So the common crop
is read in one pass, and no crop is ever put into variables that do not fit it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cropfit.batching import Sown
from cropfit.disk.codec import Chunk
from cropfit.disk.columns import Column
from cropfit.errors import DamagedError, ResultError
from cropfit.outputs import Outputs
from cropfit.work.cast import Changed, as_dtype, as_objects, empty_block, lengths_of, where
from cropfit.work.diagnostics import diagnose, diagnostic_variables
from cropfit.work.survey import Make, Survey, columns_of
from cropfit.work.target import Target, join_labels
from cropfit.work.variables import Plan, Variable, plan_variables

if TYPE_CHECKING:
    from cropfit.disk.records import Records

__all__ = ["Harvest", "Read", "Sink", "results_by_case"]

KEEP = 4 << 20
"""Bytes of results that are kept in memory between survey and pouring."""

BESIDE = 4 << 10
"""Bytes that a batch takes beside its results, however few they are."""

LARGE = 256 << 10
"""Bytes of a batch from which on the next is read at the same time."""

Read: TypeAlias = "Callable[[int], Records]"
Cells: TypeAlias = "slice | NDArray[np.intp]"
Rows: TypeAlias = "NDArray[np.intp] | None"


class Sink(Protocol):
    """What takes up values, wherever it keeps them."""

    def put(self, variable: Variable, cells: Cells, values: NDArray[Any]) -> None:
        """Put one value (of the variable's inner shape and dtype) into each cell."""


class Surprise(Exception):
    """A batch is not like those that were surveyed."""


class Harvest:
    """The results of a crop on their way to a Dataset.

    Parameters
    ----------
    sowings
        All of the crop.
    outputs
        As declared.
    read
        Gives the records of a batch, checked.
    batches
        Which batches can be read, in the order in which to read them.
    target
        Which cell each case fills.
    fill_value
        See `plan_variables`.
    diagnostics
        Whether to tell status, seconds, host and attempt of each case.
    ignored
        Batches that were set aside by hand.
    keep
        Bytes of results that may be kept in memory between survey and pouring.
    """

    def __init__(
        self,
        sowings: Sequence[Sown],
        outputs: Outputs,
        read: Read,
        *,
        batches: Sequence[int],
        target: Target,
        fill_value: Any = None,
        diagnostics: bool = False,
        ignored: Collection[int] = (),
        keep: int = KEEP,
    ) -> None:
        self.sowings = sowings
        self.outputs = outputs
        self.target = target
        self._read = read
        self._batches = batches
        self._fill_value = fill_value
        self._diagnostics = diagnostics
        self._ignored = ignored
        self._keep = keep
        self._kept: dict[int, Records] = {}
        self._survey = Survey()
        self._surveyed = 0  # of the batches, the first so many
        self._firsts = [sown.first_batch for sown in sowings]
        self._places: dict[tuple[int, str], NDArray[np.intp]] = {}

    def run(self, open_sink: Callable[[Plan], Sink]) -> tuple[Plan, Sink]:
        """Plan, open a sink, and pour everything into it.

        Parameters
        ----------
        open_sink
            Called once, or twice if the batches differ in make: a former sink is of no use then.
        """
        self._look(most=self._keep)
        if len(self._survey.makes) != 1:
            self._look()
        plan = self._plan()
        sink = open_sink(plan)
        try:
            self._pour(plan, sink)
        except Surprise:
            self._kept.clear()
            self._look()
            plan = self._plan()
            sink = open_sink(plan)
            self._pour(plan, sink)
        return plan, sink

    # -- survey ------------------------------------------------------------------------

    def _look(self, most: int | None = None) -> None:
        """Survey the batches that were not; all, or as many as may be kept."""
        size = 0
        while self._surveyed < len(self._batches) and (most is None or size < most):
            batch = self._batches[self._surveyed]
            records = self._read(batch)
            for chunk, rows in fresh(records, self._size_of(batch), batch):
                self._survey.add(chunk, len(chunk) if rows is None else len(rows))
            if most is not None:
                self._kept[batch] = records
                size += _nbytes(records)
            self._surveyed += 1

    def _plan(self) -> Plan:
        makes = list(self._survey.makes.values())
        rest = sum(self._size_of(batch) for batch in self._batches[self._surveyed :])
        if rest:
            makes = [replace(makes[0], cases=makes[0].cases + rest)]
        total = sum(sown.grid.size for sown in self.sowings)
        expected = total if self.target.filled == self.target.size else -1
        plan = plan_variables(
            makes, self.outputs, self.target, expected=expected, fill_value=self._fill_value
        )
        if not self._diagnostics:
            return plan
        return replace(plan, variables={**plan.variables, **diagnostic_variables(plan.variables)})

    # -- pouring -----------------------------------------------------------------------

    def _pour(self, plan: Plan, sink: Sink) -> None:
        for at, (batch, records) in enumerate(self._each()):
            size, poured = self._size_of(batch), 0
            for chunk, rows in fresh(records, size, batch):
                make = self._survey.make_of(chunk)
                if make is None:
                    raise Surprise
                self._pour_chunk(plan, sink, batch, chunk, rows, make)
                poured += len(chunk) if rows is None else len(rows)
            if at >= self._surveyed and poured != size:
                raise Surprise
            if self._diagnostics:
                self._pour_diagnostics(plan, sink, batch, records)
        if self._diagnostics:
            for batch in self._ignored:
                cells = self._cells(batch, np.arange(self._size_of(batch)))
                status = plan.variables["case_status"]
                sink.put(status, cells, np.full(self._size_of(batch), 3, np.int8))

    def _each(self) -> Iterator[tuple[int, Records]]:
        """All batches; where they are large, the next is read while one is put in its place."""
        ahead: Future[Records] | None = None
        with ThreadPoolExecutor(1) as pool:
            for batch, following in zip_longest(self._batches, self._batches[1:]):
                if batch in self._kept:
                    records = self._kept.pop(batch)
                else:
                    records = self._read(batch) if ahead is None else ahead.result()
                ahead = None
                unread = following is not None and following not in self._kept
                if unread and _nbytes(records) >= LARGE:
                    ahead = pool.submit(self._read, following)
                yield batch, records

    def _pour_chunk(
        self,
        plan: Plan,
        sink: Sink,
        batch: int,
        chunk: Chunk,
        rows: Rows,
        make: Make,
    ) -> None:
        offsets: NDArray[Any] = chunk.offsets if rows is None else chunk.offsets[rows]
        cells = self._cells(batch, offsets, rows is None and chunk.in_order)
        for name, column in columns_of(chunk).items():
            variable = plan.variables[name]
            try:
                self._pour_column(plan, sink, cells, variable, make, column, rows)
            except Changed as changed:
                raise self._inexact(variable, changed, batch, chunk) from None
        for name, (_, constant) in make.constants.items():
            if name in plan.variables:
                one, all_of_it = Column("array", 1, constant[np.newaxis]), np.zeros_like(offsets)
                self._pour_column(plan, sink, cells, plan.variables[name], make, one, all_of_it)

    def _pour_column(
        self,
        plan: Plan,
        sink: Sink,
        cells: Cells,
        variable: Variable,
        make: Make,
        column: Column,
        rows: Rows,
    ) -> None:
        values = self._values(plan, variable, make, column)
        sink.put(variable, cells, values if rows is None else values[rows])
        for dim, length in variable.lengths.items():
            lengths = lengths_of(column, dim)
            sink.put(plan.variables[length], cells, lengths if rows is None else lengths[rows])

    def _values(self, plan: Plan, variable: Variable, make: Make, column: Column) -> NDArray[Any]:
        """The values of a column, in the variable's dtype and shape."""
        if variable.dtype.kind == "O":
            return as_objects(column.values())
        aligned = {
            at: places
            for at, dim in enumerate(variable.inner)
            if (places := self._place(plan, make, dim)) is not None
        }
        if column.kind == "ragged":
            block = empty_block(variable, len(column))
            for row, value in zip(block, column.values(), strict=True):
                row[where(value.shape, aligned)] = as_dtype(variable, value)
            return block
        values = as_dtype(variable, column.data)
        if values.shape[1:] == variable.shape and not aligned:
            return values
        block = empty_block(variable, len(column))
        for row, value in zip(block, values, strict=True):
            row[where(value.shape, aligned)] = value
        return block

    def _place(self, plan: Plan, make: Make, dim: str) -> NDArray[np.intp] | None:
        """Where the labels of this make stand along `dim`; None if one after the other."""
        if dim not in plan.index or dim not in make.index:
            return None
        key = (id(make), dim)
        if key not in self._places:
            _, (_, places) = join_labels([plan.index[dim], make.index[dim]])
            self._places[key] = places
        places = self._places[key]
        same = len(places) == len(plan.index[dim]) and bool(
            np.array_equal(places, np.arange(len(places)))
        )
        return None if same else places

    def _pour_diagnostics(self, plan: Plan, sink: Sink, batch: int, records: Records) -> None:
        found = diagnose(records, self._size_of(batch))
        cells = self._cells(batch, np.arange(self._size_of(batch)))
        for name, values in found.items():
            sink.put(plan.variables[name], cells, values)

    # -- places ------------------------------------------------------------------------

    def _sowing_of(self, batch: int) -> int:
        return bisect_right(self._firsts, batch) - 1

    def _size_of(self, batch: int) -> int:
        sown = self.sowings[self._sowing_of(batch)]
        return sown.batches.size_of(batch - sown.first_batch + 1)

    def _cells(self, batch: int, offsets: NDArray[Any], in_order: bool = False) -> Cells:
        """The cell of each case of a batch; a slice if they follow each other."""
        sowing = self._sowing_of(batch)
        sown = self.sowings[sowing]
        local = batch - sown.first_batch + 1
        shift = self.target.shift(sowing)
        if sown.batches.order is None and shift is not None:
            start = sown.batches.bounds_of(local)[0] + shift
            if in_order or _is_run(offsets):
                start += int(offsets[0])
                return slice(start, start + len(offsets))
            return offsets.astype(np.intp) + start
        cells = self.target.cells(sowing, sown.batches.cases_of(local)[offsets])
        return slice(int(cells[0]), int(cells[-1]) + 1) if _is_run(cells) else cells

    def _inexact(
        self, variable: Variable, changed: Changed, batch: int, chunk: Chunk
    ) -> ResultError:
        """Name the case whose value the variable's type would change."""
        sown = self.sowings[self._sowing_of(batch)]
        flat = sown.batches.cases_of(batch - sown.first_batch + 1)
        column = columns_of(chunk)[variable.name]
        for offset, value in zip(chunk.offsets.tolist(), column.values(), strict=True):
            try:
                as_dtype(variable, np.asarray(value))
            except Changed:
                where = sown.grid.labels_of(int(flat[offset]))
                shown = repr(value) if np.ndim(value) == 0 else str(changed)
                return ResultError(
                    f"{variable.name!r} of the case {where} is {shown}, which {variable.dtype} "
                    "cannot hold exactly. Missing or mixed results make it so: complete them, "
                    "give fill_value= to keep the type, or reap with layout='case'"
                )
        return ResultError(f"{variable.name!r} holds a value that {variable.dtype} cannot hold")


def fresh(records: Records, size: int, batch: int) -> Iterator[tuple[Chunk, Rows]]:
    """Chunks and which of their rows count, None for all: a case that is there twice counts once.

    Raises
    ------
    DamagedError
        A result is of a case that the batch does not have.
    """
    chunks = records.chunks
    if any(len(chunk) and _last(chunk) >= size for chunk in chunks):
        raise DamagedError(f"batch {batch} has {size} cases, but a result of a later one")
    if len(chunks) == 1:
        yield chunks[0], None
        return
    seen = np.zeros(size, bool)
    for chunk in chunks:
        new = ~seen[chunk.offsets]
        seen[chunk.offsets] = True
        if new.all():
            yield chunk, None
        elif new.any():
            yield chunk, np.flatnonzero(new)


def results_by_case(
    sown: Sown, batch: int, records: Records, results: Callable[[Chunk], list[Any]]
) -> Iterator[tuple[int, Any]]:
    """(Number of the case in the crop, result), of one batch."""
    local = batch - sown.first_batch + 1
    flat = sown.batches.cases_of(local)
    for chunk, rows in fresh(records, len(flat), batch):
        numbers = (flat[chunk.offsets] + sown.first_case).tolist()
        values = results(chunk)
        for row in range(len(values)) if rows is None else rows.tolist():
            yield numbers[row], values[row]


def _last(chunk: Chunk) -> int:
    return int(chunk.offsets[-1] if chunk.in_order else chunk.offsets.max())


def _is_run(numbers: NDArray[Any]) -> bool:
    """Whether each is the one before and 1."""
    spans = int(numbers[-1]) - int(numbers[0]) == len(numbers) - 1
    return spans and (len(numbers) < 3 or bool((numbers[1:] > numbers[:-1]).all()))


def _nbytes(records: Records) -> int:
    """What a batch holds in memory: columns, the seconds beside them, and the objects around."""
    held = BESIDE
    for chunk in records.chunks:
        held += chunk.seconds.nbytes
        held += sum([column.data.nbytes for column in chunk.columns.values()])
    return held
