"""Failures are data: what went wrong, in which case, with which arguments, where.

A record is a plain dict, written as one JSON line:

    case         number of the case in the crop, from 0
    batch        number of its batch;  offset  its place in the batch, from 0
    arguments    name → label
    type, message, traceback   of the exception, all text
    attempt      1 for the first try
    seconds      until it failed;  time  when, in seconds since the epoch
    host, pid, job   who tried
    final        False for a try that was or will be repeated
"""

from __future__ import annotations

import traceback
from time import time
from types import TracebackType
from typing import Any

from cropfit.wording import number_of

Failure = dict[str, Any]

LONGEST_MESSAGE = 10_000  # characters that are kept
LONGEST_TRACEBACK = 30_000
MOST_SHOWN = 100  # of a list; all are in it


class Failures(list[Failure]):
    """Failed cases, shown as a table of one line each; tracebacks are in the records."""

    def __repr__(self) -> str:
        lines = [f"{tell(each)}  [{_circumstances(each)}]" for each in self[:MOST_SHOWN]]
        return "\n".join([number_of(len(self), "failed case"), *lines, *self._hidden()])

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<details><summary><code>{escape(tell(each))}</code> "
            f"<small>{escape(_circumstances(each))}</small></summary>"
            f"<pre style='font-size:11px;overflow-x:auto'>{escape(each['traceback'])}</pre>"
            "</details>"
            for each in self[:MOST_SHOWN]
        )
        return f"<div>{number_of(len(self), 'failed case')}{rows}{''.join(self._hidden())}</div>"

    def _hidden(self) -> list[str]:
        more = len(self) - MOST_SHOWN
        return [f"... {more:,} more in this list"] if more > 0 else []


def _circumstances(failure: Failure) -> str:
    return f"attempt {failure['attempt']}, {failure['host']}"


def describe(error: BaseException) -> Failure:
    """Type, message and traceback of `error`, without this package's own frames."""
    first: TracebackType | None = error.__traceback__
    while first and first.tb_next and "/cropfit/work/" in first.tb_frame.f_code.co_filename:
        first = first.tb_next
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    try:
        message = str(error)
    except Exception as broken:  # an exception whose __str__ raises
        message = f"(its message cannot be shown: {type(broken).__name__})"
    try:
        text = "".join(traceback.format_exception(kind, error, first))
    except Exception:
        text = f"{kind.__name__}: {message}\n"
    return {
        "type": f"{module}{kind.__qualname__}",
        "message": _shortened(message, LONGEST_MESSAGE),
        "traceback": _shortened(text, LONGEST_TRACEBACK),
    }


def _shortened(text: str, most: int) -> str:
    """Head and tail of a text that holds a whole array, or a recursion."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"


def died(message: str, kind: str = "WorkerDied") -> Failure:
    """The end of a worker that could not say anything itself."""
    return {"type": kind, "message": message, "traceback": f"{kind}: {message}\n", "time": time()}


def tell(failure: Failure) -> str:
    """One line: which case, with what, and what went wrong."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in failure["arguments"].items())
    first = failure["message"].partition("\n")[0]
    return (
        f"batch {failure['batch']} case {failure['offset']} ({arguments}) "
        f"{failure['type']}: {first}"
    )
