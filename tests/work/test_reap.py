"""Reaping: what functions return becomes a Dataset that is safe before the folder goes."""

from __future__ import annotations

import json
import os
import resource
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from steps import GROW, Gate, python, start, tree

import cropfit as cf


def grown(fn: Any, combos: Any = None, name: str = "it", **options: Any) -> cf.Crop:
    sowing = {
        key: options.pop(key) for key in ("cases", "batchsize", "num_batches") if key in options
    }
    crop = cf.Crop(fn, name, verbosity=0, **options)
    crop.sow_combos({"x": [0, 1, 2]} if combos is None else combos, **sowing)
    crop.grow()
    return crop


def both(crop: cf.Crop, **options: Any) -> list[xr.Dataset]:
    """The Dataset as it is in memory, and as its file gives it back."""
    ds = crop.reap(**options)
    return [ds, cf.load_dataset(f"{crop.name}.nc")]


# -- outputs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "values", "kind"),
    [
        (lambda x: x + 0.5, [0.5, 1.5, 2.5], "f"),
        (lambda x: x, [0, 1, 2], "i"),
        (lambda x: x > 0, [False, True, True], "b"),
        (lambda x: x * 1j, [0j, 1j, 2j], "c"),
        (lambda x: "ab" * x, ["", "ab", "abab"], "OU"),
        (lambda x: np.float32(x / 2), [0, 0.5, 1], "f"),
        (lambda x: np.uint8(200 + x), [200, 201, 202], "u"),
        (
            lambda x: np.datetime64("2026-01-01") + x,
            [np.datetime64(f"2026-01-0{k}") for k in (1, 2, 3)],
            "M",
        ),
        (lambda x: np.timedelta64(x, "s"), [np.timedelta64(k, "s") for k in range(3)], "m"),
        (
            lambda x: datetime(2026, 1, 1 + x, 12),
            [np.datetime64(f"2026-01-0{k}T12") for k in (1, 2, 3)],
            "M",
        ),
        (lambda x: pd.Timestamp("2026-01-01") + pd.Timedelta(x, "D"), None, "M"),
        (lambda x: None if x else 1.0, None, "fO"),
        (lambda x: 2**62 + x, [2**62, 2**62 + 1, 2**62 + 2], "i"),
    ],
    ids=[
        "float",
        "int",
        "bool",
        "complex",
        "text",
        "float32",
        "uint8",
        "datetime64",
        "timedelta64",
        "datetime",
        "Timestamp",
        "None",
        "large int",
    ],
)
def test_a_scalar_of_any_kind_comes_back_as_it_was(
    here: Path, fn: Any, values: list[Any] | None, kind: str
) -> None:
    crop = grown(fn, var_names="z")
    if fn(1) is None:
        with pytest.raises(cf.ResultError, match="'z'"):
            crop.reap()
        assert crop.status().grown == 3
        return
    for ds in both(crop):
        assert ds.z.dtype.kind in kind
        if values is not None:
            assert (ds.z.values == np.array(values, ds.z.dtype)).all()
    assert tree(here) == ["it.nc"]


def test_arrays_have_named_inner_dimensions_with_coordinates(here: Path) -> None:
    wavelength = xr.DataArray(np.linspace(1, 2, 4), dims="wavelength", attrs={"units": "um"})
    crop = grown(
        lambda x: (float(x), np.arange(4) * x, np.full((2, 4), x)),
        var_names=["mass", "flux", "map"],
        var_dims={"flux": ["wavelength"], "map": ["side", "wavelength"]},
        var_coords={"wavelength": wavelength, "side": ["left", "right"]},
        var_attrs={"flux": {"units": "Jy"}},
    )
    for ds in both(crop):
        assert ds.mass.dims == ("x",)
        assert ds.flux.dims == ("x", "wavelength")
        assert ds["map"].dims == ("x", "side", "wavelength")
        assert ds.flux.sel(x=2).values.tolist() == [0, 2, 4, 6]
        assert ds.wavelength.attrs == {"units": "um"}
        assert ds.flux.attrs == {"units": "Jy"}
        assert ds.side.values.tolist() == ["left", "right"]


def test_datasets_are_put_together_with_their_own_names_and_coordinates(here: Path) -> None:
    def work(x: int, y: str) -> xr.Dataset:
        return xr.Dataset(
            {"a": ("t", np.arange(3) * x, {"units": "K"}), "b": float(x)},
            coords={"t": [10, 20, 30]},
        )

    crop = grown(work, {"x": [1, 2], "y": ["p", "q"]})
    for ds in both(crop):
        assert ds.a.dims == ("x", "y", "t")
        assert ds.a.attrs == {"units": "K"}
        assert ds.a.sel(x=2, y="q", t=30).item() == 4
        assert ds.b.sel(x=1, y="p").item() == 1


def test_dataarrays_and_dicts_are_put_together(here: Path) -> None:
    for ds in both(grown(lambda x: xr.DataArray([x, x], dims="t", name="flux"), name="array")):
        assert ds.flux.dims == ("x", "t")
    for ds in both(grown(lambda x: {"a": x, "b": [x, x]}, name="dict")):
        assert ds.a.values.tolist() == [0, 1, 2]
        assert ds.b.values.tolist() == [[0, 0], [1, 1], [2, 2]]


def test_objects_are_a_list_in_case_order(here: Path) -> None:
    def work(x: int, y: int) -> dict[int, Any] | tuple[int, date] | None:
        return None if x == y else (x, date(2026, 1, 1 + y))

    crop = grown(work, {"x": [1, 2], "y": [1, 2, 3]}, batchsize=4)
    expected = [work(x, y) for x in (1, 2) for y in (1, 2, 3)]
    before = tree(crop.location)

    assert crop.reap(to=False) == expected
    assert crop.reap(to=False, nested=True) == (tuple(expected[:3]), tuple(expected[3:]))
    assert tree(crop.location) == before
    assert crop.reap() == expected
    assert tree(here) == ["it.pkl"]


def test_a_list_of_objects_goes_into_a_pickle_and_no_other_file(here: Path) -> None:
    crop = grown(lambda x: (x, "a"))
    with pytest.raises(cf.ResultError, match=r"it\.nc cannot hold a list of objects"):
        crop.reap("it.nc")
    with pytest.raises(cf.DesignError, match=r"must end in \.nc, \.zarr or \.pkl"):
        crop.reap("it.txt")

    assert tree(here)[0] == ".crop-it"
    assert not Path("it.nc").exists()
    assert crop.reap("other.pkl") == [(0, "a"), (1, "a"), (2, "a")]


# -- layouts ---------------------------------------------------------------------------


def test_scattered_cases_have_one_dimension_with_the_parameters_as_coordinates(here: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [tuple(row) for row in rng.random((30, 3)).tolist()]
    crop = cf.Crop(lambda a, b, c: a + 10 * b + 100 * c, "it", verbosity=0, var_names="z")
    crop.sow_cases(["a", "b", "c"], rows)
    crop.grow()
    for ds in both(crop):
        assert dict(ds.sizes) == {"case": 30}
        assert {name: ds[name].dims for name in "abc"} == dict.fromkeys("abc", ("case",))
        assert ds.z.values == pytest.approx((ds.a + 10 * ds.b + 100 * ds.c).values)
        assert [*zip(ds.a.values, ds.b.values, ds.c.values, strict=True)] == rows


def test_the_layout_can_be_chosen(here: Path) -> None:
    crop = grown(lambda x, y: x + y, {"x": [1, 2], "y": [10, 20]}, var_names="z")

    assert crop.reap(to=False, layout="grid").z.dims == ("x", "y")
    flat = crop.reap(to=False, layout="case")
    assert flat.z.dims == ("case",)
    assert flat.z.values.tolist() == [11, 21, 12, 22]
    with pytest.raises((cf.DesignError, ValueError), match="layout"):
        crop.reap(to=False, layout="cube")  # type: ignore[arg-type]


def test_dense_cases_become_a_grid(here: Path) -> None:
    crop = grown(
        lambda x, y: x * y,
        {},
        cases=[{"x": x, "y": y} for x in (1, 2, 3) for y in (1, 2)],
        var_names="z",
    )

    assert dict(crop.reap().sizes) == {"x": 3, "y": 2}


# -- incomplete ------------------------------------------------------------------------


def partly(fn: Any, var_names: str = "z", **options: Any) -> cf.Crop:
    crop = cf.Crop(fn, "it", verbosity=0, var_names=var_names, **options)
    crop.sow_combos({"x": range(4)})
    crop.grow([1, 2])
    return crop


def test_what_is_not_grown_is_refused_with_what_to_do(here: Path) -> None:
    crop = partly(lambda x: x)
    before = tree(here)
    with pytest.raises(cf.NotReadyError) as error:
        crop.reap()

    for told in ("2 of 4 batches are not grown", "[3, 4]", "cropfit grow it", "allow_incomplete"):
        assert told in str(error.value)
    assert tree(here) == before


def test_missing_floats_ints_and_bools_are_nan_and_texts_are_empty(here: Path) -> None:
    for fn, kind in ((lambda x: x + 0.5, "f"), (lambda x: x, "f"), (lambda x: x > 0, "fO")):
        crop = partly(fn)
        z = crop.reap(allow_incomplete=True).z
        assert z.dtype.kind in kind
        assert z.isnull().values.tolist() == [False, False, True, True]
        assert z.values[1] == fn(1)
        assert crop.status().grown == 2  # it stays
        crop.delete()


def test_a_fill_value_keeps_the_dtype(here: Path) -> None:
    crop = partly(lambda x: x)
    z = crop.reap(allow_incomplete=True, fill_value=-1).z

    assert z.dtype == np.int64
    assert z.values.tolist() == [0, 1, -1, -1]


def test_an_int_that_no_float_holds_is_an_error_not_a_wrong_number(here: Path) -> None:
    crop = partly(lambda x: 2**53 + 1 + x)
    before = tree(here)
    with pytest.raises(cf.ResultError, match=r"'z'.*fill_value"):
        crop.reap(allow_incomplete=True)

    assert tree(here) == before
    z = crop.reap(allow_incomplete=True, fill_value=0).z
    assert z.values.tolist() == [2**53 + 1, 2**53 + 2, 0, 0]


def test_incomplete_is_saved_and_deleted_only_on_request(here: Path) -> None:
    crop = partly(lambda x: x)
    crop.reap(allow_incomplete=True)
    assert "it.nc" not in tree(here)
    crop.reap("some.nc", allow_incomplete=True)
    assert {".crop-it", "some.nc"} <= set(tree(here))
    crop.reap(allow_incomplete=True, clean_up=True)

    assert tree(here) == ["it.nc", "some.nc"]
    assert cf.load_dataset("it.nc").z.count() == 2


def test_ignored_batches_are_missing_and_nothing_to_wait_for(here: Path) -> None:
    crop = partly(lambda x: x)
    crop.ignore([3, 4])
    assert crop.is_ready_to_reap()
    for ds in both(crop, diagnostics=True):
        assert ds.z.isnull().values.tolist() == [False, False, True, True]
    assert tree(here) == ["it.nc"]


def test_diagnostics_tell_status_seconds_host_and_attempts(here: Path) -> None:
    def work(x: int) -> int:
        if x == 2:
            raise ValueError
        return x

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(5)})
    crop.grow([1, 2, 3])
    crop.ignore(4)
    ds = crop.reap(allow_incomplete=True, diagnostics=True)

    flags = ds.case_status.attrs
    meanings = dict(zip(flags["flag_values"], flags["flag_meanings"].split(), strict=True))
    told = [meanings[value] for value in ds.case_status.values.tolist()]
    assert told[:2] == [told[0]] * 2
    assert len(set(told)) == 4
    assert ds.case_host.values.tolist()[0] == os.uname().nodename
    assert ds.case_attempt.values.tolist()[:3] == [1, 1, 1]
    assert (ds.case_seconds.values[:2] >= 0).all()


# -- destinations ----------------------------------------------------------------------


def test_a_plain_reap_saves_beside_the_crop_says_where_and_deletes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "crops").mkdir()
    crop = grown(lambda x: x, var_names="z", parent_dir=here / "crops")
    crop.verbosity = 1
    ds = crop.reap()

    assert tree(here / "crops") == ["it.nc"]
    assert f"Saved and verified: {here}/crops/it.nc. The crop" in capsys.readouterr().out
    xr.testing.assert_identical(cf.load_dataset("crops/it.nc"), ds)
    assert xr.load_dataset("crops/it.nc").z.values.tolist() == [0, 1, 2]


def test_a_file_that_is_there_is_never_replaced_silently(here: Path) -> None:
    Path("it.nc").write_text("mine")
    crop = grown(lambda x: x, var_names="z")
    with pytest.raises(cf.ExistsError, match=r"it\.nc is there already"):
        crop.reap("it.nc")
    assert crop.status().grown == 3
    crop.reap()

    assert Path("it.nc").read_text() == "mine"
    assert tree(here) == ["it-2.nc", "it.nc"]
    grown(lambda x: x, var_names="z").reap("it.nc", overwrite=True)
    assert cf.load_dataset("it.nc").z.values.tolist() == [0, 1, 2]


def test_in_memory_alone_is_the_explicit_way(here: Path) -> None:
    crop = grown(lambda x: x, var_names="z")
    crop.reap(to=False)
    assert crop.status().grown == 3
    ds = crop.reap(to=False, clean_up=True)

    assert ds.z.values.tolist() == [0, 1, 2]
    assert tree(here) == []


def test_a_folder_that_is_missing_leaves_the_crop_as_it_was(here: Path) -> None:
    crop = grown(lambda x: x, var_names="z")
    with pytest.raises(cf.CropError, match="no such folder"):
        crop.reap("nowhere/it.nc")

    assert crop.status().grown == 3
    assert crop.reap().z.count() == 3


@pytest.mark.needs("zarr")
def test_zarr_is_a_destination_too(here: Path) -> None:
    crop = grown(lambda x: (x, f"t{x}"), var_names=["z", "t"], attrs={"none": None})
    ds = crop.reap("it.zarr")

    assert os.listdir(here) == ["it.zarr"]
    xr.testing.assert_identical(cf.load_dataset("it.zarr"), ds)


ATTRS = {
    "none": None,
    "yes": True,
    "nested": {"a": [1, 2], "b": {"c": None}},
    "list": [1, "two", 3.0],
    "text": "µm – ok",
    "number": np.float32(1.5),
    "array": np.arange(3),
    "empty": "",
    "complex": 1 + 2j,
}


def test_attributes_that_netcdf_refuses_survive_the_round_trip(here: Path) -> None:
    crop = grown(
        lambda x: x,
        var_names="z",
        attrs=ATTRS,
        var_attrs={"z": dict(ATTRS)},
    )
    ds, loaded = both(crop)

    xr.testing.assert_identical(ds, loaded)
    for attrs in (loaded.attrs, loaded.z.attrs):
        for key, value in ATTRS.items():
            assert type(attrs[key]) is type(value), key
            assert np.array_equal(attrs[key], value) if key == "array" else attrs[key] == value
    xr.load_dataset("it.nc").close()  # and everybody else can open it


def test_constants_of_any_kind_are_recorded(here: Path) -> None:
    crop = grown(
        lambda x, table, how, flag: x,
        var_names="z",
        constants={"table": np.arange(3), "how": {"tol": 1e-3, "f": None}, "flag": None},
    )
    ds, loaded = both(crop)

    xr.testing.assert_identical(ds, loaded)
    assert loaded.attrs["how"] == {"tol": 1e-3, "f": None}


def test_a_constant_that_no_file_holds_does_not_keep_the_results_from_being_saved(
    here: Path,
) -> None:
    crop = grown(
        lambda x, how, when: x, var_names="z", constants={"how": len, "when": date(2026, 1, 1)}
    )
    ds = crop.reap()

    assert ds.z.values.tolist() == [0, 1, 2]
    assert "len" in str(ds.attrs["how"])
    assert tree(here) == ["it.nc"]


LARGE = """
import resource, sys
import numpy, cropfit
def work(x): return numpy.full(1_000_000, float(x))
crop = cropfit.Crop(work, "large", var_names="z", var_dims=["t"], verbosity=0)
crop.sow_combos({"x": range(40)})
crop.grow()
import xarray, netCDF4
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ds = crop.reap("large.nc", load=False)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) >> 10)
assert ds.z.shape == (40, 1_000_000)
assert float(ds.z[39, 999_999]) == 39
"""


def test_without_loading_memory_stays_bounded(here: Path) -> None:
    """320 MB of results, one batch of 8 MB at a time."""
    took = int(python(LARGE).split()[-1])

    assert took < 100
    assert tree(here) == ["large.nc"]


def test_without_loading_a_file_must_be_named(here: Path) -> None:
    crop = grown(lambda x: x, var_names="z")
    with pytest.raises(cf.DesignError, match="load=False needs to="):
        crop.reap(load=False)
    assert crop.reap("it.nc", load=False).z.values.tolist() == [0, 1, 2]


# -- waiting and looking ---------------------------------------------------------------


def test_wait_reaps_when_the_workers_are_done(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        if x == 1:
            gate.stop_here()
        return x

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(3)})
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    threading.Timer(0.1, gate.let_go).start()

    assert crop.reap(wait=True).z.values.tolist() == [0, 1, 2]
    worker.communicate(timeout=200)


def test_wait_stops_when_all_that_is_left_has_failed(here: Path) -> None:
    def work(x: int) -> int:
        if x == 1:
            raise ValueError
        return x

    crop = grown(work, var_names="z")
    with pytest.raises(cf.NotReadyError, match="nothing else is left to wait for"):
        crop.reap(wait=True)

    ds = crop.reap(wait=True, allow_incomplete=True)
    assert ds.z.isnull().values.tolist() == [False, True, False]


def test_a_peek_sees_finished_cases_of_growing_batches_and_disturbs_nobody(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        if x == 5:
            gate.stop_here()
        return x

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(8)}, batchsize=4)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    seen = crop.peek()
    gate.let_go()
    said, _ = worker.communicate(timeout=200)

    assert seen.z.isnull().values.tolist()[:4] == [False] * 4
    assert seen.z.isnull().values.tolist()[5:] == [True] * 3
    assert worker.returncode == 0, said
    assert crop.reap().z.values.tolist() == [*range(8)]


def test_a_reap_while_workers_are_alive_deletes_nothing_under_them(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        if x == 1:
            gate.stop_here()
        return x

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(3)})
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    with pytest.raises(cf.CropError, match="still growing it"):
        crop.reap(allow_incomplete=True, clean_up=True)
    with pytest.raises(cf.NotReadyError):
        crop.reap()
    gate.let_go()
    worker.communicate(timeout=200)

    assert crop.reap().z.values.tolist() == [0, 1, 2]


# -- safety ----------------------------------------------------------------------------


def test_a_reap_that_was_killed_between_saving_and_deleting_is_simply_repeated(here: Path) -> None:
    crop = grown(lambda x: x, var_names="z")
    python(
        "import os, cropfit, cropfit.disk.publish as publish\n"
        "publish.discard = lambda *args: os._exit(9)\n"
        "cropfit.Crop.load('it').reap()",
        ok=False,
    )
    assert {".crop-it", "it.nc"} <= set(tree(here))
    crop.reap()

    assert tree(here) == ["it.nc"]
    assert cf.load_dataset("it.nc").z.values.tolist() == [0, 1, 2]


def test_a_batch_of_another_crop_is_never_reaped(here: Path) -> None:
    crop = grown(lambda x: x, var_names="z")
    other = grown(lambda x: 100 + x, name="other", var_names="z")
    os.rename(f"{crop.location}/grown/000002", here / "aside")
    os.rename(f"{other.location}/grown/000002", f"{crop.location}/grown/000002")
    with pytest.raises(cf.DamagedError, match=r"\[2\].*another design"):
        crop.reap()

    assert crop.status().sown == 1
    crop.grow()
    assert crop.reap().z.values.tolist() == [0, 1, 2]


def test_what_is_shuffled_lands_at_its_own_label(here: Path) -> None:
    crop = cf.Crop(lambda x, y: 100 * x + y, "it", verbosity=0, var_names="z", shuffle=3)
    crop.sow_combos({"x": range(7), "y": range(11)}, num_batches=5)
    crop.grow()

    for ds in both(crop):
        assert (ds.z == 100 * ds.x + ds.y).all()


def test_json_of_the_status_can_be_dumped_after_any_failure(here: Path) -> None:
    """Labels of every kind stand in the records of failures."""
    values: dict[str, Any] = {
        "a": [1j, 2j],
        "b": [b"bytes"],
        "c": [None],
        "d": np.array(["2026-01-01"], "M8[D]"),
        "e": [np.float32(1.5)],
        "f": [(1, 2)],
        "g": [True],
    }

    def work(**given: Any) -> int:
        raise ValueError

    crop = grown(work, values, var_names="z")

    assert len(crop.errors()) == 2
    json.dumps(crop.errors())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def test_two_reapers_at_once_leave_one_whole_file(here: Path) -> None:
    crop = grown(lambda x: np.full(10_000, x), {"x": range(40)}, var_names="z")
    reapers = [start("import cropfit; cropfit.Crop.load('it').reap()", cwd=here) for _ in range(2)]
    said = [reaper.communicate(timeout=200)[0] for reaper in reapers]

    assert 0 in [reaper.returncode for reaper in reapers]
    for text, reaper in zip(said, reapers, strict=True):
        assert reaper.returncode == 0 or "NotFoundError" in text or "ExistsError" in text, text
    assert tree(here) == ["it.nc"]
    assert cf.load_dataset("it.nc").z.isel(z_0=0).values.tolist() == [*range(40)]
    assert not crop.is_prepared()


@pytest.mark.parametrize(
    ("fn", "options"),
    [
        (lambda x: {"x": x}, {}),
        (lambda x: np.ma.masked_array([1.0, 2.0], [0, 1]), {"var_names": "z"}),
        (lambda x: {1, 2}, {"var_names": "z"}),
    ],
    ids=["named as a parameter", "masked", "a set"],
)
def test_what_makes_no_dataset_can_be_had_as_it_is(
    here: Path, fn: Any, options: dict[str, Any]
) -> None:
    """A week of computing must not be lost for a declaration."""
    crop = grown(fn, **options)
    with pytest.raises(cf.ResultError, match=r"reap\(nested=True\)"):
        crop.reap()
    assert crop.status().grown == 3
    found = crop.reap(nested=True)

    assert len(found) == 3
    for result in found:
        result = result[0] if isinstance(result, tuple) else result
        assert type(result) is type(fn(1))
        np.testing.assert_array_equal(result, fn(1)) if not isinstance(result, dict) else None
    assert tree(here) == ["it.pkl"]
