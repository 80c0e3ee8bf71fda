"""Results that a function may change after it returned them.

A function that fills one buffer and returns it each time returns one array for
all cases. Results wait up to a millisecond to be written, so what can change is
copied as it is now, or written at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CHEAP = 1 << 16  # bytes up to which a copy costs less than a write

CONSTANT = frozenset(
    (
        float,
        int,
        bool,
        complex,
        str,
        bytes,
        type(None),
        *tuple(
            np.dtype(code).type for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"]
        ),
        np.bool_,
        np.str_,
        np.bytes_,
        np.datetime64,
        np.timedelta64,
    )
)
"""Types whose values cannot change."""


def snapshot(result: Any) -> Any:
    """`result` as it is now, safe from later changes; None if it should be written at once."""
    kind = type(result)
    if kind in CONSTANT:
        return result
    if kind is np.ndarray:
        return result.copy() if result.nbytes <= CHEAP and not result.dtype.hasobject else None
    if kind is tuple or kind is list:
        if CONSTANT.issuperset(map(type, result)):
            return result if kind is tuple else result.copy()
        items = [snapshot(item) for item in result]
        safe = all(
            copy is not None or item is None for copy, item in zip(items, result, strict=True)
        )
        return kind(items) if safe else None
    if kind is dict:
        values = snapshot(list(result.values()))
        return None if values is None else dict(zip(result, values, strict=True))
    return None
