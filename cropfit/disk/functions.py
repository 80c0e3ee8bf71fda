"""The function, its constants and its resources: one file, read once a worker.

``function.pkl`` is a run of checksummed frames: the cloudpickled function, then
the cloudpickled constants and resources, so that the constants can be read where
the function cannot.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cloudpickle

from cropfit.disk import frames
from cropfit.disk.publish import check_own, write_whole
from cropfit.errors import DamagedError, FunctionError

FUNCTION, CONSTANTS, RESOURCES = 10, 11, 12
_PARTS = {FUNCTION, CONSTANTS, RESOURCES}


@dataclass(frozen=True)
class Work:
    """What a worker calls, and what it passes to every case."""

    function: Callable[..., Any]
    constants: Mapping[str, Any]
    resources: Mapping[str, Any]


def pickle_work(work: Work) -> bytes:
    """Everything of `work` as the bytes of a ``function.pkl``.

    Raises
    ------
    FunctionError
        The function, a constant or a resource cannot be pickled; says which.
    """
    function = _pickle(work.function, f"the function {name_of(work.function)}")
    parts = frames.write_frame(FUNCTION, function)
    for kind, what, values in (
        (CONSTANTS, "constant", work.constants),
        (RESOURCES, "resource", work.resources),
    ):
        try:
            pickled = _pickle(dict(values), f"the {what}s")
        except FunctionError:
            for name, value in values.items():  # which of them?
                _pickle(value, f"the {what} {name!r}")
            raise
        parts += frames.write_frame(kind, pickled)
    return b"".join(parts)


def _pickle(value: Any, what: str) -> bytes:
    try:
        return bytes(cloudpickle.dumps(value, protocol=5))
    except Exception as error:
        raise FunctionError(
            f"{what} cannot be pickled ({type(error).__name__}: {error}), so no worker could read "
            "it. Open files, locks and database connections must be made inside the function."
        ) from error


def write_work(path: str, data: bytes, owner: str) -> None:
    """Publish pickled work at `path`."""
    write_whole(path, data, owner)


def read_constants(path: str) -> dict[str, Any]:
    """The constants alone, without loading the function."""
    return dict(_load(path, (CONSTANTS,), "")[CONSTANTS])


def read_work(path: str, sower: Mapping[str, Any]) -> Work:
    """Load what is to be called.

    Parameters
    ----------
    path : str
        The ``function.pkl``.
    sower : mapping
        Provenance of the sower: its ``search_path``, and ``python`` and
        ``packages`` for the error's text.

    Raises
    ------
    FunctionError
        This Python cannot load it; says which versions sowed and which run.
    DamagedError
        The file is torn.
    ForeignFileError
        The file is somebody else's.
    """
    find_modules(sower.get("search_path", ()))
    loaded = _load(path, (FUNCTION, CONSTANTS, RESOURCES), _versions(sower))
    return Work(loaded[FUNCTION], loaded[CONSTANTS], loaded[RESOURCES])


def find_modules(folders: Iterable[str]) -> None:
    """Import from these folders too, after all that this Python knows itself."""
    for folder in folders:
        if folder not in sys.path and os.path.isdir(folder):
            sys.path.append(folder)


def is_whole(path: str) -> bool:
    """Whether everything in a ``function.pkl`` is as it was written."""
    try:
        with open(path, "rb") as file:
            return dict(frames.iter_frames(file.read())).keys() >= _PARTS
    except OSError:
        return False


def _load(path: str, kinds: tuple[int, ...], versions: str) -> dict[int, Any]:
    check_own(path)
    with open(path, "rb") as file:
        found = dict(frames.iter_frames(file.read()))
    if not found.keys() >= _PARTS:
        raise DamagedError(
            f"{path} is torn or altered: its checksums do not match. Sow again with the same "
            "arguments; results that are there are kept."
        )
    loaded = {}
    for kind in kinds:
        try:
            loaded[kind] = cloudpickle.loads(found[kind])
        except Exception as error:
            raise FunctionError(
                f"{path} cannot be loaded ({type(error).__name__}: {error}). {versions}"
            ) from error
    return loaded


def _versions(sower: Mapping[str, Any]) -> str:
    packages = sower.get("packages", {})
    return (
        f"It was sown with Python {sower.get('python')} and cloudpickle "
        f"{packages.get('cloudpickle')}; this is Python {platform.python_version()} and "
        f"cloudpickle {cloudpickle.__version__} ({sys.executable}). Grow with the sower's "
        "environment"
        + (f" ({sower['executable']})" if sower.get("executable") else "")
        + ", or install here what is missing."
    )


def name_of(function: Any) -> str:
    """Qualified name of a function, partial or callable object."""
    inner = getattr(function, "func", function)  # functools.partial
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    module = getattr(inner, "__module__", None) or type(inner).__module__
    return f"{module}.{name}"


def short_name(function: Any) -> str:
    """Name of a function, partial or callable object, for a crop or a file."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__name__", type(inner).__name__)).strip("<>")
