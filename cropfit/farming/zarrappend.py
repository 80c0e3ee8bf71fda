"""Appending to a Zarr store: what it costs follows what is added, not what is there.

    mark ─▶ arrays enlarged, chunks written ─▶ synced, read back ─▶ zarr.json: commit ─▶ unmark

Whoever opens the store reads the metadata of all its arrays from one file, which
tells of the old sizes until one rename replaces it by one that tells of the new. A
kill before that leaves the store as it was; the mark beside it tells the next writer
to put right what only writers see.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.disk.encoding import Stored
from cropfit.disk.netcdf import expect_values, part_of
from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, sync_files, sync_folder, write_whole
from cropfit.errors import CropError
from cropfit.farming.growth import Growth, growth_of, region
from cropfit.farming.join import RTOL

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["LEAST", "append", "growing_dims", "repair"]

LEAST = 64
"""Labels to a chunk: with fewer a store would come to be of very many small files."""

_ROOT = "zarr.json"


def append(path: str, new: xr.Dataset, check: Callable[[], None], rtol: float = RTOL) -> bool:
    """Append `new` along one dimension, if that is all there is to do and the chunks suit it.

    Parameters
    ----------
    path : str
        The store.
    new : Dataset
        What may stand behind what is there.
    check : callable
        Raises if the store is not this process' to write any more.
    rtol : float
        How far float coordinates may be apart and be the same, relative to the larger.

    Returns
    -------
    bool
        False if not; nothing was written.

    Raises
    ------
    DamagedError
        What was read back is not what was written; the store reads as before.
    OSError
        The disk is full, read-only or gone; the store reads as before.
    """
    root = _root_of(path)
    growth = None if root is None else growth_of(path, new, rtol)
    if root is None or growth is None:
        return False
    if growth.dim not in growing_dims(path):
        return False
    group = _group(path)
    mark = _mark_of(path)
    os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o666))
    sync_folder(os.path.dirname(path))
    try:
        for name, stored in growth.variables.items():
            check()
            _extend(group[name], stored, growth, new)
        _sync(path, group, growth)
        for name, stored in growth.variables.items():
            found = np.asarray(group[name][region(stored, growth)], stored.raw)
            expect_values(path, stored, found, part_of(new, name, ()))
        for name in growth.variables:
            _arrays_in(root)[name]["shape"] = list(group[name].shape)
        data = json.dumps(root, indent=2).encode()
        check()
        write_whole(f"{path}/{_ROOT}", data, str(Owner.here()), sync=True)
    except Exception:
        with contextlib.suppress(OSError, CropError):  # what is left is for the next writer
            check()
            repair(path)
        raise
    os.unlink(mark)
    return True


def growing_dims(path: str) -> set[str]:
    """The dimensions along which chunks hold many labels."""
    root = _root_of(path)
    return {
        name
        for name, told in ({} if root is None else _arrays_in(root)).items()
        if told.get("dimension_names") == [name]
        and told["chunk_grid"]["configuration"]["chunk_shape"][0] >= LEAST
    }


def repair(path: str) -> None:
    """Undo what an append left that came to no end: needs the lock, costs nothing without one."""
    mark = _mark_of(path)
    if os.path.basename(mark) not in os.listdir(os.path.dirname(path)):
        return
    root = _root_of(path)
    if root is not None:
        group = _group(path)
        for name, told in _arrays_in(root).items():
            if list(group[name].shape) != told["shape"]:
                group[name].resize(tuple(told["shape"]))
        for folder, _, names in os.walk(path):
            for name in names:
                if name.endswith((".partial", DRAFT)):
                    os.unlink(f"{folder}/{name}")
    os.unlink(mark)


def _mark_of(path: str) -> str:
    folder, name = os.path.split(path)
    return f"{folder}/.{name}.append"


def _root_of(path: str) -> dict[str, Any] | None:
    """The metadata that readers go by; None for a store that is of another make."""
    try:
        with open(f"{path}/{_ROOT}", "rb") as file:
            root: dict[str, Any] = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    told = root.get("consolidated_metadata") or {}
    return root if told.get("kind") == "inline" else None


def _arrays_in(root: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = root["consolidated_metadata"]["metadata"]
    return metadata


def _group(path: str) -> Any:
    """The arrays with the metadata of each, which only writers go by."""
    import zarr

    return zarr.open_group(path, mode="r+", use_consolidated=False)


def _extend(array: Any, stored: Stored, growth: Growth, new: xr.Dataset) -> None:
    raw = stored.encode(part_of(new, stored.name, ()))
    box = region(stored, growth)
    array.resize(tuple(part.stop for part in box))
    array[box] = np.asarray(raw, "T") if stored.is_text else raw


def _sync(path: str, group: Any, growth: Growth) -> None:
    """Bring all that was written to the disk."""
    files = []
    for name, stored in growth.variables.items():
        keys = _keys(group[name], region(stored, growth))
        files += [f"{path}/{name}/{key}" for key in (_ROOT, *keys)]
    there = [file for file in files if os.path.exists(file)]  # chunks of nothing are not written
    sync_files(there)
    for folder in {os.path.dirname(file) for file in there}:
        sync_folder(folder)


def _keys(array: Any, box: tuple[slice, ...]) -> Iterator[str]:
    """Names of the chunks in which a region lies."""
    ranges = [
        range(part.start // size, -(-part.stop // size))
        for part, size in zip(box, array.chunks, strict=True)
    ]
    for at in itertools.product(*ranges):
        yield array.metadata.encode_chunk_key(at)
