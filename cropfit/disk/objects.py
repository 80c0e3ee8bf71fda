"""Labelled objects of a crop: all in one file, each read alone.

One frame an object, its place kept in the sowing's arrays: a worker reads the
objects of its own cases and no others, an object used by many batches is stored
once, and sowing ten thousand of them makes one file.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk import frames
from cropfit.disk.pickles import pieces
from cropfit.disk.publish import check_own
from cropfit.errors import DamagedError, DesignError

OBJECT = 20
KEPT = 4 << 20  # bytes of the longest object that is read into memory which is there already


def pickle_object(value: Any, axis: str, label: Any) -> list[memoryview]:
    """Pickle one object, without copying what is big in it.

    Raises
    ------
    DesignError
        It cannot be pickled; names axis and label.
    """
    try:
        return pieces(value)
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
        """Write all objects of an axis, copying none that is big.

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
            for part in frames.write_frame(OBJECT, *data):
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


_rooms: list[bytearray] = []


@contextlib.contextmanager
def _room(size: int) -> Iterator[memoryview]:
    """Memory to read into, if need be what was read into before: fresh costs more than reading."""
    try:
        room = _rooms.pop()
    except IndexError:
        room = bytearray()
    if len(room) < size:
        room = bytearray(size)
    yield memoryview(room)[:size]
    if len(room) <= KEPT:
        _rooms.append(room)


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
        with self._frame(position) as found:
            if isinstance(found, str) or found[0] != OBJECT:
                raise DamagedError(
                    f"{self._path}: object {position} of {self._axis!r} is torn or altered "
                    f"({found}). Sow the same again: that mends it, and results that are there "
                    "are kept."
                )
            return pickle.loads(found[1])

    def is_whole(self, position: int) -> bool:
        """Whether the object at `position` can be read."""
        try:
            with self._frame(position) as found:
                return not isinstance(found, str)
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _frame(self, position: int) -> Iterator[tuple[int, memoryview, int] | str]:
        if self._handle < 0:
            check_own(self._path)
            self._handle = os.open(self._path, os.O_RDONLY)
        start, end = int(self._ends[position]), int(self._ends[position + 1])
        with _room(end - start) as room:
            done = count = os.preadv(self._handle, [room], start)
            while count and done < len(room):  # one call gives 2 GiB at most
                count = os.preadv(self._handle, [room[done:]], start + done)
                done += count
            yield frames.frame_at(room[:done], 0)

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.close()  # a worker makes readers for every batch
