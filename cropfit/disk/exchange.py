"""Two folders change places in one step, where the system can do that."""

from __future__ import annotations

import ctypes
import os

__all__ = ["exchange"]

_HERE = -100  # paths are told from the current folder
_EXCHANGE = 2


def exchange(one: str, other: str) -> bool:
    """Let two paths change places, so that neither is ever missing.

    Returns
    -------
    bool
        False where the system or the file system knows no such thing; nothing was done.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)
