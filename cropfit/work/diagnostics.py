"""What became of each case, as variables of the Dataset beside the results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import ResultError
from cropfit.work.variables import Variable

if TYPE_CHECKING:
    from cropfit.disk.records import Records

__all__ = ["DONE", "FAILED", "IGNORED", "MISSING", "diagnose", "diagnostic_variables"]

DONE, FAILED, MISSING, IGNORED = range(4)

_STATUS = {
    "long_name": "what became of the case",
    "flag_values": np.array([DONE, FAILED, MISSING, IGNORED], np.int8),
    "flag_meanings": "done failed missing ignored",
}
_SECONDS = {"long_name": "time that the case took", "units": "s"}
_HOST = {"long_name": "where the case was grown"}
_ATTEMPT = {"long_name": "attempts that were made; 0 for none", "units": "1"}


def diagnostic_variables(taken: Collection[str]) -> dict[str, Variable]:
    """``case_status``, ``case_seconds``, ``case_host`` and ``case_attempt``.

    Raises
    ------
    ResultError
        The function's results have one of these names.
    """
    described: tuple[tuple[str, Any, Mapping[str, Any]], ...] = (
        ("case_status", np.int8(MISSING), _STATUS),
        ("case_seconds", np.nan, _SECONDS),
        ("case_host", "", _HOST),
        ("case_attempt", np.int32(0), _ATTEMPT),
    )
    made = {}
    for name, missing, attrs in described:
        if name in taken:
            raise ResultError(f"a result is called {name!r}; reap with diagnostics=False")
        is_text = isinstance(missing, str)
        dtype = np.dtype(object if is_text else type(missing))
        made[name] = Variable(name, (), (), dtype, missing, True, attrs, is_text)
    return made


def diagnose(records: Records, size: int) -> dict[str, NDArray[Any]]:
    """Status, seconds, host and attempts of each of the `size` cases of a batch."""
    status = np.full(size, MISSING, np.int8)
    seconds = np.full(size, np.nan)
    host = np.full(size, "", object)
    attempt = np.zeros(size, np.int32)
    for error in records.errors:
        offset = error["offset"]
        attempt[offset] = max(attempt[offset], error.get("attempt", 1))
        if error.get("final", True):
            status[offset] = FAILED
            seconds[offset] = error.get("seconds", np.nan)
            host[offset] = error.get("host") or records.header.get("host", "")
    for chunk in records.chunks:
        status[chunk.offsets] = DONE
        seconds[chunk.offsets] = chunk.seconds
        host[chunk.offsets] = records.header.get("host", "")
    attempt[status == DONE] += 1
    return {
        "case_status": status,
        "case_seconds": seconds,
        "case_host": host,
        "case_attempt": attempt,
    }
