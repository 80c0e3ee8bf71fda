"""Numbers of things in messages."""

from __future__ import annotations


def number_of(number: int, thing: str) -> str:
    """``1 batch``, ``2 failed cases``, ``1,000 batches of dead workers``."""
    noun, of, rest = thing.partition(" of ")
    if number != 1:
        noun += "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{number:,} {noun}{of}{rest}"


def extent(cases: int, batches: int) -> str:
    """``6 cases in 3 batches``."""
    return f"{number_of(cases, 'case')} in {number_of(batches, 'batch')}"
