"""Pickles that any process can read, not only one that runs the same script or notebook."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

SHORT = 1 << 18
"""Bytes; pickle writes names in runs of less, and what is big by itself."""


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


def pieces(value: Any) -> list[memoryview]:
    """The bytes of `dumps` in pieces, big arrays where they lie: use them before they change."""
    try:
        found = Pieces()
        pickle.Pickler(found, protocol=5).dump(value)
        if not mentions(found, b"__main__"):
            return found
    except Exception:
        pass
    import cloudpickle

    found = Pieces()
    cloudpickle.Pickler(found, protocol=5).dump(value)
    return found


class Pieces(list[memoryview]):
    """What was written to it, piece by piece and not copied."""

    def write(self, data: Any) -> None:
        """Keep `data`."""
        self.append(pickle.PickleBuffer(data).raw())


def mentions(pieces: Iterable[memoryview], name: bytes) -> bool:
    """Whether a pickle in pieces has something of that name; what is in big arrays is none."""
    return any(name in bytes(piece) for piece in pieces if len(piece) < SHORT)
