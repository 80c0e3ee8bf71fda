"""Posterior draws of all objects, out of memory while a catalogue is put together.

results, batch by batch ──put──▶ a file without a name ──lazily──▶ <param>_sample
"""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

__all__ = ["Kept"]

Block = tuple[int, int, int]  # first byte, number of draws, numbers a draw


class Kept:
    """Draws of many objects in a file that goes with the process, however it ends.

    Parameters
    ----------
    folder : str, optional
        Whose disk is to hold them; by default memory does.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._size = 0

    def put(self, packed: NDArray[Any]) -> NDArray[Any]:
        """Keep draws of some objects, as `pack_draws` made them; text that `block` takes."""
        if self._file is None:
            self._file = self._open()
        places = []
        for text in packed.tolist():
            raw = base64.b64decode(text)
            self._file.write(raw)
            places.append(f"{self._size} {len(raw)}" if raw else "")
            self._size += len(raw)
        return np.array(places, object)

    def block(self, place: str, names: int) -> Block | None:
        """Where the draws of an object with so many parameters are; None if it has none."""
        if not place:
            return None
        start, size = map(int, place.split())
        return start, size // 8 // names, names

    def lazily(self, columns: Sequence[tuple[Block, int] | None], most: int) -> Any:
        """A parameter's draws (object, sample) for xarray, NaN where an object has fewer.

        Parameters
        ----------
        columns : sequence
            Block and place among its numbers, an object; None if it has no such parameter.
        most : int
            Samples.
        """
        return indexing.LazilyIndexedArray(_Draws(self._read, columns, most))

    def close(self) -> None:
        """Give back what holds the draws."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> IO[bytes]:
        return io.BytesIO() if self._folder is None else tempfile.TemporaryFile(dir=self._folder)

    def _read(self, block: Block, column: int) -> NDArray[np.float64]:
        start, number, names = block
        if self._file is None:
            raise ValueError("nothing was put")
        self._file.seek(start)
        raw = self._file.read(8 * number * names)
        return np.frombuffer(raw, "<f8").reshape(number, names)[:, column]


class _Draws(BackendArray):
    """One parameter's draws, read where they are asked for."""

    def __init__(
        self,
        read: Callable[[Block, int], NDArray[np.float64]],
        columns: Sequence[tuple[Block, int] | None],
        most: int,
    ) -> None:
        self.shape = (len(columns), most)
        self.dtype = np.dtype(float)
        self._read = read
        self._columns = columns

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._values
        )

    def _values(self, key: tuple[Any, Any]) -> NDArray[np.float64]:
        objects, samples = key
        columns = np.arange(self.shape[0])[objects]
        found = np.full((columns.size, self.shape[1]), np.nan)
        for row, place in zip(found, columns.reshape(-1).tolist(), strict=True):
            if (column := self._columns[place]) is not None:
                own = self._read(*column)
                row[: len(own)] = own
        return found.reshape(*columns.shape, -1)[..., samples]
