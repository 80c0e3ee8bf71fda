"""A Dataset on disk is the one in memory, bit by bit, or there is no new file at all."""

from __future__ import annotations

import datetime as dt
import os
import stat
import subprocess
import sys
import threading

import netCDF4
import numpy as np
import pytest
import xarray as xr

from cropfit.disk import hdf5, ncwriter, netcdf
from cropfit.disk.netcdf import load_dataset, open_dataset, save_dataset
from cropfit.errors import DamagedError, ExistsError, ResultError

VALUES = {
    "int8": np.array([-127, -128], "i1"),
    "uint8": np.array([255, 0], "u1"),
    "int16": np.array([-32767, 1], "i2"),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "uint64": np.array([2**64 - 1, 2**64 - 2], "u8"),
    "float16": np.array([0.1, np.nan], "f2"),
    "float32": np.array([-0.0, 9.969209968386869e36], "f4"),
    "float64": np.array([np.nan, -np.inf]),
    "big endian": np.array([1.5, 2.5], ">f8"),
    "bool": np.array([True, False]),
    "complex64": np.array([1j, 2], "c8"),
    "complex128": np.array([np.nan + 1j, -0.0]),
    "text": np.array(["", "ü␀"]),
    "escaped text": np.array(["␀null", "a\0b"]),
    "long text": np.array(["x" * 1000, "y"], object),
    "bytes": np.array([b"a", b"bcd"]),
    "datetime s": np.array(["2000-01-01", "NaT"], "M8[s]"),
    "datetime ms": np.array(["1700-01-01", "2199-12-31"], "M8[ms]"),
    "datetime us": np.array(["2000-01-01", "NaT"], "M8[us]"),
    "datetime ns": np.array([1, "NaT"], "M8[ns]"),
    "timedelta s": np.array([-5, "NaT"], "m8[s]"),
    "timedelta ns": np.array([5, 2**62], "m8[ns]"),
    "no width": np.array(["", ""]),
}
ATTRS = {
    "int": 3,
    "float": 0.1,
    "nan": float("nan"),
    "text": "ü",
    "empty text": "",
    "float32": np.float32(0.1),
    "uint64": np.uint64(2**63 + 1),
    "array": np.array([1.5, np.nan]),
    "texts": ["a", "", "ü"],
    "none": None,
    "bool": True,
    "big int": 2**70,
    "dict": {"a": {"b": None}},
    "nested": [1, [2, 3]],
    "mixed": (1, "a", 2.5),
    "one": [1],
    "empty": [],
    "complex": 1 + 2j,
    "datetime": dt.datetime(2001, 2, 3, 4, 5, 6, 7),
    "datetime64": np.datetime64("2001-01-01", "ns"),
    "matrix": np.eye(2),
    "bools": np.array([True, False]),
    "nul": "a\0b",
    "ключ": "a key in Russian",
    "a/b": "a key with a slash",
    "": "no key",
    "_FillValue": -1,
    "scale_factor": 2,
    "coordinates": "not ours",
    "units": "m",
    "calendar": "mayan",
    "dtype": "mine",
    "cropfit_json": "{",
    "cropfit_attr_0": 1,
}


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    xr.testing.assert_identical(one, other)
    for name in one.variables:
        assert one[name].dtype == other[name].dtype, name
        assert list(map(repr, one[name].attrs)) == list(map(repr, other[name].attrs))
    assert set(one.coords) == set(other.coords)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("shape", [(2,), (1,), (), (0,), (2, 3)])
def test_values_and_dtype_survive(kind, shape, tmp_path):
    values = VALUES[kind]
    if shape == (2, 3):
        values = np.stack([values] * 3, axis=1)
    elif shape != (2,):
        values = values[: shape[0]] if shape else values[0]
    ds = xr.Dataset({"v": (["x", "y"][: len(shape)], values)})
    path = tmp_path / "a.nc"
    save_dataset(ds, path)
    same(load_dataset(path), ds)
    with open_dataset(path) as lazy:
        same(lazy.load(), ds)
    assert os.listdir(tmp_path) == ["a.nc"]


@pytest.mark.parametrize("kind", VALUES)
def test_plain_xarray_opens_what_was_saved(kind, tmp_path):
    ds = xr.Dataset({"v": ("x", VALUES[kind])}, attrs=ATTRS)
    save_dataset(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as plain:
        found = plain.v.load()
    if kind not in ("complex64", "complex128", "bytes", "escaped text", "text"):
        np.testing.assert_array_equal(found.values, ds.v.values)
    assert "_FillValue" not in found.encoding


def test_complex_numbers_are_what_netcdf_itself_calls_complex(tmp_path):
    save_dataset(xr.Dataset({"v": ("x", [1 + 2j])}), tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc", auto_complex=True) as file:
        assert file["v"][:].tolist() == [1 + 2j]


def test_attributes_survive_on_variables_and_the_whole(tmp_path):
    variables = {
        kind.replace(" ", "_"): ("x", values, ATTRS)
        for kind, values in VALUES.items()
        if kind in ("float64", "bool", "datetime ns", "timedelta s", "text", "complex128")
    }
    ds = xr.Dataset(variables, {"c": ("x", [1, 2], ATTRS)}, attrs=ATTRS)
    save_dataset(ds, tmp_path / "a.nc")
    again = load_dataset(tmp_path / "a.nc")
    for found in (again.attrs, *(variable.attrs for variable in again.variables.values())):
        assert set(found) == set(ATTRS)
        for key, value in ATTRS.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(found[key], value, err_msg=key, strict=True)
            else:
                assert type(found[key]) is type(value), key
                assert repr(found[key]) == repr(value), key


def test_an_attribute_of_a_type_that_no_file_knows_is_its_repr(tmp_path):
    save_dataset(xr.Dataset(attrs={"fn": os}), tmp_path / "a.nc")
    assert load_dataset(tmp_path / "a.nc").attrs == {"fn": repr(os)}


def test_coordinates_stay_coordinates(tmp_path):
    ds = xr.Dataset(
        {"v": (("x", "y"), np.zeros((2, 3)))},
        {
            "x": ["a", "b"],
            "t": ("x", np.array(["2001", "2002"], "M8[ns]")),
            "scalar": 3,
            "area": (("x", "y"), np.ones((2, 3))),
            "a name": ("y", [1, 2, 3]),
            "lonely": ("z", [1, 2]),
        },
    )
    save_dataset(ds, tmp_path / "a.nc")
    same(load_dataset(tmp_path / "a.nc"), ds)
    with xr.open_dataset(tmp_path / "a.nc") as plain:
        assert {"x", "t", "scalar", "area"} <= set(plain.coords)


def test_text_with_none_survives_as_xarray_keeps_it(tmp_path):
    ds = xr.Dataset({"v": ("x", np.array([None, "", "None"], object))})
    save_dataset(ds, tmp_path / "a.nc")
    same(load_dataset(tmp_path / "a.nc"), ds)


def test_a_dimension_called_complex_stays_what_it_is(tmp_path):
    ds = xr.Dataset({"v": ("complex", [1j, 2, 3]), "n": ("complex", [1, 2, 3])})
    save_dataset(ds, tmp_path / "a.nc")
    same(load_dataset(tmp_path / "a.nc"), ds)


def test_a_lone_surrogate_survives(tmp_path):
    ds = xr.Dataset({"v": ("x", np.array(["\ud800", "a"]))})
    save_dataset(ds, tmp_path / "a.nc")
    assert load_dataset(tmp_path / "a.nc").v.values.tolist() == ["\ud800", "a"]


def test_a_lazy_dataset_reads_numbers_when_asked(tmp_path):
    ds = xr.Dataset({"v": ("x", np.arange(5.0))})
    save_dataset(ds, tmp_path / "a.nc")
    with open_dataset(tmp_path / "a.nc") as lazy:
        assert not isinstance(lazy.v.variable._data, np.ndarray)
        assert lazy.v[3].item() == 3.0


def test_files_of_others_are_read_as_xarray_does(tmp_path):
    ds = xr.Dataset({"v": ("x", [1.5, np.nan])}, {"x": [1, 2]}, {"a": "b"})
    ds.to_netcdf(tmp_path / "a.nc")
    same(load_dataset(tmp_path / "a.nc"), ds)
    with open_dataset(tmp_path / "a.nc") as lazy:
        same(lazy.load(), ds)


def test_variables_larger_than_a_slab_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(netcdf, "SLAB", 64)
    rng = np.random.default_rng(0)
    ds = xr.Dataset(
        {
            "v": (("x", "y", "z"), rng.random((5, 3, 7))),
            "t": (("x", "y"), rng.integers(0, 9, (5, 3)).astype(str)),
            "c": ("y", rng.random(3) * 1j),
            "f": (("y", "x"), np.asfortranarray(rng.random((3, 5)))),
        }
    )
    save_dataset(ds, tmp_path / "a.nc")
    same(load_dataset(tmp_path / "a.nc"), ds)


@pytest.mark.parametrize("bad", [np.array([{}, 1], object), np.array([1], "g")])
def test_what_no_file_can_hold_is_refused_with_a_way_out(bad, tmp_path):
    with pytest.raises(ResultError, match=r"(?s)'v'.*to=False"):
        save_dataset(xr.Dataset({"v": ("x", bad)}), tmp_path / "a.nc")
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_not_replaced_unless_asked(tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("precious")
    ds = xr.Dataset({"v": 1})
    with pytest.raises(ExistsError, match="overwrite=True"):
        save_dataset(ds, path)
    assert path.read_text() == "precious"
    save_dataset(ds, path, overwrite=True)
    same(load_dataset(path), ds)
    assert os.listdir(tmp_path) == ["a.nc"]


def test_a_file_that_appears_while_saving_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    close = ncwriter.Writer.close

    def slow_close(self):
        close(self)
        path.write_text("precious")

    monkeypatch.setattr(ncwriter.Writer, "close", slow_close)
    with pytest.raises(ExistsError):
        save_dataset(xr.Dataset({"v": 1}), path)
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["a.nc"]


def test_of_many_savers_one_wins(tmp_path):
    path = tmp_path / "a.nc"
    outcomes = []

    def save(number):
        try:
            with netcdf.replacing(path, overwrite=False) as draft:
                with open(draft, "x") as file:
                    file.write(str(number))
                barrier.wait()
            outcomes.append(number)
        except ExistsError:
            pass

    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert path.read_text() == str(outcomes[0])
    assert os.listdir(tmp_path) == ["a.nc"]


def test_a_disk_without_hard_links_will_do(tmp_path, monkeypatch):
    def no_links(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    ds = xr.Dataset({"v": 1})
    save_dataset(ds, tmp_path / "a.nc")
    same(load_dataset(tmp_path / "a.nc"), ds)
    with pytest.raises(ExistsError):
        save_dataset(ds, tmp_path / "a.nc")
    assert os.listdir(tmp_path) == ["a.nc"]


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.nc").write_text("old")
    (tmp_path / "a.nc").symlink_to(tmp_path / "real" / "a.nc")
    save_dataset(xr.Dataset({"v": 1}), tmp_path / "a.nc", overwrite=True)
    assert (tmp_path / "a.nc").is_symlink()
    same(load_dataset(tmp_path / "real" / "a.nc"), xr.Dataset({"v": 1}))


def test_the_file_has_the_mode_that_the_umask_gives(tmp_path):
    former = os.umask(0o027)
    try:
        save_dataset(xr.Dataset({"v": 1}), tmp_path / "a.nc")
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "a.nc").stat().st_mode) == 0o640


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save_dataset(xr.Dataset({"v": 1}), tmp_path / "nowhere" / "a.nc")


@pytest.mark.parametrize("what", ["value", "attribute", "variable", "text"])
def test_what_reads_back_otherwise_is_not_put_in_place(what, tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    path.write_text("old")
    close = ncwriter.Writer.close

    def close_and_spoil(self):
        close(self)
        with netCDF4.Dataset(self._draft, "a") as file:
            if what == "value":
                file["v"].set_auto_mask(False)
                file["v"][1] = np.nan
            elif what == "text":
                file["t"][1] = "c"
            elif what == "attribute":
                file["v"].units = "s"
            else:
                file.createVariable("w", "f8", ("x",))

    monkeypatch.setattr(ncwriter.Writer, "close", close_and_spoil)
    ds = xr.Dataset({"v": ("x", [1.0, 2.0], {"units": "m"}), "t": ("x", ["a", "b"])})
    with pytest.raises(DamagedError, match="Nothing was replaced"):
        save_dataset(ds, path, overwrite=True)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.nc"]


def test_a_disk_that_is_known_to_be_too_full_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ncwriter, "_free", lambda path: 100)
    with pytest.raises(OSError, match="too full") as caught:
        save_dataset(xr.Dataset({"v": ("x", np.zeros(100))}), tmp_path / "a.nc")
    assert caught.value.errno == 28
    assert os.listdir(tmp_path) == []


FULL = """
import resource, signal, sys
import numpy as np, xarray as xr
from cropfit.disk.netcdf import save_dataset
ds = xr.Dataset({"v": ("x", np.arange(1e6)), "w": ("x", np.arange(1e6))})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    save_dataset(ds, sys.argv[1], overwrite=True)
except OSError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("limit", [100, 5000, 7_000_000, 15_990_000])
def test_a_disk_that_fills_while_saving_leaves_the_old_file_and_no_draft(limit, tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.startswith("refused:")
    assert "16,000,000 bytes" in done.stdout
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.nc"]


def test_an_interrupt_while_saving_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    path.write_text("old")

    def interrupted(self, name, box, values):
        raise KeyboardInterrupt

    monkeypatch.setattr(ncwriter.Writer, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_dataset(xr.Dataset({"v": 1}), path, overwrite=True)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.nc"]


def test_hdf5_holds_a_mebibyte_of_what_is_read_and_as_much_as_before_of_others(tmp_path):
    """64 MiB a variable that is written, and as many when it is read, would be held in vain."""
    others = netCDF4.get_chunk_cache()
    grown = xr.Dataset({"r": (("a", "x"), np.zeros((100, 8)))}, {"a": np.arange(100)})
    save_dataset(grown, tmp_path / "a.nc", grows=["a"])

    with hdf5.open_netcdf(str(tmp_path / "a.nc")) as file:
        assert file.variables["r"].get_var_chunk_cache()[0] == hdf5.CACHE
    assert netCDF4.get_chunk_cache() == others
