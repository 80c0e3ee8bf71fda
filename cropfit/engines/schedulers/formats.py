"""Times, sizes and numbers as schedulers and the shell write them: filters of the templates."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any


def hms(seconds: float) -> str:
    """``H:MM:SS``, with as many hours as it takes: 129600 is ``36:00:00``."""
    whole = round(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def days(seconds: float) -> str:
    """``D-HH:MM:SS``, or ``HH:MM:SS`` within a day: 129600 is ``1-12:00:00``."""
    whole = round(seconds)
    rest = hms(whole % 86400)
    return f"{whole // 86400}-{rest}" if whole >= 86400 else rest


def hours_minutes(seconds: float) -> str:
    """``H:MM``, rounded up to whole minutes: 5401 is ``1:31``."""
    minutes = -(-round(seconds) // 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def mib(size: float) -> int:
    """Bytes in MiB, rounded up."""
    return -(-int(size) // 2**20)


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers, which must ascend."""
    first = last = None
    for number in numbers:
        if last is not None and first is not None and number != last + 1:
            yield first, last
            first = number
        first, last = (number if first is None else first), number
    if first is not None and last is not None:
        yield first, last


def ranges(numbers: Iterable[int]) -> str:
    """``1-3,7``, as schedulers write the indices of an array."""
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs(numbers))


def expand(text: str) -> list[int]:
    """Numbers from what `ranges` wrote."""
    numbers: list[int] = []
    for run in filter(None, text.split(",")):
        first, _, last = run.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def braces(numbers: Iterable[int]) -> str:
    """``{1..3} 7``, as bash writes a list of words."""
    return " ".join(str(a) if a == b else f"{{{a}..{b}}}" for a, b in runs(numbers))


def words(command: Sequence[str]) -> str:
    """The words of a command, each quoted for the shell."""
    return " ".join(map(shlex.quote, command))


FILTERS: dict[str, Callable[..., Any]] = {
    "hms": hms,
    "days": days,
    "hours_minutes": hours_minutes,
    "mib": mib,
    "ranges": ranges,
    "braces": braces,
    "words": words,
    "quote": shlex.quote,
}
