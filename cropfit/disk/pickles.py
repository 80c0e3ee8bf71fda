"""Pickles that any process can read, not only one that runs the same script or notebook."""

from __future__ import annotations

import pickle
from typing import Any


def dumps(value: Any) -> bytes:
    """Pickle `value`; what a script or notebook defined itself goes by value.

    Raises
    ------
    Exception
        Whatever the value raises when it is pickled.
    """
    try:
        data = pickle.dumps(value, protocol=5)
        if b"__main__" not in data:
            return data
    except Exception:
        pass  # cloudpickle can do more, and its error says more
    import cloudpickle

    return bytes(cloudpickle.dumps(value, protocol=5))
