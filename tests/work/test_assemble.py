"""Every result stands at its own labels, with its own dtype, or the Dataset is not made."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from grown_results import Grown, sow

from cropfit.errors import DesignError, ResultError
from cropfit.outputs import Outputs
from cropfit.work.assemble import assemble, collect, nested

GRID = {"a": [1, 2, 3], "b": ["x", "y"]}


def reap(grown, outputs=None, batches=None, **options):
    outputs = outputs or Outputs.parse(grown.names)
    batches = grown.batches if batches is None else batches
    return assemble(grown.sowings, outputs, grown, batches=batches, **options)


VALUES = {
    "int8": lambda i: np.int8(-i),
    "uint64": lambda i: np.uint64(2**64 - 1 - i),
    "int": lambda i: 2**60 + i,
    "bool": lambda i: i % 2 == 0,
    "float": lambda i: i / 7,
    "float16": lambda i: np.float16(i / 7),
    "float32": lambda i: np.float32(i / 7),
    "complex": lambda i: complex(i, -i),
    "complex64": lambda i: np.complex64(complex(i, -i)),
    "text": lambda i: "ü" * i,
    "datetime_s": lambda i: np.datetime64(f"20{i:02d}-01-01", "s"),
    "datetime_ns": lambda i: np.datetime64(i, "ns"),
    "timedelta": lambda i: np.timedelta64(i, "ms"),
    "array": lambda i: np.full((2, 3), i, "i2"),
    "texts": lambda i: np.array(["a", "b" * (i + 1)]),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("shuffle", [None, 5])
@pytest.mark.parametrize("run", [10**9, 1])
def test_complete_results_keep_value_and_dtype(kind, shuffle, run):
    sown = sow({"a": [3, 1, 2], "b": [0, 10]}, batchsize=4, shuffle_seed=shuffle)
    make = VALUES[kind]
    ds = reap(Grown(sown, lambda a, b: make(a + b), ["r"], run=run))
    expected = [[np.asarray(make(a + b)) for b in (0, 10)] for a in (3, 1, 2)]
    assert ds.r.dims[:2] == ("a", "b")
    np.testing.assert_array_equal(ds.r.values, np.array(expected))
    assert ds.r.dtype == np.array(expected).dtype
    assert ds.r.attrs == {}


def test_dates_of_other_units_are_kept_exactly_in_seconds():
    ds = reap(Grown(sow({"a": [1, 2]}), lambda a: np.datetime64(f"200{a}-01-01", "D"), ["r"]))
    assert ds.r.dtype == "M8[s]"
    assert ds.r.values.astype("M8[D]").astype(str).tolist() == ["2001-01-01", "2002-01-01"]


@pytest.mark.parametrize(
    ("make", "dtype", "missing"),
    [
        (lambda a: a / 2, "f8", np.nan),
        (lambda a: np.float32(a / 2), "f4", np.nan),
        (lambda a: a * 1j, "c16", np.nan),
        (lambda a: a, "f8", np.nan),
        (lambda a: a > 1, "f8", np.nan),
        (lambda a: "x" * a, "U3", ""),
        (lambda a: np.datetime64(a, "ms"), "M8[ms]", np.datetime64("NaT", "ms")),
        (lambda a: np.timedelta64(a, "s"), "m8[s]", np.timedelta64("NaT", "s")),
        (lambda a: [a, {}], "O", None),
    ],
)
@pytest.mark.parametrize("how", ["batch", "case"])
def test_what_is_missing_is_told_in_the_way_of_its_type(make, dtype, missing, how):
    grown = Grown(
        sow({"a": [1, 2, 3]}, batchsize=1), make, ["r"], fails={1} if how == "case" else ()
    )
    ds = reap(grown, batches=[1, 3] if how == "batch" else None)
    assert ds.r.dtype == dtype
    expected = [make(1), missing, make(3)]
    if dtype == "O":
        assert ds.r.values.tolist() == expected
    else:
        np.testing.assert_array_equal(ds.r.values, np.array(expected, dtype))


def test_a_fill_value_keeps_the_dtype_and_is_noted():
    grown = Grown(
        sow({"a": [1, 2, 3]}, batchsize=1), lambda a: (a, a > 1, a / 2, "t"), ["i", "k", "f", "t"]
    )
    ds = reap(grown, batches=[1, 3], fill_value=-9)
    assert ds.i.values.tolist() == [1, -9, 3]
    assert ds.i.dtype == np.int64
    assert ds.i.attrs == {"cropfit_fill_value": -9}
    assert ds.f.values.tolist() == [0.5, -9.0, 1.5]
    assert (ds.k.dtype, ds.t.values.tolist()) == (np.float64, ["t", "", "t"])
    each = reap(grown, batches=[1, 3], fill_value={"k": False, "t": "?"})
    assert each.k.values.tolist() == [False, False, True]
    assert each.k.dtype == bool
    assert each.t.values.tolist() == ["t", "?", "t"]
    assert "cropfit_fill_value" not in reap(grown, fill_value=-9).i.attrs


@pytest.mark.parametrize(
    ("fill_value", "named"), [(-1, "uint8"), (300, "uint8"), (0.5, "uint8"), ({"q": 0}, "'q'")]
)
def test_a_fill_value_that_cannot_be_held_is_refused(fill_value, named):
    grown = Grown(sow({"a": [1, 2]}, batchsize=1), lambda a: np.uint8(a + 1), ["r"])
    with pytest.raises(DesignError, match=named):
        reap(grown, batches=[1], fill_value=fill_value)


def test_an_int_that_a_float_cannot_hold_is_an_error_and_not_a_wrong_number():
    grown = Grown(
        sow({"a": [1, 2, 3]}, batchsize=1), lambda a: 2**53 + (a == 3), ["count"], fails=()
    )
    assert reap(grown)["count"].dtype == np.int64
    with pytest.raises(ResultError, match=r"(?s)'count'.*\{'a': 3\}.*9007199254740993.*fill_value"):
        reap(grown, batches=[1, 3])
    assert reap(grown, batches=[1, 3], fill_value=0)["count"].values.tolist() == [
        2**53,
        0,
        2**53 + 1,
    ]


def test_batches_of_several_number_types_meet_in_the_common_one():
    kinds = {1: np.int8(1), 2: np.float32(2.5), 3: 3}
    ds = reap(Grown(sow({"a": [1, 2, 3]}, batchsize=1), lambda a: kinds[a], ["r"]))
    assert ds.r.dtype == np.float64
    assert ds.r.values.tolist() == [1.0, 2.5, 3.0]


def test_an_int_that_the_common_type_would_change_is_an_error():
    kinds = {1: 0.5, 2: 2**53 + 1}
    grown = Grown(sow({"a": [1, 2]}, batchsize=1), lambda a: kinds[a], ["r"])
    with pytest.raises(ResultError, match=r"'r' of the case \{'a': 2\}"):
        reap(grown)


def test_batches_with_nothing_in_common_become_objects():
    kinds = {1: 0.5, 2: "text", 3: True}
    ds = reap(Grown(sow({"a": [1, 2, 3]}, batchsize=1), lambda a: kinds[a], ["r"]))
    assert ds.r.values.tolist() == [0.5, "text", True]


def test_inner_dimensions_coordinates_and_attributes_reach_the_dataset():
    outputs = Outputs.parse(
        ["m", "flux"],
        var_dims={"flux": "w"},
        var_coords={"w": xr.DataArray([1.0, 2.0], dims="w", attrs={"units": "nm"})},
        var_attrs={"m": {"units": "kg"}, "w": {"long_name": "wavelength"}},
        attrs={"author": "me"},
    )
    a = xr.DataArray([1, 2], dims="a", attrs={"units": "m"})
    grown = Grown(sow({"a": a}), lambda a: (a * 1.0, [a, -a]), outputs.var_names)
    ds = reap(grown, outputs)
    assert ds.flux.dims == ("a", "w")
    assert ds.flux.sel(a=2).values.tolist() == [2, -2]
    assert ds.w.attrs == {"units": "nm", "long_name": "wavelength"}
    assert (ds.a.attrs, ds.m.attrs, ds.attrs) == ({"units": "m"}, {"units": "kg"}, {"author": "me"})


def test_arrays_without_declared_dimensions_get_automatic_ones():
    ds = reap(Grown(sow({"a": [1, 2]}), lambda a: np.full((2, 3), a), ["r"]))
    assert ds.r.dims == ("a", "r_0", "r_1")


def test_ragged_arrays_are_padded_and_their_length_is_told():
    grown = Grown(sow({"a": [1, 3, 2]}, batchsize=2), lambda a: np.arange(0, a), ["r"], fails={2})
    ds = reap(grown)
    assert ds.r_length.values.tolist() == [1, 3, 0]
    assert ds.r_length.dtype == np.int64
    np.testing.assert_array_equal(ds.r.sel(a=3), [0, 1, 2])
    np.testing.assert_array_equal(ds.r.sel(a=1), [0, np.nan, np.nan])
    kept = reap(grown, fill_value=-1)
    assert kept.r.dtype == np.int64
    assert kept.r.sel(a=1).values.tolist() == [0, -1, -1]


def test_arrays_ragged_in_two_dimensions_tell_both_lengths():
    grown = Grown(sow({"a": [1, 2]}, batchsize=1), lambda a: np.ones((a, 3 - a)), ["r"])
    ds = reap(grown)
    assert ds.r.shape == (2, 2, 2)
    assert ds.r_length_0.values.tolist() == [1, 2]
    assert ds.r_length_1.values.tolist() == [2, 1]
    assert int(ds.r.notnull().sum()) == 4


def test_a_length_other_than_that_of_the_coordinate_is_an_error():
    outputs = Outputs.parse("r", var_dims="w", var_coords={"w": [1, 2, 3]})
    with pytest.raises(ResultError, match="'r' has 1 to 2 values along 'w'"):
        reap(Grown(sow({"a": [1, 2]}), lambda a: np.zeros((a,)), ["r"]), outputs)


def test_results_of_another_depth_than_declared_are_an_error():
    outputs = Outputs.parse("r", var_dims="w")
    with pytest.raises(ResultError, match="'r' was declared"):
        reap(Grown(sow({"a": [1, 2]}), lambda a: a, ["r"]), outputs)


def test_a_dataset_result_brings_its_dimensions_and_attributes():
    def fn(a, b):
        return xr.Dataset(
            {"q": (("t", "u"), np.full((2, 2), a), {"units": "K"}), "s": ((), b)},
            coords={"t": ("t", [0.5, 1.5], {"units": "s"}), "a": a, "kind": "warm"},
            attrs={"model": "m1", "a_was": a},
        )

    ds = reap(Grown(sow(GRID, batchsize=2), fn))
    assert ds.q.dims == ("a", "b", "t", "u")
    assert ds.q.attrs == {"units": "K"}
    assert ds.t.attrs == {"units": "s"}
    assert ds.q.dtype == np.int64
    assert ds.s.values.tolist() == [["x", "y"]] * 3
    assert ds.kind.item() == "warm"
    assert ds.attrs == {"model": "m1"}  # what differs between cases is not told of all
    assert ds.a.dims == ("a",)


def test_coordinates_that_differ_between_results_are_joined():
    def fn(a):
        return xr.DataArray(np.arange(a), {"t": np.arange(a)[::-1] * 10}, ["t"], name="n")

    ds = reap(Grown(sow({"a": [1, 3, 2]}, batchsize=2), fn))
    assert ds.t.values.tolist() == [0, 10, 20]
    np.testing.assert_array_equal(ds.n.sel(a=3), [2, 1, 0])
    np.testing.assert_array_equal(ds.n.sel(a=2), [1, 0, np.nan])


def test_a_coordinate_of_each_result_is_a_coordinate_along_the_cases():
    def fn(a):
        return xr.Dataset({"q": 1.0}, coords={"peak": a * 2, "note": "same"})

    ds = reap(Grown(sow({"a": [1, 2]}), fn))
    assert ds.peak.dims == ("a",)
    assert "peak" in ds.coords
    assert ds.peak.values.tolist() == [2, 4]


def test_dict_results_with_other_keys_leave_gaps():
    ds = reap(Grown(sow({"a": [1, 2]}), lambda a: {"p": a, **({"q": "x"} if a == 2 else {})}))
    assert ds.p.values.tolist() == [1, 2]
    assert ds.p.dtype == np.int64
    assert ds.q.values.tolist() == ["", "x"]


def test_a_result_named_like_a_parameter_is_an_error():
    with pytest.raises(ResultError, match="'a'"):
        reap(Grown(sow({"a": [1, 2]}), lambda a: {"a": a}))


def test_results_without_names_are_no_dataset():
    with pytest.raises(ResultError, match="var_names"):
        reap(Grown(sow({"a": [1, 2]}), lambda a: a))


def test_long_text_does_not_cost_its_length_in_every_cell():
    grown = Grown(sow({"a": range(100)}), lambda a: "x" * (10_000 if a == 3 else 1), ["r"])
    assert reap(grown).r.dtype == object


def test_scattered_cases_stay_along_one_dimension():
    rows = [(i, i * i % 31, -i) for i in range(30)]
    sown = sow(cases=[dict(zip("abc", row, strict=True)) for row in rows])
    ds = reap(Grown(sown, lambda a, b, c: a + 100 * b, ["r"]))
    assert dict(ds.sizes) == {"case": 30}
    assert ds.r.values.tolist() == [a + 100 * b for a, b, _ in rows]
    assert ds.r.dtype == np.int64


def test_appended_sowings_meet_in_one_grid():
    first = sow({"a": [1, 3], "b": [0, 1]}, batchsize=3)
    second = sow({"a": [2], "b": [0, 1]}, after=first, batchsize=1)
    ds = reap(Grown([first, second], lambda a, b: 10 * a + b, ["r"]))
    assert ds.r.dtype == np.int64
    assert ds.r.values.tolist() == [[10, 11], [20, 21], [30, 31]]


def test_nothing_at_all_is_a_dataset_of_missing_values():
    ds = reap(Grown(sow(GRID), lambda a, b: a, ["r"]), batches=[])
    assert ds.r.shape == (3, 2)
    assert ds.r.isnull().all()


def test_a_list_stands_in_case_order():
    sown = sow(GRID, batchsize=4, shuffle_seed=2)
    grown = Grown(sown, lambda a, b: {a: b}, fails={1})
    found = collect([sown], grown, grown.batches)
    expected = [{a: b} for a, b in itertools.product(*GRID.values())]
    expected[1] = None
    assert found == expected


def test_a_list_of_named_results_holds_what_was_returned():
    sown = sow({"a": [1, 2]}, num_batches=1)
    assert collect([sown], Grown(sown, lambda a: (a, "t"), ["p", "q"]), [1]) == [(1, "t"), (2, "t")]
    assert collect([sown], Grown(sown, lambda a: a, ["p"]), [1]) == [1, 2]
    assert collect([sown], Grown(sown, lambda a: {"k": a}), [1]) == [{"k": 1}, {"k": 2}]


@pytest.mark.parametrize("name", [None, "n"])
def test_a_list_of_labelled_results_holds_them_whole(name):
    sown = sow({"a": [1, 2]}, num_batches=1)

    def array(a):
        return xr.DataArray([a, 2], {"t": ("t", [1, 2], {"units": "s"})}, ["t"], name, {"z": 1})

    def dataset(a):
        return xr.Dataset({"n": ("t", [a, 2], {"units": "m"})}, {"t": [1, 2]}, {"z": (1, 2)})

    for fn in (array, dataset):
        for found, a in zip(collect([sown], Grown(sown, fn), [1]), (1, 2), strict=True):
            assert found.identical(fn(a))


def test_nested_results_have_the_shape_of_the_grid():
    sown = sow({"a": [1, 2], "b": [3, 4, 5], "c": [6]}, batchsize=4)
    grown = Grown(sown, lambda a, b, c: (a, b, c))
    found = nested([sown], grown, grown.batches)
    assert found == tuple(tuple(((a, b, 6),) for b in (3, 4, 5)) for a in (1, 2))


def test_several_sowings_have_no_shape_to_nest():
    first = sow({"a": [1]})
    with pytest.raises(DesignError, match="2 sowings"):
        nested([first, sow({"a": [2]}, after=first)], None, [])


PEAK = """
import resource, sys
import numpy as np, xarray
from grown_results import sow
from cropfit.disk.codec import decode_results, encode_results
from cropfit.disk.records import Records
from cropfit.outputs import Outputs
from cropfit.work.assemble import assemble

sown = sow({"a": range(100), "b": range(20)}, num_batches=100)
def read(batch):
    rows = [np.full(10_000, batch + i / 100) for i in range(20)]
    payloads, _ = encode_results(range(20), [0.1] * 20, rows, ("r",))
    return Records(chunks=[decode_results(b"".join(payloads[0]))])
read(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ds = assemble([sown], Outputs.parse("r"), read, batches=range(1, 101))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert float(ds.r[3, 2, 5]) == 4 + 2 / 100
print((after - before) * 1024 / ds.nbytes)
"""


def test_arrays_in_memory_cost_little_more_than_themselves():
    """152 MiB in one variable; a little may be kept from the survey."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert float(done.stdout) < 1.15
