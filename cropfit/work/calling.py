"""Calls by name that cost no more than those that a program writes out.

A dict for each row, and ``function(**row)``, which makes another of it and takes that apart,
cost three times as much as ``function(a=row[0], b=row[1])``: half of the loop on trivial cases.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

Row = tuple[Any, ...]


def by_name(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[[Row], Any]:
    """Make what calls `function` with the values of a row, each by its name.

    Parameters
    ----------
    function : callable
        Takes arguments of these names.
    names : tuple of str
        One for each value of a row.
    """
    bind = _written_out(names)
    return bind(function) if bind else lambda row: function(**dict(zip(names, row, strict=True)))


@lru_cache(maxsize=16)
def _written_out(names: tuple[str, ...]) -> Callable[..., Callable[[Row], Any]] | None:
    """What turns a function into that; None if the names cannot be written in a program."""
    if not all(name.isidentifier() and name.isascii() for name in names):
        return None  # of others, Python takes some for one and the same
    given = ", ".join(f"{name}=row[{at}]" for at, name in enumerate(names))
    source = f"lambda function: lambda row: function({given})"
    try:
        bind: Callable[..., Any] = eval(compile(source, f"<{__file__}>", "eval"))
    except SyntaxError:  # such as "class"
        return None
    return bind
