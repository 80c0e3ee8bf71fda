"""How cost grows with size: the exponent of a power law through the larger sizes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from contest import Round, told
from figures import Figures
from rows import ROWS
from turns import Ground, Match

LINEAR = 1.15  # noise of single runs over two decades included
SPAN = 100  # the fit is over sizes down to the largest divided by this: beyond are fixed costs
LARGE = 100_000  # what is larger takes long, and is run once
WHO = ["bare", "cropfit"]


def measure(
    ground: Ground, name: str, most: int, rounds: int, say: Callable[[str], None]
) -> Figures:
    """Every size of a row up to `most`."""
    row = ROWS[name]
    sizes = [size for size in row.grows if next(iter(size.values())) <= most]
    by_size = [next(iter(size.values())) for size in sizes]
    runs = []
    for size, number in zip(sizes, by_size, strict=True):
        say(f"{name}, size {number}")
        match = Match(ground, name, size, WHO)
        found = match.play(1 if number > LARGE else rounds, lambda _: None)
        if match.broken:
            break  # larger ones would fail as well; those before are told
        runs.append(found)
    by_size = by_size[: len(runs)]
    kind = next(iter(sizes[0]))
    title = row.title.format(
        **{key: "n" if key == kind else value for key, value in sizes[-1].items()}
    )
    laps = list(runs[-1][0]["cropfit"]["laps"]) if len(runs) > 1 else []
    return {
        "title": title,
        "by": kind,
        "sizes": by_size,
        "failed": match.broken,
        "lines": [line(lap, by_size, runs) for lap in laps],
    }


def line(lap: str, sizes: Sequence[int], runs: Sequence[Sequence[Round]]) -> Figures:
    found: dict[str, Any] = {"lap": lap}
    for who in WHO:
        took = [statistics.median(told(one, who, lap) for one in rounds) for rounds in runs]
        found[who] = {"seconds": took, "exponent": exponent(sizes, took)}
    found["above_linear"] = found["cropfit"]["exponent"] > LINEAR
    return found


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Least squares of the logarithms, over the larger sizes."""
    points = [
        (math.log(size), math.log(took))
        for size, took in zip(sizes, seconds, strict=True)
        if size * SPAN >= sizes[-1]
    ]
    slope, _ = statistics.linear_regression(*zip(*points, strict=True))
    return slope
