"""Computing here and now, without a folder: the records of a crop, kept in memory.

    request ──▶ call, case by case ──encode, decode──▶ records ──assemble──▶ Dataset

Results take the same way as through a crop's files, so that names, types and
shapes are the same; only nothing is left when the process ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from time import time
from typing import TYPE_CHECKING, Any, Literal

from cropfit._version import __version__
from cropfit.batching import Sown
from cropfit.disk.codec import decode_results, encode_results
from cropfit.disk.expect import expected_of
from cropfit.disk.functions import name_of
from cropfit.disk.records import Records
from cropfit.errors import CaseError
from cropfit.outputs import Outputs
from cropfit.work.assemble import assemble, collect, nested
from cropfit.work.context import Case, entered
from cropfit.work.failures import Failure, Failures, describe
from cropfit.work.request import Request
from cropfit.work.snapshot import CONSTANT, snapshot
from cropfit.work.target import Layout

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Direct", "OnError"]

OnError = Literal["record", "raise"]
AT_ONCE = 1000  # results that wait to be encoded together


class Direct:
    """All cases of a request, computed in this process.

    Parameters
    ----------
    request : Request
        What to compute; checked as if it were sown.
    on_error : {"record", "raise"}
        Whether to go on after a case that raises.
    progress : callable, optional
        Told how many cases are done.

    Attributes
    ----------
    failures : list of dict
        What went wrong in which case, with which arguments.
    """

    def __init__(
        self,
        request: Request,
        on_error: OnError = "raise",
        progress: Callable[[int], object] | None = None,
    ) -> None:
        request.check()
        self.request = request
        self.failures = Failures()
        self.seed = int.from_bytes(os.urandom(6), "big") if request.seed is None else request.seed
        batches = replace(request, batchsize=None, num_batches=1).plan(self.seed)
        self._sown = Sown(request.grid, batches, 0, 1)
        self._expected = expected_of(request.outputs.with_constants(request.constants))
        self._on_error = on_error
        self._progress = progress
        self._records = Records()
        self._offsets: list[int] = []
        self._results: list[Any] = []

    def compute(self) -> None:
        """Call the function for every case.

        Raises
        ------
        CaseError
            A case raised, and `on_error` is "raise"; caused by what it raised.
        """
        flat = self._sown.batches.cases_of(1)
        call = self.request.function
        given = {**self.request.resources, **self.request.constants}
        case, progress = Case(self.seed), self._progress
        cases = zip(flat.tolist(), self.request.grid.rows(flat), strict=True)
        with entered(case):
            for offset, (case.index, row) in enumerate(cases):
                try:
                    result = call(**given, **row)
                except Exception as error:
                    self._settle(error, offset)
                    continue
                self._keep(offset, result)
                if progress is not None:
                    progress(offset + 1)
        self._flush()

    def _keep(self, offset: int, result: Any) -> None:
        """Let a result wait, unless the function could change it meanwhile."""
        frozen = result if type(result) in CONSTANT else snapshot(result)
        changeable = frozen is None and result is not None
        self._offsets.append(offset)
        self._results.append(result if changeable else frozen)
        if changeable or len(self._offsets) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        offsets, results = self._offsets, self._results
        self._offsets, self._results = [], []
        if not offsets:
            return
        names = self.request.outputs.var_names
        payloads, refused = encode_results(
            offsets, [0.0] * len(offsets), results, names, self._expected
        )
        self._records.chunks += [decode_results(b"".join(parts)) for parts in payloads]
        for offset, error in sorted(refused, key=itemgetter(0)):
            self._settle(error, offset)

    def _settle(self, error: Exception, offset: int) -> None:
        """Record a failure, or end with it."""
        index = int(self._sown.batches.cases_of(1)[offset])
        arguments = self.request.grid.labels_of(index)
        if self._on_error == "raise":
            shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            raise CaseError(
                f"{name_of(self.request.function)}({shown}) raised {type(error).__name__}: {error}"
            ) from error
        self.failures.append(_failure(index, offset, arguments, error))

    # -- results -------------------------------------------------------------------

    def dataset(self, layout: Layout = "auto", fill_value: Any = None) -> xr.Dataset:
        """The results as a labelled Dataset; failed cases are missing values."""
        return assemble(
            [self._sown],
            self._outputs(),
            lambda batch: self._records,
            batches=[1],
            layout=layout,
            fill_value=fill_value,
        )

    def results(self, *, nest: bool = False) -> Any:
        """The results as they were returned: a list in case order, or nested tuples."""
        gather: Callable[..., Any] = nested if nest else collect
        return gather([self._sown], lambda batch: self._records, [1])

    def is_list(self) -> bool:
        """Whether results have no names for a Dataset."""
        if self.request.outputs.var_names is not None:
            return False
        return any(chunk.schema.kind == "value" for chunk in self._records.chunks)

    def _outputs(self) -> Outputs:
        outputs = self.request.outputs.with_constants(self.request.constants)
        told = {
            "cropfit_version": __version__,
            "cropfit_function": name_of(self.request.function),
            "cropfit_seed": self.seed,
        }
        return replace(outputs, attrs={**outputs.attrs, **told})


def _failure(index: int, offset: int, arguments: dict[str, Any], error: Exception) -> Failure:
    return {
        "case": index,
        "batch": 1,
        "offset": offset,
        "arguments": arguments,
        "seconds": 0.0,
        "time": time(),
        "attempt": 1,
        "final": True,
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "job": None,
        **describe(error),
    }
