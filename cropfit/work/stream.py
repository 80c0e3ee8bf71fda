"""A crop's results straight into a file or store, in bounded memory however large they are.

    small variables                   an array in memory, written last
    cases in order, or large arrays   written where they belong, batch by batch
    small values in scattered order   through a nameless file (`cropfit.work.scatter`)

What is written is summed up (CRC-32) run by run on the way, and the file is
read back and held against the sums before it takes its place. The file is the
same as the one that `cropfit.disk.netcdf.save_dataset` makes of the Dataset.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.batching import Sown
from cropfit.disk.encoding import DTYPE, Stored
from cropfit.disk.ncwriter import Skeleton, Writer, boxes
from cropfit.disk.netcdf import remove_draft, replacing
from cropfit.disk.zarrstore import PIECE, StoreWriter
from cropfit.errors import DamagedError
from cropfit.outputs import Outputs
from cropfit.work.assemble import WIDEST
from cropfit.work.fill import Cells, Harvest, Read
from cropfit.work.scatter import Scatter
from cropfit.work.target import Layout, plan_layout
from cropfit.work.variables import Plan, Variable

__all__ = ["stream"]

SLAB = 4 << 20
"""Bytes that are written, or read back, at a time."""
KEEP = 2 << 20
IN_MEMORY = 12 << 20
"""Bytes of all variables that wait in memory."""
LARGE = 64 << 10
"""Bytes of a case's value from which on it is written by itself."""


def stream(
    sowings: Sequence[Sown],
    outputs: Outputs,
    read: Read,
    path: str | os.PathLike[str],
    *,
    batches: Sequence[int],
    layout: Layout = "auto",
    fill_value: Any = None,
    diagnostics: bool = False,
    ignored: Collection[int] = (),
    overwrite: bool = False,
) -> None:
    """Put the results of a crop into a file or store without holding them in memory.

    Parameters
    ----------
    path
        Where to; see `cropfit.disk.netcdf.save_dataset`.
    sowings, outputs, read, batches, layout, fill_value, diagnostics, ignored
        See `cropfit.work.assemble.assemble`.
    overwrite
        Whether a file of that name may be replaced.

    Raises
    ------
    ResultError, DesignError
        As `assemble`; or netCDF cannot hold the results.
    ExistsError, DamagedError, OSError
        As `save_dataset`: `path` is as it was.

    Notes
    -----
    Takes at most 64 MiB and two batches, whatever the size of the result. Only strings in
    scattered order (shuffled, or dealt by cost; and into Zarr in any) are held in memory until
    the end. Into Zarr, values smaller than a piece of the store go through scratch, so that no
    piece is written again and again.
    """
    make = StoreWriter if os.fspath(path).endswith(".zarr") else Writer
    target = plan_layout(sowings, layout)
    harvest = Harvest(
        sowings,
        outputs,
        read,
        batches=batches,
        target=target,
        fill_value=fill_value,
        diagnostics=diagnostics,
        ignored=ignored,
        keep=KEEP,
    )
    in_order = _is_in_order(harvest)
    with replacing(path, overwrite=overwrite) as draft:
        sinks: list[_File] = []

        def open_sink(plan: Plan) -> _File:
            for former in sinks:
                former.writer.abandon()
                remove_draft(draft)
            sinks[:] = [_File(plan, draft, make, in_order=in_order, sowings=len(sowings))]
            return sinks[0]

        try:
            harvest.run(open_sink)
            sinks[0].finish()
        finally:
            for sink in sinks:
                sink.writer.abandon()
        sinks[0].verify(draft)


def _is_in_order(harvest: Harvest) -> bool | None:
    """Whether each batch fills a run of cells; None if two cases may fall into one cell."""
    target = harvest.target
    if sum(sown.grid.size for sown in harvest.sowings) > target.filled:
        return None
    return all(
        sown.batches.order is None and target.shift(number) is not None
        for number, sown in enumerate(harvest.sowings)
    )


class _File:
    """A sink that is a file."""

    def __init__(
        self,
        plan: Plan,
        draft: str,
        make: type[Writer] | type[StoreWriter],
        *,
        in_order: bool | None,
        sowings: int,
    ) -> None:
        self._plan = plan
        self.skeleton = _skeleton(plan)
        self.writer = make(draft, self.skeleton)
        self._in_pieces = make is StoreWriter
        self._in_order = in_order
        # zarr holds several copies of its pieces
        self._slab = SLAB // 2 if self._in_pieces else SLAB
        self._sums: dict[str, _Sums] = {name: _Sums() for name in self.skeleton.variables}
        self._widest: dict[str, int] = {}
        self._held: dict[str, NDArray[Any]] = {}
        self._scattered: dict[str, Scatter] = {}
        room = IN_MEMORY
        for variable in sorted(plan.variables.values(), key=self._nbytes):
            nbytes = self._nbytes(variable)
            direct = self._is_direct(variable)
            if (not direct and variable.dtype.kind == "O") or nbytes <= room:
                room -= nbytes
                shape = (plan.target.size, *variable.shape)
                self._held[variable.name] = np.full(shape, variable.missing, variable.dtype)
            elif not direct:
                self._scattered[variable.name] = Scatter(
                    plan.target.size,
                    variable.shape,
                    variable.dtype,
                    variable.missing,
                    os.path.dirname(draft),
                    most=sowings,
                )

    def _is_direct(self, variable: Variable) -> bool:
        """Whether values can be written where they belong as they come."""
        if self._in_order is None:
            return False
        if self._in_order and not self._in_pieces:
            return True
        row = math.prod(variable.shape) * variable.dtype.itemsize
        large = row > PIECE // 2 if self._in_pieces else row >= LARGE  # a piece has but one
        return large and variable.dtype.kind != "O"

    def _nbytes(self, variable: Variable) -> int:
        each = 64 if variable.dtype.kind == "O" else variable.dtype.itemsize
        return self._plan.target.size * math.prod(variable.shape) * each

    def put(self, variable: Variable, cells: Cells, values: NDArray[Any]) -> None:
        """Put values where they belong: into memory, scratch or file."""
        name = variable.name
        if name in self._held:
            self._held[name][cells] = values
        elif name in self._scattered:
            self._scattered[name].put(_numbers(cells), values)
        elif isinstance(cells, slice):
            self._write(name, cells.start, values)
        else:
            cuts = np.flatnonzero(np.diff(cells) != 1) + 1
            for run, part in zip(np.split(cells, cuts), np.split(values, cuts), strict=True):
                self._write(name, int(run[0]), part)

    def finish(self) -> None:
        """Write all that is left, and close."""
        for name, labelled in self._plan.coords.items():
            self._write_flat(name, 0, labelled.labels)
        for name, variable in self._plan.variables.items():
            if name in self._held:
                self._write(name, 0, self._held.pop(name))
            elif name in self._scattered:
                for start, part in self._scattered.pop(name).parts():
                    self._write(name, start, part)
            else:
                for start, part in self._gaps(variable):
                    self._write(name, start, part)
        for name, width in self._widest.items():
            self._narrow(name, width)
        self.writer.close()

    def verify(self, draft: str) -> None:
        """Read everything back and hold it against the sums.

        Raises
        ------
        DamagedError
            Something is not as it was written.
        """
        with self.writer.reread(self.skeleton) as read:
            for name, stored in self.skeleton.variables.items():
                for start, stop, meant in self._sums[name].runs():
                    found = 0
                    for box, _ in boxes(
                        _memory_shape(stored), start, stop, _elements(stored, self._slab)
                    ):
                        found = _sum(read(name, box), found)
                    if found != meant:
                        raise DamagedError(
                            f"{draft}: {name!r} reads back with other values than were written. "
                            "Nothing was replaced or deleted; is the disk sound?"
                        )

    def _write(self, name: str, cell: int, values: NDArray[Any]) -> None:
        inner = math.prod(self._plan.variables[name].shape)
        self._write_flat(name, cell * inner, values)

    def _write_flat(self, name: str, start: int, values: NDArray[Any]) -> None:
        """Write values in C order from an element on."""
        stored = self.skeleton.variables[name]
        flat = values.reshape(-1)
        at = 0
        shape = _memory_shape(stored)
        for box, size in boxes(shape, start, start + flat.size, _elements(stored, self._slab)):
            part = flat[at : at + size]
            if stored.is_text:
                self._widest[name] = max(self._widest.get(name, 0), _width(part))
            shaped = part.reshape([s.stop - s.start for s in box])
            raw = self.writer.write(name, box, shaped)
            self._sums[name].add(start + at, start + at + size, raw)
            at += size

    def _gaps(self, variable: Variable) -> Iterator[tuple[int, NDArray[Any]]]:
        """What is missing: first cell and values, in pieces."""
        inner = math.prod(variable.shape)
        most = max(SLAB // max(inner * max(variable.dtype.itemsize, 8), 1), 1)
        done = 0
        size = self._plan.target.size
        for start, stop in [*self._sums[variable.name].covered(inner), (size, size)]:
            while done < start:
                count = min(start - done, most)
                shape = (count, *variable.shape)
                yield done, np.full(shape, variable.missing, variable.dtype)
                done += count
            done = max(done, stop)

    def _narrow(self, name: str, width: int) -> None:
        """Tell the width of text, which is known only now."""
        variable = self._plan.variables.get(name)
        if variable is None or not variable.is_text or width > WIDEST:
            return
        stored = self.skeleton.variables[name]
        dtype = np.dtype(f"U{max(width, 1)}")
        self.writer.mark(name, DTYPE, dtype.str)
        marked = replace(stored, attrs={**stored.attrs, DTYPE: dtype.str})
        self.skeleton = replace(self.skeleton, variables={**self.skeleton.variables, name: marked})


class _Sums:
    """Checksums of runs of elements; runs that follow each other are one."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int, int]] = []

    def add(self, start: int, stop: int, raw: NDArray[Any]) -> None:
        if self._runs and self._runs[-1][1] == start:
            first, _, former = self._runs.pop()
            self._runs.append((first, stop, _sum(raw, former)))
        else:
            self._runs.append((start, stop, _sum(raw, 0)))

    def runs(self) -> list[tuple[int, int, int]]:
        return self._runs

    def covered(self, inner: int) -> list[tuple[int, int]]:
        """First and last + 1 of the cells of each run, in order."""
        if inner == 0:
            return []
        return sorted((start // inner, stop // inner) for start, stop, _ in self._runs)


def _skeleton(plan: Plan) -> Skeleton:
    target = plan.target
    variables: dict[str, Any] = {
        name: (each.dims, each.labels.shape, each.labels.dtype, each.attrs)
        for name, each in plan.coords.items()
    }
    for name, variable in plan.variables.items():
        variables[name] = (
            (*target.dims, *variable.inner),
            (*target.shape, *variable.shape),
            variable.dtype,
            variable.attrs,
        )
    coords = [*plan.coords, *(n for n, v in plan.variables.items() if v.is_coord)]
    return Skeleton.of(variables, coords, plan.attrs)


def _numbers(cells: Cells) -> NDArray[np.intp]:
    return np.arange(cells.start, cells.stop) if isinstance(cells, slice) else cells


def _memory_shape(stored: Stored) -> tuple[int, ...]:
    return stored.shape[: len(stored.shape) - (stored.memory.kind in "cS")]


def _elements(stored: Stored, slab: int) -> int:
    """How many elements are written at a time."""
    return max(slab // (64 if stored.is_text else stored.itemsize), 1)


def _width(text: NDArray[Any]) -> int:
    """The longest; more than any array's width if an array would change one."""
    values = [each for each in text.tolist() if isinstance(each, str)]
    lost = any(each.endswith("\0") for each in values)
    return WIDEST + 1 if lost else max(map(len, values), default=0)


def _sum(raw: NDArray[Any], former: int) -> int:
    """CRC-32 of raw values, going on from a former sum."""
    if raw.dtype.kind == "O":
        return zlib.crc32(
            "".join(f"{text}\0" for text in raw.reshape(-1).tolist()).encode(), former
        )
    return zlib.crc32(np.ascontiguousarray(raw).reshape(-1).view(np.uint8).data, former)
