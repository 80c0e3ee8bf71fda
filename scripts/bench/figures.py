"""From rounds to figures: medians, ratios to the bare limit, margins of the marks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from contest import Mark, Round, Row, told

Figures = dict[str, Any]


def summarize(row: Row, rounds: Sequence[Round]) -> list[Figures]:
    """One line a lap, as told in the JSON: see `line`."""
    laps: dict[str, None] = {}
    for found in rounds:
        for run in found.values():
            laps |= dict.fromkeys(run.get("laps", ()))
    return [line(row, lap, rounds) for lap in laps]


def line(row: Row, lap: str, rounds: Sequence[Round]) -> Figures:
    """Medians of all contenders in one lap, and how they meet its marks."""
    return {
        "lap": lap,
        "contenders": {who: figures(who, lap, rounds) for who in rounds[0]},
        "marks": [judged(mark, row, rounds) for mark in row.marks if mark.lap == lap],
    }


def figures(who: str, lap: str, rounds: Sequence[Round]) -> Figures:
    """Of one contender: medians, seconds and MiB of every round, the ratio to the bare limit."""
    runs = [found[who] for found in rounds]
    errors = [run["error"] for run in runs if "error" in run]
    if errors:
        return {"error": errors[0]}
    if not all(lap in run["laps"] for run in runs):
        return {}
    all_seconds = [told(found, who, lap) for found in rounds]
    memory = [run["laps"][lap]["mib"] for run in runs]
    return {
        "seconds": statistics.median(all_seconds),
        "cpu": _median([run["laps"][lap]["cpu"] for run in runs]),
        "mib": None if None in memory else statistics.median(memory),
        "ratio": _median([ratio(found, who, lap) for found in rounds]),
        "all_seconds": all_seconds,
        "all_mib": memory,
        "notes": runs[-1]["notes"],
    }


def ratio(found: Round, who: str, lap: str) -> float | None:
    try:
        return told(found, who, lap) / told(found, "bare", lap)
    except (KeyError, ZeroDivisionError):
        return None


def judged(mark: Mark, row: Row, rounds: Sequence[Round]) -> Figures:
    """The median margin, each round against itself, so that a busy machine slows both."""
    margins = []
    for found in rounds:
        try:
            margins.append(mark.margin(found, row))
        except (KeyError, ZeroDivisionError):
            margins.append(None)
    margin = _median(margins)
    met = None if margin is None else margin <= 1.0
    finite = margin is None or math.isfinite(margin)
    return {"text": mark.text, "of": mark.of, "margin": margin if finite else None, "met": met}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
