"""A sampler's state on disk: two slots, written in turn, each whole or not at all.

    state-0  ◀── 2nd, 4th, ... save          one line of text: format, number, checksum
    state-1  ◀── 1st, 3rd, ... save          then the pickled state

The newest slot whose checksum holds is the state. So a kill while one is written, or a
file that a crash tore, costs what came since the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import time
import warnings
from collections.abc import Callable
from typing import Any

from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, check_own, write_whole
from cropfit.errors import DamagedError, ExistsError

__all__ = ["Keeper"]

FORMAT = b"cropfit-state-1"
SLOTS = ("state-0", "state-1")
SHARE = 0.02  # of the time at most, for saving


class Keeper:
    """Saves and loads the state of one sampler.

    Parameters
    ----------
    folder : str or None
        The sampler's own; None to keep nothing.
    every : float
        Seconds between two saves; more where a save takes so long that it would cost
        more than 2 % of the time.
    live : dict
        Name → object that is no part of the state but that the state refers to.
    versions : dict
        Name → version of the libraries whose objects make up the state.
    """

    def __init__(
        self, folder: str | None, every: float, live: dict[str, Any], versions: dict[str, str]
    ) -> None:
        self.folder = folder
        self.every = every
        self.versions = versions
        self.took = 0.0
        self._live = live
        self._names = {id(each): name for name, each in live.items()}
        self._number = 0
        self._next = time.monotonic() + every

    def due(self) -> bool:
        """Whether it is time to save."""
        return self.folder is not None and time.monotonic() >= self._next

    def save(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state; a disk that cannot take it costs a warning and not the fit."""
        if self.folder is None:
            return
        begin = time.monotonic()
        file = io.BytesIO()
        pickler = pickle.Pickler(file, protocol=5)
        pickler.persistent_id = self._name  # type: ignore[method-assign]
        pickler.dump({"versions": self.versions, **state()})
        data = file.getvalue()
        self._number += 1
        head = b"%s %d %s\n" % (FORMAT, self._number, hashlib.sha256(data).hexdigest().encode())
        path = os.path.join(self.folder, SLOTS[self._number % 2])
        try:
            write_whole(path, head + data, str(Owner.here()), sync=True)
        except OSError as error:
            warnings.warn(
                f"The fit's state could not be saved ({error}); it goes on and will try again. "
                "If it is killed before, it starts from an older state.",
                RuntimeWarning,
                stacklevel=2,
            )
        self.took = time.monotonic() - begin
        self._next = time.monotonic() + max(self.every, self.took / SHARE)

    def _name(self, obj: Any) -> str | None:
        return self._names.get(id(obj))

    def load(self) -> dict[str, Any] | None:
        """The newest whole state; None if there is none.

        Raises
        ------
        ExistsError
            It was saved with another version of a library.
        DamagedError
            It is whole, and cannot be read all the same.
        """
        if self.folder is None:
            return None
        self._drop_drafts()
        paths = [os.path.join(self.folder, name) for name in SLOTS]
        found = [slot for path in paths if (slot := _read(path))]
        if not found:
            if any(map(os.path.exists, paths)):
                warnings.warn(
                    f"No state in {self.folder} is whole: the fit starts anew.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return None
        self._number, path, data = max(found)
        check_own(path)
        return self._unpickle(path, data)

    def _unpickle(self, path: str, data: bytes) -> dict[str, Any]:
        unpickler = pickle.Unpickler(io.BytesIO(data))
        unpickler.persistent_load = self._live.__getitem__  # type: ignore[method-assign]
        anew = f"Or delete {os.path.dirname(path)} to start this fit anew."
        try:
            state: dict[str, Any] = unpickler.load()
        except Exception as error:
            raise DamagedError(
                f"{path} cannot be read here ({type(error).__name__}: {error}). Was it made with "
                f"other versions than {self.versions}? {anew}"
            ) from error
        versions = state.pop("versions")
        if versions != self.versions:
            raise ExistsError(
                f"{path} was saved with {versions}, and here is {self.versions}: the numbers would "
                f"not be the same. Go on with those versions. {anew}"
            )
        return state

    def _drop_drafts(self) -> None:
        for name in os.listdir(self.folder):
            if name.startswith(SLOTS) and name.endswith(DRAFT):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(str(self.folder), name))


def _read(path: str) -> tuple[int, str, bytes] | None:
    """Number, path and data of a slot; None if it is not there or not whole."""
    try:
        with open(path, "rb") as file:
            head, _, data = file.read().partition(b"\n")
    except FileNotFoundError:
        return None
    words = head.split()
    if len(words) != 3 or words[0] != FORMAT or not words[1].isdigit():
        return None
    if words[2] != hashlib.sha256(data).hexdigest().encode():
        return None
    return int(words[1]), path, data
