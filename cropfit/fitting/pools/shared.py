"""The problem, model and data, shipped to every worker once and not with every task.

    ours     problem ──▶ a file without a name ──┐
    worker   cache by digest ◀── maps the file ──┘ on this host
                             ◀── bytes in a task ── elsewhere, when the worker asks

The file has no name, so nothing is left on disk however this process ends. Workers map
it copy-on-write: they share the memory of the data, and may write into their arrays as
if they had them alone.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import pickle
import stat
import tempfile
import threading
from collections import OrderedDict
from contextlib import ExitStack, suppress
from typing import IO, Any

import cloudpickle

from cropfit.errors import FunctionError

ALIGN = 64  # bytes; arrays start at multiples of it
KEPT = 4  # problems that a worker holds on to


class Shared:
    """A problem, packed for travel.

    Parameters
    ----------
    problem
        What workers need.

    Attributes
    ----------
    digest : str
        Of its content.
    path : str
        Where processes of this host find it; empty if they cannot.

    Raises
    ------
    FunctionError
        It cannot be pickled.
    """

    def __init__(self, problem: Any) -> None:
        self._parts = _pack(problem)
        content = hashlib.blake2b(digest_size=16)
        for part in self._parts:
            content.update(part)
        self.digest = content.hexdigest()
        self.path = ""
        self._file: IO[bytes] | None = None
        self._known = {id(problem): ""}
        for name in ("model", "data"):
            inner = getattr(problem, name, None)
            if inner is not None:
                self._known[id(inner)] = name
        with suppress(OSError):  # a full disk: the workers will ask for it
            self._write()

    def data(self) -> bytes:
        """All of it, for a worker that cannot read the file."""
        return b"".join(self._parts)

    def thin(self, value: Any) -> bytes:
        """Pickle `value` with names in place of the problem, its model and its data."""
        file = io.BytesIO()
        try:
            _Thin(file, self._known).dump(value)
        except Exception as error:
            raise FunctionError(
                f"what the workers of the pool are to do cannot be pickled "
                f"({type(error).__name__}: {error})."
            ) from error
        return file.getvalue()

    def close(self) -> None:
        """Give the file back; workers that hold it keep what they have."""
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        if not os.path.isdir("/proc/self/fd"):
            return
        with ExitStack() as unless_whole:
            file = unless_whole.enter_context(tempfile.TemporaryFile())
            file.write(self.digest.encode().ljust(ALIGN))
            for part in self._parts:
                file.write(part)
            file.flush()
            unless_whole.pop_all()
        self._file = file
        self.path = f"/proc/{os.getpid()}/fd/{file.fileno()}"


class _Thin(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes a name wherever one of the known objects is met."""

    def __init__(self, file: IO[bytes], known: dict[int, str]) -> None:
        super().__init__(file, protocol=5)
        self._names = known

    def persistent_id(self, obj: Any) -> str | None:
        """The name of a known object."""
        return self._names.get(id(obj))


class _Thick(pickle.Unpickler):
    """Puts the worker's own objects where the names are."""

    def __init__(self, data: bytes, problem: Any) -> None:
        super().__init__(io.BytesIO(data))
        self._problem = problem

    def persistent_load(self, pid: Any) -> Any:
        """The object of that name."""
        return getattr(self._problem, pid) if pid else self._problem


def thick(data: bytes, problem: Any) -> Any:
    """What `Shared.thin` wrote, with this process's own `problem` in it."""
    return _Thick(data, problem).load()


# -- in the worker ---------------------------------------------------------------------

_problems: OrderedDict[str, Any] = OrderedDict()
_lock = threading.Lock()


def find(name: str, path: str, data: bytes | None) -> Any:
    """The problem of digest `name`; None if neither cache, file nor `data` have it."""
    with _lock:
        if name in _problems:
            _problems.move_to_end(name)
            return _problems[name]
        found = memoryview(bytearray(data)) if data is not None else _map(name, path)
        if found is None:
            return None
        try:
            problem = _unpack(found)
        except Exception as error:
            raise FunctionError(
                f"a worker of the pool cannot load the model ({type(error).__name__}: {error}). "
                "Workers need the same packages and modules as the process that fits."
            ) from error
        _problems[name] = problem
        while len(_problems) > KEPT:
            _problems.popitem(last=False)
        return problem


def _map(name: str, path: str) -> memoryview | None:
    """The file's content, if it is what `name` says: on another host the path is another's."""
    if not path:
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            return None
        if os.pread(file, ALIGN, 0) != name.encode().ljust(ALIGN):
            return None
        return memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_COPY))[ALIGN:]
    except OSError:
        return None
    finally:
        os.close(file)


# -- the form in which it travels ------------------------------------------------------


def _pack(problem: Any) -> list[bytes | memoryview]:
    """Length of the head, head, then the arrays, each padded to `ALIGN`."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        pickled = cloudpickle.dumps(problem, protocol=5, buffer_callback=buffers.append)
    except Exception as error:
        raise FunctionError(
            f"the model and its data cannot be pickled ({type(error).__name__}: {error}), so no "
            "worker of a pool could have them. Open files, locks and database connections must "
            "be made inside the likelihood; a pool of threads needs no pickling."
        ) from error
    arrays = [buffer.raw() for buffer in buffers]
    head = pickle.dumps((pickled, [(each.nbytes, each.readonly) for each in arrays]), 5)
    parts: list[bytes | memoryview] = [
        len(head).to_bytes(8, "little"),
        head,
        _padding(8 + len(head)),
    ]
    for each in arrays:
        parts += [each, _padding(each.nbytes)]
    return parts


def _unpack(content: memoryview) -> Any:
    length = int.from_bytes(content[:8], "little")
    pickled, sizes = pickle.loads(content[8 : 8 + length])
    begin = 8 + length + len(_padding(8 + length))
    buffers = []
    for size, readonly in sizes:
        view = content[begin : begin + size]
        buffers.append(view.toreadonly() if readonly else view)
        begin += size + len(_padding(size))
    return pickle.loads(pickled, buffers=buffers)


def _padding(length: int) -> bytes:
    return bytes(-length % ALIGN)
