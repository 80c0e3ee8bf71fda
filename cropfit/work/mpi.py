"""Functions that compute with MPI: all ranks call them together, rank 0 keeps the books.

    rank 0   claim ─▶ tell the case ─▶ call ─▶ gather errors ─▶ record ─▶ finish
    rank n              hear it    ─▶ call ─▶ gather errors ─▶ hear the next

The other ranks never touch the crop's batches. A function that does not use MPI
needs none of this: then each rank is a worker of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cropfit.disk.manifest import Manifest
from cropfit.errors import MissingDependencyError
from cropfit.work import context
from cropfit.work.failures import describe
from cropfit.work.loading import Call, load_call

Spread = Callable[[Call, context.Case], Call]


def uses_mpi(manifest: Manifest) -> bool:
    """Whether the crop's function imports mpi4py, or this process did already."""
    if "mpi4py" in sys.modules:
        return True
    with open(manifest.layout.function, "rb") as file:
        return b"mpi4py" in file.read()


class MPIError(RuntimeError):
    """The function raised on another rank than 0."""


class Ranks:
    """The processes that grow one crop together.

    Raises
    ------
    MissingDependencyError
        mpi4py is not installed.
    """

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise MissingDependencyError(
                "Growing with MPI needs mpi4py: pip install 'cropfit[mpi]'."
            ) from error
        self._comm = MPI.COMM_WORLD.Dup()  # our messages never meet the function's
        self.rank = int(self._comm.Get_rank())

    @contextmanager
    def led(self) -> Iterator[Spread]:
        """For rank 0: what spreads a call over all ranks; in the end the others are dismissed."""
        try:
            yield self._spread
        finally:
            self._comm.bcast(None)

    def _spread(self, call: Call, case: context.Case) -> Call:
        def together(**row: Any) -> Any:
            self._comm.bcast((case.index, case.batch, case.attempt, row))
            return self._call(call, row)

        return together

    def abort(self, code: int) -> None:
        """End all ranks at once: some may be in the middle of the function."""
        self._comm.Abort(code)

    def follow(self, manifest: Manifest) -> None:
        """Compute what rank 0 tells until it dismisses us."""
        case = context.Case(int(manifest.data["seed"]))
        call = load_call(manifest)
        with context.entered(case):
            while (told := self._comm.bcast(None)) is not None:
                case.index, case.batch, case.attempt, row = told
                with suppress(Exception, context.Unfinished):
                    self._call(call, row)  # what it raises, rank 0 has heard and recorded

    def _call(self, call: Callable[..., Any], row: dict[str, Any]) -> Any:
        error: BaseException | None = None
        result = None
        try:
            result = call(**row)
        except (Exception, context.Unfinished) as raised:
            error = raised
        told = None if error is None else describe(error)["traceback"]
        texts = self._comm.allgather(told)
        if error is not None:
            raise error
        for rank, text in enumerate(texts):
            if text is not None:
                raise MPIError(f"the function raised on rank {rank}:\n{text}")
        return result
