"""A Zarr store is whole, verified and equal to memory, or not there."""

from __future__ import annotations

import importlib.metadata
import os

import numpy as np
import pytest
import xarray as xr

from cropfit.disk import zarrstore
from cropfit.disk.netcdf import load_dataset, open_dataset, save_dataset
from cropfit.errors import DamagedError, ExistsError, MissingDependencyError

needs_zarr = pytest.mark.needs("zarr")


@pytest.fixture
def ds():
    return xr.Dataset(
        {
            "f": (("x", "t"), np.arange(6.0).reshape(3, 2), {"units": "m", "ok": None}),
            "i": ("x", np.array([0, -1, 2], "i2")),
            "b": ("x", [True, False, True]),
            "c": ("x", [1j, np.nan, 2.0]),
            "d": ("x", np.array(["2000", "NaT", "2001"], "M8[ns]")),
            "s": ("x", ["", "ü", "␀"]),
        },
        {"x": ["p", "q", "r"], "t": [0.5, 1.5], "lab": ("x", [1, 2, 3])},
        {"flag": True, "nested": {"a": (1, 2)}},
    )


@needs_zarr
def test_values_types_and_attributes_survive(ds, tmp_path):
    save_dataset(ds, tmp_path / "a.zarr")
    again = load_dataset(tmp_path / "a.zarr")
    xr.testing.assert_identical(again, ds)
    assert {n: again[n].dtype for n in ds.variables} == {n: ds[n].dtype for n in ds.variables}
    with open_dataset(tmp_path / "a.zarr") as lazy:
        xr.testing.assert_identical(lazy.load(), ds)
    assert os.listdir(tmp_path) == ["a.zarr"]


@needs_zarr
def test_a_store_is_replaced_only_when_asked(ds, tmp_path):
    save_dataset(ds, tmp_path / "a.zarr")
    with pytest.raises(ExistsError):
        save_dataset(ds[["i"]], tmp_path / "a.zarr")
    xr.testing.assert_identical(load_dataset(tmp_path / "a.zarr"), ds)
    save_dataset(ds[["i"]], tmp_path / "a.zarr", overwrite=True)
    xr.testing.assert_identical(load_dataset(tmp_path / "a.zarr"), ds[["i"]])
    assert os.listdir(tmp_path) == ["a.zarr"]


@needs_zarr
def test_what_reads_back_otherwise_is_not_put_in_place(ds, tmp_path, monkeypatch):
    verify = zarrstore._verify

    def spoil_and_verify(ds, draft, skeleton):
        (chunk,) = [name for name in os.listdir(f"{draft}/i") if name != "zarr.json"]
        os.unlink(f"{draft}/i/{chunk}")
        verify(ds, draft, skeleton)

    monkeypatch.setattr(zarrstore, "_verify", spoil_and_verify)
    with pytest.raises(DamagedError):
        save_dataset(ds, tmp_path / "a.zarr")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("found", [None, "2.18.7"])
def test_without_zarr_the_way_to_get_it_is_told(ds, tmp_path, monkeypatch, found):
    def version(name):
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    told = rf"\({found or 'none'} is installed\).* pip install 'cropfit\[zarr\]'"
    with pytest.raises(MissingDependencyError, match=told):
        save_dataset(ds, tmp_path / "a.zarr")
    assert os.listdir(tmp_path) == []
