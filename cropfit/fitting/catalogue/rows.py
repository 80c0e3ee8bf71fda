"""One object's fit as text, and back: the row of the catalogue, and its posterior draws."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cropfit.fitting.result import Fit

Row = dict[str, Any]

LEVELS = {"16": "lower", "50": "median", "84": "upper", "best": "best_fit"}
ENDINGS = (*(f"_{level}" for level in LEVELS), "_sample", "_fixed")
NUMBERS = {
    "log_evidence": "log_evidence",
    "log_evidence_err": "log_evidence_error",
    "max_log_likelihood": "max_log_likelihood",
    "ess": "ess",
    "calls": "calls",
    "seconds": "seconds",
    "converged": "converged",
}
TEXT = ("status", "error", "notes")

DONE, FAILED, FITTING, WAITING, IGNORED = "done", "failed", "fitting", "waiting", "ignored"


def to_row(key: str | int, found: Fit, columns: Mapping[str, Any], notes: Sequence[str]) -> Row:
    """Numbers of a fit, without samples; settings are the catalogue's, and not told in each row."""
    numbers = {name: value for name, value in found.to_dict().items() if name != "settings"}
    return {"id": key, **numbers, "analysis": dict(columns), "notes": list(notes)}


def to_text(row: Row) -> str:
    """A row as one line; numbers come back exactly, NaN included."""
    return json.dumps(row, separators=(",", ":"))


def from_text(text: str) -> Row:
    """The row that `to_text` wrote."""
    return dict(json.loads(text))


def pack_draws(found: Fit, number: int) -> str:
    """Equally weighted draws of all parameters and derived quantities as text."""
    if number < 1 or not len(found):
        return ""
    rows = found.draws(number)
    names = (*found.names, *found.derived)
    draws = np.stack([found[name][rows] for name in names], axis=1)
    return base64.b64encode(np.ascontiguousarray(draws, "<f8").tobytes()).decode()
