"""Results as bytes and back: no value changes, and numbers are never pickled."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections import OrderedDict
from datetime import datetime
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cropfit.disk import frames
from cropfit.disk.codec import Chunk, decode_results, encode_results
from cropfit.errors import DamagedError, ForeignFileError, ResultError

BIG = 2**53 + 1  # no float64 is this number


def encode(results: list[Any], names: tuple[str, ...] | None = None) -> list[Chunk]:
    """The chunks of results at offsets 0, 1, ...; all of them can be kept."""
    payloads, failures = encode_results(range(len(results)), [0.5] * len(results), results, names)
    assert failures == []
    return [decode_results(b"".join(payload)) for payload in payloads]


def only(results: list[Any], names: tuple[str, ...] | None = None) -> Chunk:
    (chunk,) = encode(results, names)
    return chunk


def column(results: list[Any], names: tuple[str, ...] | None = None) -> Any:
    (found,) = only(results, names).columns.values()
    return found


def same(a: Any, b: Any) -> bool:
    """Equal type, dtype, shape and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    if isinstance(a, np.generic):
        return same(np.asarray(a), np.asarray(b))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (float, complex)):
        return np.array(a).tobytes() == np.array(b).tobytes()
    return bool(a == b)


anything = st.text(st.characters(exclude_categories=()), max_size=12)
scalars = st.one_of(
    st.floats(width=64), st.integers(), st.booleans(), st.complex_numbers(), anything, st.none()
)
plain_dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.datetime64_dtypes(endianness="="),  # a pickle of numpy's own would turn them
    hnp.timedelta64_dtypes(endianness="="),
    hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=4),
)
shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
arrays = plain_dtypes.flatmap(lambda dtype: hnp.arrays(dtype, shapes))
numpy_scalars = plain_dtypes.filter(lambda d: d.kind != "U" and d.isnative).flatmap(
    lambda dtype: hnp.arrays(dtype, ()).map(lambda a: a[()])
)
values = st.one_of(scalars, arrays, numpy_scalars, st.binary(max_size=8), st.lists(scalars))


# -- everything comes back ------------------------------------------------------------


@given(st.lists(values, min_size=1, max_size=6))
def test_undeclared_results_come_back_as_they_were(results):
    """Types and bits, whatever stands beside them."""
    chunk = only(results)

    assert chunk.schema.kind == "value"
    found = chunk.columns[""].values()
    assert all(same(a, b) for a, b in zip(found, results, strict=True))


@given(st.data(), st.integers(1, 6))
def test_cases_of_one_type_come_back_as_they_were(data, count):
    """The frequent case: a function that always returns the same kind of thing."""
    dtype = data.draw(plain_dtypes)
    kinds = [
        st.floats(), st.integers(), st.booleans(), st.complex_numbers(), anything,
        hnp.arrays(dtype, data.draw(shapes)), hnp.arrays(dtype, shapes),
    ]  # fmt: skip
    results = data.draw(st.lists(data.draw(st.sampled_from(kinds)), min_size=count))

    if results:
        found = column(results).values()
        assert all(same(a, b) for a, b in zip(found, results, strict=True))


@given(st.lists(st.floats() | st.integers() | st.booleans(), min_size=1, max_size=8))
def test_numbers_of_several_types_are_never_changed(results):
    """One dtype where each stays what it is, else each by itself; a bool stays a bool."""
    found = column(results, ("y",)).values()

    for kept, given_ in zip(found, results, strict=True):
        assert kept == given_ or (kept != kept and given_ != given_)
        assert isinstance(kept, bool) == isinstance(given_, bool)


@given(st.lists(plain_dtypes.flatmap(lambda d: hnp.arrays(d, (3,))), min_size=1, max_size=4))
def test_arrays_of_several_dtypes_are_never_changed(results):
    """A wider dtype may hold them; text is not cut, dates keep their unit."""
    found = column(results, ("y",)).values()

    for kept, given_ in zip(found, results, strict=True):
        assert kept.dtype.kind == given_.dtype.kind or {kept.dtype.kind, given_.dtype.kind} <= set(
            "iufc"
        )
        exact = zip(kept.tolist(), given_.tolist(), strict=True)
        assert all(a == b or (a != a and b != b) for a, b in exact)
        assert kept.dtype.kind not in "mM" or kept.dtype == given_.dtype


@given(st.lists(st.integers(0, 2**32 - 2), min_size=1, max_size=8, unique=True))
def test_each_case_keeps_its_offset_and_seconds(offsets):
    """In runs and out of order."""
    seconds = [float(n) for n in offsets]

    (payload,), _ = encode_results(offsets, seconds, offsets, ("n",))

    chunk = decode_results(b"".join(payload))
    assert chunk.offsets.dtype == np.uint32
    assert chunk.offsets.tolist() == chunk.columns["n"].values() == offsets
    assert chunk.seconds.tolist() == seconds
    assert len(chunk) == len(offsets)
    assert not chunk.in_order or offsets == list(range(offsets[0], offsets[0] + len(offsets)))


def test_offsets_may_be_an_array_or_a_range():
    """As the worker has them."""
    for offsets in (range(4, 7), np.array([4, 5, 6]), [4, 5, 6], np.array([6, 4, 5])):
        (payload,), _ = encode_results(offsets, [0.0] * 3, [1, 2, 3], None)
        assert decode_results(b"".join(payload)).offsets.tolist() == list(offsets)


def test_no_results_make_no_payload():
    """An empty batch writes nothing."""
    assert encode_results([], [], [], None) == ([], [])
    assert encode_results([], [], [], ("a", "b")) == ([], [])


def test_lists_of_unequal_length_are_refused():
    """Nothing is attributed by guess."""
    with pytest.raises(ValueError, match="differ in length"):
        encode_results([1, 2], [0.0], [1, 2], None)


# -- what is kept how -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "kind", "dtype"),
    [
        ([0.5, np.nan], "array", "f8"),
        ([1, -2], "array", "i8"),
        ([True, False], "array", "?"),
        ([1j, 2.0 + 0j], "array", "c16"),
        ([np.float32(1), np.float32(2)], "array", "f4"),
        ([np.float64(1), np.float64(2)], "array", "f8"),
        ([np.uint8(1), np.uint8(2)], "array", "u1"),
        ([np.datetime64("2020-01-01T00", "h")], "array", "M8[h]"),
        ([np.timedelta64(3, "s")], "array", "m8[s]"),
        ([np.array(3.0, "f4"), np.array(4.0, "f4")], "array", "f4"),
        ([np.zeros((2, 3), ">i2")] * 2, "array", ">i2"),
        ([np.zeros(2), np.zeros(3)], "ragged", "f8"),
        ([np.array(["ab", "c"])], "array", "U2"),
        ([np.array([1, 2], ">M8[s]")], "array", ">M8[s]"),
    ],
)
def test_numbers_and_dates_are_kept_as_they_lie_in_memory(results, kind, dtype):
    """Without pickle, in the dtype that they have."""
    found = column(results)
    assert found.kind == kind
    assert found.data.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    "results",
    [
        [2**63],
        [1, 2.0],
        [True, 1],
        [None],
        [b"bytes"],
        [[1.0, 2.0]],
        [datetime(2020, 1, 1)],
        [np.ma.masked_array([1.0, 2.0], [True, False])],
        [np.zeros(2, "i4,f4")],
        [np.array([None, 1])],
        [np.zeros(2), np.zeros((2, 2))],
        [np.zeros(2).view(np.recarray)],
        [np.array([b"ab"])],
        [IntEnum("Colour", "RED").RED],
    ],
)
def test_what_an_array_would_change_is_pickled(results):
    """Undeclared values come back as the very things that they were."""
    assert column(results).kind == "pickle"


def test_strings_keep_surrogates_and_trailing_nulls():
    """As no array of text would."""
    texts = ["", "ü", "\ud800", "\ud83d\ude00", "a\0", "😀"]
    found = column(texts)
    assert found.kind == "text"
    assert found.values() == texts
    assert column([np.str_("a\0"), "b"], ("t",)).values() == ["a\0", "b"]


@pytest.mark.parametrize(
    ("results", "dtype", "shape"),
    [
        ([[1, 2], (3, 4)], "i8", (2, 2)),
        ([[1.0, 2], [3, 4]], "f8", (2, 2)),
        ([[[1, 2], [3, 4]]], "i8", (1, 2, 2)),
        ([[True, False]], "?", (1, 2)),
        ([[np.zeros(3), np.ones(3)]], "f8", (1, 2, 3)),
        ([[]], "f8", (1, 0)),
        ([1, 2.5], "f8", (2,)),
        ([2**53, 0.5], "f8", (2,)),
        ([np.int64(2**60), 0.5], "f8", (2,)),
        ([np.int8(1), np.uint8(255)], "i2", (2,)),
        ([1.5, 2j], "c16", (2,)),
        ([np.float32(0.1), 0.1], "f8", (2,)),
        ([np.array([1, 2]), np.array([0.5, 1])], "f8", (2, 2)),
        ([np.array(["a"]), np.array(["abc"])], "U3", (2, 1)),
    ],
)
def test_declared_numbers_become_one_array_where_that_is_exact(results, dtype, shape):
    """Lists and tuples as well, and int beside float."""
    found = column(results, ("y",))
    assert (found.kind, found.data.dtype, found.data.shape) == ("array", np.dtype(dtype), shape)
    assert all(np.array_equal(a, b) for a, b in zip(found.values(), results, strict=True))


@pytest.mark.parametrize(
    "results",
    [
        [BIG, 0.5],
        [10**400, 0.5],
        [np.int64(BIG), 0.5],
        [np.array([BIG]), np.array([0.5])],
        [np.uint64(2**64 - 1), np.int64(-1)],
        [[BIG, 0.5]],
        [[2**63]],
        [[True, 2]],
        [[1, "a"]],
        [[[1, 2], [3]]],
        [[None]],
        [True, 1.0],
        [np.datetime64(1, "s"), np.datetime64(1, "ms")],
        [1.0, "a"],
        [1.0, None],
    ],
)
def test_declared_values_that_no_array_holds_exactly_are_pickled(results):
    """Never rounded, never taken for another type."""
    found = column(results, ("y",))
    assert found.kind == "pickle"
    assert all(repr(a) == repr(b) for a, b in zip(found.values(), results, strict=True))


def test_a_list_that_contains_itself_is_kept():
    """And does not send the encoder round for ever."""
    loop: list[Any] = []
    loop.append(loop)
    (found,) = column([loop], ("y",)).values()
    assert found[0] is found


def test_an_array_of_more_dimensions_than_can_be_stacked_is_pickled():
    """numpy allows 64, and a column needs one more."""
    deep = np.zeros((1,) * 64)
    assert same(column([deep]).values()[0], deep)


def test_fortran_order_strides_and_memmaps_are_kept_by_value(tmp_path):
    """In C order, copied once."""
    mapped = np.memmap(tmp_path / "m", "f8", "w+", shape=(2, 3))
    mapped[:] = 7.0
    for array in (np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(12.0)[::2], mapped):
        for results in ([array], [array, array * 2]):
            found = column(results)
            assert found.kind == "array"
            assert np.array_equal(found.data, np.stack(results))


@pytest.mark.parametrize("dtype", [">f8", ">f2", ">i4", ">c8", ">M8[s]", ">U3", "<f8"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (2000,)])
@pytest.mark.parametrize("count", [1, 3])
def test_the_byte_order_of_arrays_is_kept(dtype, shape, count):
    """Big-endian numbers are what FITS files are made of."""
    number = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    results = [(number + n).astype("i8").astype(dtype) for n in range(count)]
    for names in (None, ("y",)):
        found = column(results, names)
        assert found.kind == ("text" if results[0].dtype.kind == "U" and shape == () else "array")
        assert [value.tolist() for value in map(np.asarray, found.values())] == [
            result.tolist() for result in results
        ]
    ragged = [np.arange(n).astype("i8").astype(dtype) for n in (1, 2)]
    assert [a.tolist() for a in column(ragged).values()] == [a.tolist() for a in ragged]


# -- no copies ------------------------------------------------------------------------


def test_big_arrays_are_written_from_where_they_lie():
    """The parts are views, one a case."""
    results = [np.full(10_000, float(n)) for n in range(3)]
    (payload,), _ = encode_results(range(3), [0.0] * 3, results, ("y",))
    views = [np.frombuffer(part, np.uint8) for part in payload if len(part) == 80_000]
    assert [np.shares_memory(v, r) for v, r in zip(views, results, strict=True)] == [True] * 3


def test_columns_are_aligned_views_of_what_was_read():
    """Every block begins at a multiple of 16 bytes of the file."""
    results = [(1.0, True, np.arange(3, dtype="f4"), np.longdouble(2), "x")] * 3
    (payload,), _ = encode_results(range(3), [0.0] * 3, results, tuple("abcde"))
    file = np.frombuffer(b"".join(frames.write_frame(2, *payload)), np.uint8)
    room = np.empty(len(file) + 64, np.uint8)
    start = -room.ctypes.data % 64
    room[start : start + len(file)] = file
    buffer = memoryview(room)[start : start + len(file)]

    ((_, found),) = frames.iter_frames(buffer)

    chunk = decode_results(found)
    for kept in chunk.columns.values():
        assert np.shares_memory(kept.data, room)
        assert kept.data.ctypes.data % 16 == 0
    assert chunk.seconds.flags.aligned
    assert np.shares_memory(chunk.seconds, room)


# -- declared names -------------------------------------------------------------------


@pytest.mark.parametrize(
    "result", [(1, 2), [1, 2], {"a": 1, "b": 2}, {"b": 2, "a": 1}, np.array([1, 2])]
)
def test_two_outputs_come_as_a_pair_or_by_name(result):
    """In any order if by name, and mixed among the cases."""
    for results in ([result], [result, (1, 2)], [result, {"b": 2, "a": 1}]):
        chunk = only(results, ("a", "b"))
        assert chunk.schema.kind == "names"
        assert {n: c.values() for n, c in chunk.columns.items()} == {
            "a": [1] * len(results),
            "b": [2] * len(results),
        }


@pytest.mark.parametrize("result", [3.5, (1, 2), [1, 2], "text", None, {"b": 1}, {"a": 1, "b": 2}])
def test_one_output_is_the_value_itself(result):
    """Whatever it is: a tuple is the value, not a list of outputs."""
    (found,) = column([result], ("a",)).values()
    assert np.array_equal(found, result) if isinstance(result, (tuple, list)) else found == result


def test_one_output_may_come_by_name():
    """A dict with exactly that key."""
    assert column([{"a": 1.5}, 2.5], ("a",)).values() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("result", "came"),
    [
        (3.5, "3.5 (float) came"),
        (None, "None (NoneType) came"),
        ("ab", "'ab' (str) came"),
        ((1, 2, 3), "a tuple of length 3 came"),
        ([1], "a list of length 1 came"),
        (np.zeros(3), "a ndarray of length 3 came"),
        (np.float64(3), "3.0"),
        ({"a": 1}, "a dict with the keys ['a'] came"),
        ({"a": 1, "b": 2, "c": 3}, "a dict with the keys ['a', 'b', 'c'] came"),
        (xr.Dataset({"a": 1, "b": 2}), "a Dataset came"),
    ],
)
def test_a_result_that_does_not_fit_costs_only_its_case(result, came):
    """The message says what was declared and what came; the neighbours are kept."""
    payloads, failures = encode_results(
        [10, 11, 12], [0.1, 0.2, 0.3], [(1, 2), result, (3, 4)], ("a", "b")
    )

    ((offset, error),) = failures
    assert offset == 11
    assert isinstance(error, ResultError)
    assert came in str(error)
    assert "2 outputs were declared, ['a', 'b']" in str(error)
    (payload,) = payloads
    chunk = decode_results(b"".join(payload))
    assert chunk.offsets.tolist() == [10, 12]
    assert chunk.seconds.tolist() == [0.1, 0.3]
    assert chunk.columns["b"].values() == [2, 4]


@pytest.mark.parametrize("names", [None, ("a",)])
def test_a_result_that_cannot_be_pickled_costs_only_its_case(names):
    """Each is named by its offset and its type."""
    results = [1.0, threading.Lock(), "text", threading.Lock()]
    payloads, failures = encode_results([3, 4, 5, 6], [0.0] * 4, results, names)

    assert [offset for offset, _ in failures] == [4, 6]
    assert all("type lock cannot be pickled" in str(error) for _, error in failures)
    (payload,) = payloads
    chunk = decode_results(b"".join(payload))
    assert chunk.offsets.tolist() == [3, 5]
    assert next(iter(chunk.columns.values())).values() == [1.0, "text"]


def test_if_nothing_can_be_pickled_there_is_no_payload():
    """And each case has its error."""
    payloads, failures = encode_results([0, 1], [0.0] * 2, [threading.Lock()] * 2, None)
    assert payloads == []
    assert [offset for offset, _ in failures] == [0, 1]


def test_a_case_that_fails_in_two_outputs_fails_once():
    """And takes no neighbour along."""
    results = [(1, 2), (threading.Lock(), threading.Lock()), (3, 4)]
    payloads, failures = encode_results(range(3), [0.0] * 3, results, ("a", "b"))
    assert [offset for offset, _ in failures] == [1]
    assert decode_results(b"".join(payloads[0])).columns["a"].values() == [1, 3]


# -- undeclared names -----------------------------------------------------------------


def test_dicts_make_named_columns_and_what_differs_another_chunk():
    """Cases of one make stand together, whatever lies between them."""
    results = [{"a": 1, "b": "x"}, 5, {"a": 2, "b": "y"}, {"c": 1.0}, 6, {}, {1: 2}]
    chunks = encode(results)

    assert [(c.schema.kind, c.offsets.tolist()) for c in chunks] == [
        ("dict", [0, 2]),
        ("value", [1, 4, 6]),
        ("dict", [3]),
        ("dict", [5]),
    ]
    assert {n: c.values() for n, c in chunks[0].columns.items()} == {"a": [1, 2], "b": ["x", "y"]}
    assert chunks[1].columns[""].values() == [5, 6, {1: 2}]
    assert chunks[3].columns == {}


def test_dicts_of_other_types_are_named_columns_or_kept_whole():
    """An OrderedDict is its items; a class of the user's own may be more than that."""

    class Fit(dict[str, Any]):
        pass

    fit = Fit(x=1.0)
    assert only([OrderedDict(a=1)]).columns["a"].values() == [1]
    (found,) = only([fit]).columns[""].values()
    assert found == fit
    assert type(found).__name__ == "Fit"


def test_values_in_undeclared_dicts_are_promoted_but_lists_stay_lists():
    """A named column becomes a variable; a list in it is the user's own."""
    chunk = only([{"a": 1, "b": [1]}, {"a": 0.5, "b": [2]}])
    assert chunk.columns["a"].data.tolist() == [1.0, 0.5]
    assert chunk.columns["b"].values() == [[1], [2]]


# -- xarray ---------------------------------------------------------------------------


def rebuild(chunk: Chunk, case: int) -> Any:
    """The xarray object of one case, from the chunk alone."""
    schema = chunk.schema

    def variable(name: str, dims: tuple[str, ...], value: Any) -> xr.Variable:
        return xr.Variable(dims, value, dict(schema.var_attrs.get(name, {})))

    coords = {name: variable(name, c.dims, c.labels) for name, c in schema.coords.items()}
    data = {
        name: variable(name, schema.dims[name], column.values()[case])
        for name, column in chunk.columns.items()
    }
    if schema.kind == "dataset":
        return xr.Dataset(data, coords, dict(schema.attrs))
    (values,) = data.values()
    return xr.DataArray(values, coords, name=schema.name, attrs=dict(schema.attrs))


def dataset(scale: float, **attrs: Any) -> xr.Dataset:
    return xr.Dataset(
        {
            "flux": (("obs", "wl"), scale * np.ones((2, 3)), {"units": "Jy"}),
            "n": ((), 3),
            "note": ((), "ok"),
        },
        {
            "wl": ("wl", np.array([1.0, 2.0, 3.0]), {"units": "um", "range": np.array([1, 3])}),
            "day": ("obs", np.array(["2020-01-01", "2020-01-02"], "M8[ns]")),
            "site": "here",
        },
        attrs,
    )


def test_datasets_come_back_with_all_that_labels_them():
    """One chunk for all cases whose labels are alike."""
    attrs = {"a": 1, "b": None, "c": [1, "x"], "d": (1, 2), "e": np.float32(2), "f": {"g": 1}}
    given_ = [dataset(1.0, **attrs), dataset(2.0, **attrs)]

    chunk = only(given_)

    assert chunk.schema.kind == "dataset"
    assert chunk.columns["flux"].kind == chunk.columns["n"].kind == "array"
    for case, expected in enumerate(given_):
        found = rebuild(chunk, case)
        xr.testing.assert_identical(found, expected)
        assert {k: type(v) for k, v in found.attrs.items()} == {
            k: type(v) for k, v in attrs.items()
        }


@pytest.mark.parametrize("name", ["flux", None])
def test_data_arrays_come_back_with_their_name(name):
    """Also without one."""
    given_ = dataset(1.5)["flux"].rename(name)
    chunk = only([given_])
    assert chunk.schema.kind == "dataarray"
    xr.testing.assert_identical(rebuild(chunk, 0), given_)


def test_datasets_of_other_labels_stand_in_other_chunks():
    """Nothing is labelled with its neighbour's labels."""
    shifted = dataset(1.0).assign_coords(wl=[1.0, 2.0, 4.0])
    given_ = [dataset(1.0), shifted, dataset(2.0), dataset(1.0, a=1)]
    chunks = encode(given_)
    assert [c.offsets.tolist() for c in chunks] == [[0, 2], [1], [3]]
    for chunk in chunks:
        for case, offset in enumerate(chunk.offsets):
            xr.testing.assert_identical(rebuild(chunk, case), given_[offset])


@pytest.mark.parametrize(
    "result",
    [
        dataset(1.0).stack(both=("obs", "wl")),
        xr.Dataset({1: ("x", [1])}),
        xr.DataArray([1, 2], dims="x", name=5),
        xr.Dataset({"v": ("x", [1])}, attrs={3: 4}),
        dataset(1.0).drop_indexes("wl"),
    ],
)
def test_datasets_that_columns_cannot_express_are_kept_whole(result):
    """A MultiIndex, names that are no text, a coordinate without its index."""
    chunk = only([result])
    assert chunk.schema.kind == "value"
    (found,) = chunk.columns[""].values()
    assert result.identical(found)


def test_a_dataset_that_cannot_be_computed_or_kept_costs_only_its_case():
    """An attribute that cannot be pickled; an array that fails when it is looked at."""

    class Broken:
        shape, dtype, ndim = (2,), np.dtype("f8"), 1

        def __array_function__(self, *args: Any) -> Any:
            raise RuntimeError("lost")

        def __array_ufunc__(self, *args: Any) -> Any:
            raise RuntimeError("lost")

        def __array__(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("lost")

    broken = xr.Dataset({"v": xr.Variable("x", Broken(), fastpath=True)})
    results = [dataset(1.0), dataset(1.0, lock=threading.Lock()), broken]
    payloads, failures = encode_results(range(3), [0.0] * 3, results, None)
    assert [offset for offset, _ in failures] == [1, 2]
    assert "lost" in str(failures[1][1])
    assert decode_results(b"".join(payloads[0])).offsets.tolist() == [0]


def test_attributes_of_one_chunk_do_not_leak_into_another():
    """What a reader does with a list is its own affair."""
    first = only([dataset(1.0, a=[1])])
    first.schema.attrs["a"].append(2)
    assert only([dataset(1.0, a=[1])]).schema.attrs["a"] == [1]


# -- safety ---------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("was unpickled",))


def test_reading_unpickles_nothing_until_values_are_asked_for(monkeypatch):
    """Numbers beside it are read without pickle."""
    payloads, _ = encode_results([0], [0.0], [(1.5, Bomb())], ("a", "b"))
    labelled, _ = encode_results([0], [0.0], [dataset(1.0, bomb=Bomb())], None)

    chunk = decode_results(b"".join(payloads[0]))
    monkeypatch.setattr(pickle, "loads", lambda *a: pytest.fail("was unpickled"))

    assert chunk.columns["a"].values() == [1.5]
    found = decode_results(b"".join(labelled[0]))
    assert found.columns["flux"].values()[0].shape == (2, 3)
    assert found.schema.coords["wl"].labels.tolist() == [1.0, 2.0, 3.0]
    assert list(found.schema.attrs) == ["bomb"]
    assert "bomb" in repr(found.schema.attrs)


def test_pickles_of_a_foreign_file_are_not_loaded():
    """Its numbers are."""
    payloads, _ = encode_results([0], [0.0], [(1.5, Bomb())], ("a", "b"))
    chunk = decode_results(b"".join(payloads[0]), foreign="not yours")
    assert chunk.columns["a"].values() == [1.5]
    with pytest.raises(ForeignFileError, match="not yours"):
        chunk.columns["b"].values()


def test_a_local_class_and_a_lambda_are_kept():
    """By cloudpickle, where pickle knows no name."""

    class Local:
        x = 3

    (found,) = column([Local()]).values()
    assert found.x == 3
    assert column([lambda: 7]).values()[0]() == 7


def test_which_cases_are_there_is_known_without_their_values():
    """As a worker that takes up a batch wants it."""
    payloads, _ = encode_results([4, 9], [0.1, 0.2], ["a", "b"], None)
    chunk = decode_results(b"".join(payloads[0]), data=False)
    assert (chunk.offsets.tolist(), chunk.seconds.tolist()) == ([4, 9], [0.1, 0.2])
    assert chunk.columns == {}


RESULTS = [
    ([1.5, 2.5], ("a",)),
    (["x", "yz"], None),
    ([None, [1]], None),
    ([np.zeros(2), np.zeros(3)], ("a",)),
    ([dataset(1.0)], None),
]


@settings(max_examples=300)
@given(st.sampled_from(RESULTS), st.data())
def test_a_payload_that_makes_no_sense_is_damage(example, data):
    """Whatever is in it: one exception, and nothing is unpickled on the way."""
    results, names = example
    payloads, _ = encode_results(range(len(results)), [0.0] * len(results), results, names)
    altered = bytearray(b"".join(payloads[0]))
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(altered)))
    for payload in (altered, altered[:cut]):
        try:
            decode_results(bytes(payload))
        except DamagedError:
            pass


def test_a_column_of_another_cropfit_is_damage():
    """Its name and kind are told."""
    payloads, _ = encode_results([0], [0.0], [1.0], ("a",))
    payload = b"".join(payloads[0]).replace(b'"array"', b'"arrow"')
    with pytest.raises(DamagedError, match="'a' is of kind 'arrow'"):
        decode_results(payload)


def test_the_codec_loads_numpy_and_nothing_heavy():
    """In a fresh process, numbers, text and dicts there and back."""
    code = """
import sys
from cropfit.disk.codec import decode_results, encode_results
for results, names in [([1.0], ("a",)), (["x"], None), ([{"a": 1}], None), ([(1, None)], None)]:
    payloads, _ = encode_results([0], [0.0], results, names)
    [c.values() for c in decode_results(b"".join(payloads[0])).columns.values()]
heavy = {"xarray", "pandas", "cloudpickle", "scipy", "joblib", "click", "netCDF4"}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
