"""The file that is streamed is the file that is saved from memory; memory stays bounded."""

from __future__ import annotations

import os
import subprocess
import sys

import netCDF4
import numpy as np
import pytest
import xarray as xr
from grown_results import Grown, sow

from cropfit.disk import ncwriter, zarrstore
from cropfit.disk.netcdf import load_dataset, save_dataset
from cropfit.errors import DamagedError, ExistsError, ResultError
from cropfit.outputs import Outputs
from cropfit.work import stream as streaming
from cropfit.work.assemble import assemble
from cropfit.work.fill import Harvest
from cropfit.work.stream import stream


@pytest.fixture(params=["memory", "scattered", "direct"])
def way(request, monkeypatch):
    """Each of the ways by which a variable can reach the file, however small it is."""
    if request.param != "memory":
        monkeypatch.setattr(streaming, "IN_MEMORY", -1)
    if request.param == "direct":
        monkeypatch.setattr(streaming, "LARGE", 0)
    monkeypatch.setattr(streaming, "SLAB", 256)
    monkeypatch.setattr(streaming, "KEEP", 1)
    return request.param


def both(grown, folder, outputs=None, batches=None, **options):
    outputs = outputs or Outputs.parse(grown.names)
    batches = grown.batches if batches is None else batches
    ds = assemble(grown.sowings, outputs, grown, batches=batches, **options)
    save_dataset(ds, folder / "saved.nc")
    stream(grown.sowings, outputs, grown, folder / "out.nc", batches=batches, **options)
    saved, streamed = load_dataset(folder / "saved.nc"), load_dataset(folder / "out.nc")
    xr.testing.assert_identical(streamed, ds)
    for name in ds.variables:
        assert streamed[name].dtype == ds[name].dtype, name
    assert headers(folder / "out.nc") == headers(folder / "saved.nc")
    xr.testing.assert_identical(saved, streamed)
    assert sorted(os.listdir(folder)) == ["out.nc", "saved.nc"]
    return ds


def headers(path):
    """All of a file but values and order: types, dimensions and attributes as stored."""
    with netCDF4.Dataset(path) as file:
        return str(file.__dict__), {
            name: (str(v.dtype), v.dimensions, {k: str(a) for k, a in sorted(v.__dict__.items())})
            for name, v in file.variables.items()
        }


KINDS = {
    "float": lambda i: i / 7,
    "int": lambda i: i,
    "int8": lambda i: np.int8(-i),
    "bool": lambda i: i > 11,
    "complex": lambda i: i * 1j,
    "text": lambda i: "ü" * (i % 4),
    "long text": lambda i: "x" * (300 if i == 13 else 2),
    "datetime": lambda i: np.datetime64(i, "D"),
    "timedelta": lambda i: np.timedelta64(i, "ms"),
    "array": lambda i: np.full((2, 3), i, "f4"),
    "texts": lambda i: np.array(["a", "b" * (i % 3 + 1)]),
    "complex array": lambda i: np.arange(i, i + 3) * 1j,
    "ragged": lambda i: np.arange(i % 4),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize("fails", [(), (4, 5)])
def test_both_routes_give_the_same_file(kind, shuffle, fails, way, tmp_path):
    sown = sow({"a": [10, 12, 11], "b": [0, 1, 2]}, batchsize=2, shuffle_seed=shuffle)
    make = KINDS[kind]
    grown = Grown(sown, lambda a, b: make(a + b), ["r"], fails=fails)
    both(grown, tmp_path, diagnostics=bool(fails))


@pytest.mark.parametrize("layout", ["auto", "grid", "case"])
def test_both_routes_agree_on_layouts_and_gaps(layout, way, tmp_path):
    rows = [{"a": i, "b": i % 3} for i in range(7)]
    sown = sow({"c": [1, 2]}, rows, batchsize=3)
    grown = Grown(sown, lambda a, b, c: (a + b * c, np.full(2, a)), ["r", "s"])
    both(grown, tmp_path, layout=layout, batches=[1, 2, 4], fill_value=-1)


def test_both_routes_agree_on_overlapping_sowings(way, tmp_path):
    first = sow({"a": [1, 2, 3]}, batchsize=2)
    second = sow({"a": [3, 4]}, after=first, batchsize=1)
    grown = Grown([first, second], lambda a: (a, np.full(3, a)), ["r", "s"])
    ds = both(grown, tmp_path)
    assert ds.r.values.tolist() == [1, 2, 3, 4]


def test_both_routes_agree_on_labelled_results(way, tmp_path):
    def fn(a):
        coords = {"t": np.arange(a), "peak": a * 2, "note": "same", "u": ("t", np.arange(a) * 2.0)}
        return xr.Dataset({"q": ("t", np.arange(a) * 0.5, {"units": "m"})}, coords, {"z": None})

    both(Grown(sow({"a": [1, 3, 2]}, batchsize=2), fn), tmp_path)


def test_attributes_and_units_reach_the_file(way, tmp_path):
    a = xr.DataArray([1.0, 2.0], dims="a", attrs={"units": "m"})
    outputs = Outputs.parse(
        "r", var_dims="w", var_coords={"w": ["p", "q"]}, var_attrs={"r": {"units": "K"}},
        attrs={"none": None},
    )  # fmt: skip
    ds = both(Grown(sow({"a": a}), lambda a: [a, a], ["r"]), tmp_path, outputs)
    assert (ds.r.attrs, ds.a.attrs, ds.attrs) == ({"units": "K"}, {"units": "m"}, {"none": None})


def test_an_odd_batch_at_the_end_starts_the_file_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "KEEP", 1)
    grown = Grown(sow({"a": range(10)}, batchsize=2), lambda a: a if a < 9 else 0.5, ["r"])
    assert both(grown, tmp_path).r.dtype == np.float64


def test_objects_cannot_be_streamed(tmp_path):
    grown = Grown(sow({"a": [1, 2]}), lambda a: {a}, ["r"])
    with pytest.raises(ResultError, match=r"'r' holds objects of type set"):
        stream(grown.sowings, Outputs.parse("r"), grown, tmp_path / "a.nc", batches=grown.batches)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.needs("zarr")
def test_a_store_that_is_streamed_is_the_dataset(kind, way, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "PIECE", 0 if way == "direct" else 1 << 20)
    monkeypatch.setattr(zarrstore, "PIECE", 64)
    sown = sow(
        {"a": [10, 12, 11], "b": [0, 1, 2]},
        batchsize=2,
        shuffle_seed=None if way == "direct" else 3,
    )
    make = KINDS[kind]
    grown = Grown(sown, lambda a, b: make(a + b), ["r"], fails=(4, 5))
    ds = assemble(grown.sowings, Outputs.parse(["r"]), grown, batches=grown.batches)

    path = tmp_path / "out.zarr"
    stream(grown.sowings, Outputs.parse(["r"]), grown, path, batches=grown.batches)

    found = load_dataset(path)
    xr.testing.assert_identical(found, ds)
    assert {name: v.dtype for name, v in found.variables.items()} == {
        name: v.dtype for name, v in ds.variables.items()
    }
    assert os.listdir(tmp_path) == ["out.zarr"]


@pytest.mark.needs("zarr")
def test_a_store_that_reads_back_otherwise_is_not_put_in_place(way, tmp_path, monkeypatch):
    import zarr

    close = zarrstore.StoreWriter.close

    def close_and_spoil(self):
        close(self)
        zarr.open_group(self._draft, mode="r+")["r"][3] += 1

    monkeypatch.setattr(zarrstore.StoreWriter, "close", close_and_spoil)
    grown = Grown(sow({"a": range(10)}, batchsize=2), lambda a: a, ["r"])
    with pytest.raises(DamagedError, match="'r' reads back"):
        stream(grown.sowings, Outputs.parse("r"), grown, tmp_path / "a.zarr", batches=grown.batches)
    assert os.listdir(tmp_path) == []


@pytest.mark.needs("zarr")
def test_a_store_has_one_file_for_each_large_result(tmp_path, monkeypatch):
    """And one folder for all of them; each is written once, and brought to the disk."""
    monkeypatch.setattr(streaming, "IN_MEMORY", 0)
    synced, fsync = [], os.fsync

    def noting(handle):
        synced.append(os.readlink(f"/proc/self/fd/{handle}").rpartition("/r/")[2])
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    grown = Grown(sow({"a": range(6)}, batchsize=2), lambda a: np.full(100_000, a / 2), ["r"])

    path = tmp_path / "out.zarr"
    stream(grown.sowings, Outputs.parse("r"), grown, path, batches=grown.batches)

    files = [f"c.{row}.0" for row in range(6)]
    assert sorted(os.listdir(path / "r")) == [*files, "zarr.json"]
    assert [name for name in sorted(synced) if name in files] == files
    assert load_dataset(path).r.values[:, -1].tolist() == [a / 2 for a in range(6)]


@pytest.mark.needs("zarr")
def test_an_odd_batch_at_the_end_starts_the_store_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "KEEP", 1)
    grown = Grown(sow({"a": range(10)}, batchsize=2), lambda a: a if a < 9 else -0.0, ["r"])
    path = tmp_path / "a.zarr"
    stream(grown.sowings, Outputs.parse("r"), grown, path, batches=grown.batches)
    assert str(load_dataset(path).r.values.tolist()[-1]) == "-0.0"
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_an_existing_file_is_not_replaced_unless_asked(tmp_path):
    grown = Grown(sow({"a": [1, 2]}), lambda a: a, ["r"])
    path = tmp_path / "a.nc"
    path.write_text("precious")
    with pytest.raises(ExistsError):
        stream(grown.sowings, Outputs.parse("r"), grown, path, batches=grown.batches)
    assert grown.reads == []
    stream(grown.sowings, Outputs.parse("r"), grown, path, batches=[1, 2], overwrite=True)
    assert load_dataset(path).r.values.tolist() == [1, 2]
    assert os.listdir(tmp_path) == ["a.nc"]


def test_a_batch_that_cannot_be_read_leaves_no_draft(way, tmp_path):
    grown = Grown(sow({"a": range(10)}, batchsize=2), lambda a: a, ["r"])

    def read(batch):
        if batch == 4:
            raise DamagedError("torn")
        return grown(batch)

    with pytest.raises(DamagedError, match="torn"):
        stream(grown.sowings, Outputs.parse("r"), read, tmp_path / "a.nc", batches=grown.batches)
    assert os.listdir(tmp_path) == []


def test_what_reads_back_otherwise_is_not_put_in_place(way, tmp_path, monkeypatch):
    close = ncwriter.Writer.close

    def close_and_spoil(self):
        close(self)
        with netCDF4.Dataset(self._draft, "a") as file:
            file["r"][3] += 1

    monkeypatch.setattr(ncwriter.Writer, "close", close_and_spoil)
    grown = Grown(sow({"a": range(10)}, batchsize=2), lambda a: a, ["r"])
    with pytest.raises(DamagedError, match="'r' reads back"):
        stream(grown.sowings, Outputs.parse("r"), grown, tmp_path / "a.nc", batches=grown.batches)
    assert os.listdir(tmp_path) == []


def test_defaults_are_bound_late():
    """The patches above reach the code."""
    assert Harvest.__init__.__kwdefaults__["keep"] > 1


BOUNDED = """
import resource, shutil, signal, sys, os
import numpy as np, xarray, netCDF4
from grown_results import sow
from cropfit.disk.codec import decode_results, encode_results
from cropfit.disk.records import Records
from cropfit.outputs import Outputs
from cropfit.work.stream import stream

path, shuffle, limit = sys.argv[1], sys.argv[2] == "shuffled", int(sys.argv[3])
sown = sow({"a": range(100), "b": range(500)}, num_batches=250, shuffle_seed=1 if shuffle else None)
def read(batch):
    flat = sown.batches.cases_of(batch)
    rows = [np.full(500, case / 7) for case in flat.tolist()]
    payloads, _ = encode_results(range(200), [0.1] * 200, rows, ("r",))
    return Records(chunks=[decode_results(b"".join(payloads[0]))])
read(1)
with netCDF4.Dataset(path + ".warm", "w") as file:
    file.createVariable("v", "f8", ())[...] = 1
os.unlink(path + ".warm")
if path.endswith(".zarr"):
    import zarr  # its import is not ours to count
    zarr.create_array(path + ".warm", shape=(9, 9), chunks=(3, 9), dtype="f8")[...] = 1
    shutil.rmtree(path + ".warm")
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    stream([sown], Outputs.parse("r"), read, path, batches=range(1, 251), overwrite=True)
except OSError as error:
    print("refused:", error)
    raise SystemExit
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
with xarray.open_dataset(path, engine=None if path.endswith(".nc") else "zarr") as ds:
    found = ds["r"].values
assert (found == np.arange(50_000).reshape(100, 500, 1) / 7).all()
"""


def run(path, *arguments):
    return subprocess.run(
        [sys.executable, "-c", BOUNDED, str(path), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    ).stdout


@pytest.mark.parametrize("order", ["in order", "shuffled"])
@pytest.mark.parametrize("name", ["a.nc", pytest.param("a.zarr", marks=pytest.mark.needs("zarr"))])
def test_memory_stays_bounded(name, order, tmp_path):
    """190 MiB go through less than 64."""
    assert int(run(tmp_path / name, order, "0")) < 64 * 1024
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("order", ["in order", "shuffled"])
@pytest.mark.parametrize("limit", [1000, 150_000_000])
def test_a_disk_that_fills_on_the_way_leaves_the_old_file_and_no_draft(order, limit, tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("old")
    assert run(path, order, str(limit)).startswith("refused:")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.nc"]
