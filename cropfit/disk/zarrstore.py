"""The same as `cropfit.disk.netcdf`, with a Zarr store as destination.

A store is a folder: it is written as a draft beside its destination, read back,
and renamed into place whole.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.encoding import Stored
from cropfit.disk.ncwriter import Box, Skeleton, check_space, chunk_shape, syncing
from cropfit.disk.netcdf import expect_values, part_of, replacing, skeleton_of, slabs
from cropfit.disk.publish import sync_files, sync_folder
from cropfit.errors import DamagedError, MissingDependencyError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["PIECE", "StoreWriter", "load_zarr", "save_zarr"]

PIECE = 1 << 20
"""Bytes of a file, at most, of a store that is filled piece by piece."""

KEYS: dict[str, Any] = {"name": "default", "separator": "."}
"""How files are named: all of a variable in one folder, not in one for each of its rows."""


def save_zarr(
    ds: xr.Dataset,
    path: str,
    *,
    overwrite: bool = False,
    grows: Collection[str] = (),
    check: Callable[[], object] | None = None,
) -> None:
    """Write `ds` to a Zarr store that is there whole or not at all.

    Raises
    ------
    MissingDependencyError
        zarr is not installed.
    ExistsError, ResultError, DamagedError, OSError
        As `cropfit.disk.netcdf.save_dataset`.
    """
    _need_zarr()
    skeleton = skeleton_of(ds)
    with replacing(path, overwrite=overwrite, check=check) as draft:
        with _consolidating():
            pieces = _pieces(skeleton, grows)
            _raw(ds, skeleton).to_zarr(draft, mode="w-", consolidated=True, encoding=pieces)
        with syncing(draft, _sync_tree):
            _verify(ds, draft, skeleton)


def load_zarr(path: str) -> xr.Dataset:
    """Read a store into memory as it was saved; stores of others as xarray reads them."""
    from cropfit.disk.netcdf import open_dataset

    _need_zarr()
    with open_dataset(path) as ds:
        return ds.load()


class StoreWriter:
    """Fills the draft of a store box by box; see `cropfit.disk.ncwriter.Writer`."""

    def __init__(self, draft: str, skeleton: Skeleton) -> None:
        _need_zarr()
        import zarr

        check_space(draft, skeleton.nbytes)
        self._draft = draft
        self._stored = skeleton.variables
        self._group = zarr.create_group(draft, attributes=_plain(skeleton.attrs))
        self._arrays = {name: self._declare(each) for name, each in self._stored.items()}

    def _declare(self, stored: Stored) -> Any:
        return self._group.create_array(
            stored.name,
            shape=stored.shape,
            chunks=chunk_shape(stored, (), PIECE),
            chunk_key_encoding=KEYS,
            **_codecs(stored),
            dtype=str if stored.is_text else stored.raw,
            dimension_names=stored.dims,
            attributes=_plain(stored.attrs),
            config={"write_empty_chunks": True},  # "empty" is -0.0 as well, and must come back
        )

    def write(self, name: str, box: Box, values: NDArray[Any]) -> NDArray[Any]:
        """Encode and write a box of a variable; return what was written."""
        raw = self._stored[name].encode(values)
        if raw.size:
            is_text = self._stored[name].is_text
            self._arrays[name][box if box else ...] = np.asarray(raw, "T") if is_text else raw
        return raw

    def mark(self, name: str, key: str, value: Any) -> None:
        """Set an attribute that is known only after the values."""
        self._arrays[name].attrs[key] = value

    def close(self) -> None:
        """Gather what tells of the arrays in one file, as `save_zarr` does."""
        import zarr

        with _consolidating():
            zarr.consolidate_metadata(self._draft)

    def abandon(self) -> None:
        """Nothing is open."""

    @contextlib.contextmanager
    def reread(self, skeleton: Skeleton) -> Iterator[Callable[[str, Box], NDArray[Any]]]:
        """Bring the draft to the disk and check all but the values; give what reads those."""
        import zarr

        group: Any = zarr.open_group(self._draft, mode="r", use_consolidated=True)
        found = {
            name: [array.shape, array.metadata.dimension_names, _plain(array.attrs)]
            for name, array in group.arrays()
        }
        meant = {
            name: [each.shape, each.dims, _plain(each.attrs)]
            for name, each in skeleton.variables.items()
        }
        if _as_text(found, group.attrs) != _as_text(meant, skeleton.attrs):
            raise DamagedError(f"{self._draft}: metadata are not as they were written")

        def read(name: str, box: Box) -> NDArray[Any]:
            return np.asarray(group[name][box if box else ...], skeleton.variables[name].raw)

        with syncing(self._draft, _sync_tree):
            yield read


@contextlib.contextmanager
def _consolidating() -> Iterator[None]:
    """Consolidated, so that an append can be committed by replacing one file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        yield


def _as_text(variables: Mapping[str, Any], attrs: Mapping[Any, Any]) -> str:
    return json.dumps([variables, _plain(attrs)], sort_keys=True)


def _need_zarr() -> None:
    try:
        found = importlib.metadata.version("zarr")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found == "none" or int(found.partition(".")[0]) < 3:
        raise MissingDependencyError(
            f"Zarr stores need the package zarr, 3.0 or newer ({found} is installed), and Python "
            "3.11 or newer: pip install 'cropfit[zarr]'. Files that end in .nc need neither."
        )


def _raw(ds: xr.Dataset, skeleton: Skeleton) -> xr.Dataset:
    """The variables as they are stored; numbers are not copied."""
    import xarray as xr

    variables = {
        name: xr.Variable(stored.dims, _encoded(ds, stored), _plain(stored.attrs))
        for name, stored in skeleton.variables.items()
    }
    return xr.Dataset(variables, attrs=_plain(skeleton.attrs))


def _pieces(skeleton: Skeleton, grows: Collection[str]) -> dict[str, dict[str, Any]]:
    """In which pieces to store what grows: not in as many files as there are values."""
    pieces: dict[str, dict[str, Any]] = {}
    for name, stored in skeleton.variables.items():
        pieces[name] = {"chunk_key_encoding": KEYS, **_codecs(stored)}
        if not set(grows).isdisjoint(stored.dims):
            pieces[name]["chunks"] = chunk_shape(stored, grows, PIECE)
    return pieces


def _codecs(stored: Stored) -> dict[str, Any]:
    """How numbers are compressed: at the speed of a disk, also where little is to be gained."""
    from zarr.codecs import BloscCodec

    return {} if stored.is_text else {"compressors": [BloscCodec(cname="lz4", shuffle="shuffle")]}


def _encoded(ds: xr.Dataset, stored: Stored) -> Any:
    raw = stored.encode(part_of(ds, stored.name, ()))
    return np.asarray(raw, "T") if stored.is_text else raw


def _verify(ds: xr.Dataset, draft: str, skeleton: Skeleton) -> None:
    """Read the draft back and compare it with memory, bit by bit."""
    import xarray as xr

    with xr.open_dataset(draft, engine="zarr", decode_cf=False, consolidated=False) as found:
        if set(found.variables) != set(skeleton.variables):
            raise DamagedError(f"{draft}: variables are missing after it was written")
        for name, box in slabs(skeleton):
            stored = skeleton.variables[name]
            raw = np.asarray(part_of(found, name, box), stored.raw)
            expect_values(draft, stored, raw, part_of(ds, name, box))
        if _all_attrs(_raw(ds, skeleton)) != _all_attrs(found):
            raise DamagedError(f"{draft}: attributes are not as they were written")


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON, which is all that a store knows: arrays become lists.

    xarray keeps two names for itself.
    """
    return {
        str(key): value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
        for key, value in attrs.items()
        if key not in ("_FillValue", "dtype")
    }


def _all_attrs(ds: xr.Dataset) -> str:
    """All attributes as one text."""
    own = {str(name): _plain(variable.attrs) for name, variable in ds.variables.items()}
    return _as_text(own, ds.attrs)


def _sync_tree(root: str) -> None:
    folders = [(folder, names) for folder, _, names in os.walk(root)]
    sync_files(f"{folder}/{name}" for folder, names in folders for name in names)
    for folder, _ in folders:
        sync_folder(folder)
