"""Fingerprints of objects: the same in every session that runs the same program.

What a notebook defined itself is pickled by value, with the file and line that it
stood in and a number drawn at random: all different in the next session though
nothing was changed. So such fingerprints are taken of less than the pickle.
"""

from __future__ import annotations

import hashlib
import types
from collections import ChainMap
from typing import Any

import cloudpickle

from cropfit.disk.pickles import Pieces, mentions, pieces


def fingerprint(value: Any, data: list[memoryview] | None = None) -> str:
    """Short digest of `value`, the same wherever and whenever the same program made it.

    Parameters
    ----------
    value
        Anything that `pieces` takes.
    data : list of memoryview, optional
        What `pieces` made of it.
    """
    if data is None:
        data = pieces(value)
    if mentions(data, b"cloudpickle"):
        data = Pieces()
        _Same(data, protocol=5).dump(value)
    return digest(*data)


def digest(*data: bytes | memoryview) -> str:
    """Short fingerprint of bytes, in one piece or several, as hex."""
    found = hashlib.blake2b(digest_size=16)
    for each in data:
        found.update(each)
    return found.hexdigest()


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
            return str, (obj.__qualname__,), (obj.__bases__, tuple(own.items()))
        return super().reducer_override(obj)


_OF_EVERY_CLASS = frozenset(
    ("__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__")
)
