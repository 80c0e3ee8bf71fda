"""Pickles that any process can read, and fingerprints that are the same in any process.

What a script or notebook defined itself is written by value: a worker's ``__main__``
is another. Such a pickle differs from one session to the next though nothing was
changed, so its fingerprint is taken of less.
"""

from __future__ import annotations

import io
import pickle
import types
from collections import ChainMap
from typing import Any

import cloudpickle


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
    return bytes(cloudpickle.dumps(value, protocol=5))


def fingerprint(value: Any, data: bytes | None = None) -> str:
    """Short digest of `value`, the same wherever and whenever the same program made it.

    Parameters
    ----------
    value
        Anything that `dumps` takes.
    data : bytes, optional
        What `dumps` made of it.
    """
    if data is None:
        data = dumps(value)
    if b"cloudpickle" in data:
        stream = io.BytesIO()
        _Same(stream, protocol=5).dump(value)
        data = stream.getvalue()
    return digest(data)


def digest(data: bytes) -> str:
    """Short fingerprint of bytes, as hex."""
    import hashlib  # the sower's need, not the worker's

    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _without_place(code: types.CodeType) -> Any:
    """A code object without the file and line that it stands in: each notebook run has its own."""
    return cloudpickle.Pickler.dispatch_table[types.CodeType](
        code.replace(co_filename="", co_firstlineno=1)
    )


_PLACELESS = ChainMap({types.CodeType: _without_place}, cloudpickle.Pickler.dispatch_table)


class _Same(cloudpickle.Pickler):  # type: ignore[misc]
    """Leaves out of a pickle what differs between two runs of one program. Not to be loaded."""

    dispatch_table = _PLACELESS

    def reducer_override(self, obj: Any) -> Any:
        """Write a class by its name and what it defines: cloudpickle would number it at random."""
        if isinstance(obj, type) and obj.__module__ == "__main__":
            own = {key: each for key, each in vars(obj).items() if key not in _OF_EVERY_CLASS}
            return str, (obj.__qualname__,), tuple(own.items())
        return super().reducer_override(obj)


_OF_EVERY_CLASS = frozenset(
    ("__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__")
)
