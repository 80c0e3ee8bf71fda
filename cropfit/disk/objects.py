"""Labelled objects of a crop: all in one file, each read alone.

One frame an object, its place kept in the sowing's arrays: a worker reads the
objects of its own cases and no others, an object used by many batches is stored
once, and sowing ten thousand of them makes one file.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk import frames
from cropfit.disk.pickles import dumps
from cropfit.disk.publish import check_own
from cropfit.errors import DamagedError, DesignError

OBJECT = 20


def pickle_object(value: Any, axis: str, label: Any) -> bytes:
    """Pickle one object.

    Raises
    ------
    DesignError
        It cannot be pickled; names axis and label.
    """
    try:
        return dumps(value)
    except Exception as error:
        raise DesignError(
            f"{axis!r}: the object labelled {label!r} cannot be pickled "
            f"({type(error).__name__}: {error}), so no worker could read it."
        ) from error


class ObjectWriter:
    """Appends objects to one file, one axis after the other.

    Parameters
    ----------
    path : str
        The file; made with the first object.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._size = 0
        self._handle = -1

    def add(
        self, axis: str, labels: Iterable[Any], values: Iterable[Any]
    ) -> tuple[NDArray[np.int64], list[str]]:
        """Write all objects of an axis, holding one pickle in memory at a time.

        Returns
        -------
        ends : (n + 1,) int array
            For `ObjectReader`.
        digests : list of str
            A fingerprint of each object.
        """
        from cropfit.disk.fingerprint import fingerprint  # the sower's need, not the worker's

        ends, digests = [self._size], []
        if self._handle < 0:
            self._handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        for label, value in zip(labels, values, strict=True):
            data = pickle_object(value, axis, label)
            digests.append(fingerprint(value, data))
            for part in frames.write_frame(OBJECT, data):
                view = memoryview(part)
                self._size += len(view)
                while view:
                    view = view[os.write(self._handle, view) :]
            ends.append(self._size)
        return np.array(ends, np.int64), digests

    def close(self) -> None:
        """Close the file; a disk that is full may say so only here."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)


class ObjectReader:
    """Loads single objects of one axis.

    Every call reads and unpickles anew: a function that changes its input in
    place must not change the input of the next case.

    Parameters
    ----------
    path : str
        The file.
    axis : str
        Name of the axis, for messages.
    ends : (n + 1,) int array
        Where the frame of each object begins, and where the last one ends.
    """

    def __init__(self, path: str, axis: str, ends: NDArray[np.int64]) -> None:
        self._path = path
        self._axis = axis
        self._ends = ends
        self._handle = -1

    def __call__(self, position: int) -> Any:
        """The object at `position`.

        Raises
        ------
        DamagedError
            The file is torn or altered there.
        ForeignFileError
            The file is somebody else's.
        """
        found = self._frame(position)
        if isinstance(found, str) or found[0] != OBJECT:
            raise DamagedError(
                f"{self._path}: object {position} of {self._axis!r} is torn or altered ({found}). "
                "Sow the same again: that mends it, and results that are there are kept."
            )
        return pickle.loads(found[1])

    def is_whole(self, position: int) -> bool:
        """Whether the object at `position` can be read."""
        try:
            return not isinstance(self._frame(position), str)
        except FileNotFoundError:
            return False

    def _frame(self, position: int) -> tuple[int, memoryview, int] | str:
        if self._handle < 0:
            check_own(self._path)
            self._handle = os.open(self._path, os.O_RDONLY)
        start, end = int(self._ends[position]), int(self._ends[position + 1])
        return frames.frame_at(memoryview(os.pread(self._handle, end - start, start)), 0)

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.close()  # a worker makes readers for every batch
