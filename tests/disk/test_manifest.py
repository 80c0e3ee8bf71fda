"""What was sown is read as it was sown, by people too, or not at all."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cropfit as cf
from cropfit.axes import Axis
from cropfit.disk.manifest import (
    INLINE,
    axis_from_json,
    axis_to_json,
    read_json,
    read_manifest,
    write_arrays,
    write_manifest,
)
from cropfit.errors import DamagedError, NotFoundError

LABELS = {
    "bools": np.array([True, False]),
    "ints": np.array([-(2**63), 0, 2**63 - 1]),
    "floats": np.array([0.1, 1e-300, -np.inf, 5e-324, 1 / 3]),
    "singles": np.array([0.1, 2.5], np.float32),
    "text": np.array(["NGC 3198", "größe", "", "\ud800"]),
    "dates": np.array(["2020-01-01T12:30", "1900-01-01"], "datetime64[ns]"),
    "spans": np.array([1, -5], "timedelta64[ms]"),
    "complex": np.array([1 + 2j, 1 / 3 - 1j]),
    "long": np.arange(INLINE + 1) / 7,
}


def function(**arguments):
    return 0.0


def sow(folder: Path, combos, **options) -> str:
    """A crop of `combos`; returns its folder."""
    crop = cf.Crop(function, "m", parent_dir=folder, verbosity=0, var_names="y", **options)
    crop.sow_combos(combos)
    return crop.location


def contents(root: str) -> list[list]:
    """Everything that a worker or a reaper takes from a manifest, as plain values."""
    manifest = read_manifest(root)
    told = [manifest.name, manifest.num_cases, manifest.num_batches, manifest.data["seed"]]
    for batch in range(1, manifest.num_batches + 1):
        sown, flat = manifest.cases_of(batch)
        told.append([batch, manifest.design(batch), flat.tolist(), list(sown.grid.rows(flat))])
    outputs = manifest.outputs
    coords = {name: c.values.tolist() for name, c in outputs.var_coords.items()}
    return [told, [outputs.var_names, outputs.var_dims, coords, outputs.attrs]]


@pytest.mark.parametrize("kind", LABELS)
def test_an_axis_comes_back_bit_by_bit(kind):
    """Through text, as `crop.json` is."""
    labels = LABELS[kind]
    arrays = {}
    axis = Axis("x", labels, attrs={"units": "m", "valid": (0, np.inf)}, scalar="numpy")

    stored = json.loads(json.dumps(axis_to_json(axis, arrays)))
    found = axis_from_json(stored, arrays)

    assert found.labels.dtype == labels.dtype
    assert found.labels.tobytes() == labels.tobytes()
    assert (found.name, found.attrs, found.scalar, found.kind, found.values) == (
        "x",
        {"units": "m", "valid": (0, np.inf)},
        "numpy",
        "plain",
        None,
    )
    assert bool(arrays) is (kind in ("complex", "long"))


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_every_float_comes_back_exactly(values):
    labels = np.array(values)

    found = axis_from_json(json.loads(json.dumps(axis_to_json(Axis("x", labels), {}))), {})

    assert found.labels.tobytes() == labels.tobytes()


def test_a_list_of_int_and_float_reaches_the_function_as_it_was_typed():
    axis = Axis("x", np.array([1.0, 2.5]), values=(1, 2.5))

    found = axis_from_json(json.loads(json.dumps(axis_to_json(axis))))

    assert [(v, type(v)) for v in found.values or ()] == [(1, int), (2.5, float)]


def test_a_crop_is_read_as_it_was_sown(tmp_path):
    """Zips, objects, shuffled orders and inner coordinates."""
    thing = {"a": [1, 2], "b": None}
    root = sow(
        tmp_path,
        {"t": [0.5, 1.5], ("i", "j"): [(1, "x"), (2, "y"), (3, "x")], "thing": thing},
        batchsize=5,
        shuffle=3,
        var_dims={"y": ["w"]},
        var_coords={"w": [0.1, 0.2]},
        attrs={"title": "test"},
    )

    manifest = read_manifest(root)
    readers = manifest.readers(0)
    found = []
    for batch in range(1, manifest.num_batches + 1):
        sown, flat = manifest.cases_of(batch)
        found += list(sown.grid.rows(flat, readers))

    expected = [
        {"t": t, "i": i, "j": j, "thing": each}
        for t in (0.5, 1.5)
        for i, j in ((1, "x"), (2, "y"), (3, "x"))
        for each in thing.values()
    ]
    assert len(found) == manifest.num_cases == 12
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert found != expected
    assert [manifest.size_of(batch) for batch in (1, 2, 3)] == [5, 5, 2]
    assert manifest.outputs.var_coords["w"].values.tolist() == [0.1, 0.2]
    assert manifest.outputs.attrs == {"title": "test"}
    assert "thing" in manifest.ends[0]


def test_appended_cases_are_numbered_on(tmp_path):
    crop = cf.Crop(function, "m", parent_dir=tmp_path, verbosity=0, var_names="y", batchsize=2)
    crop.sow_combos({"x": [1, 2, 3]})
    crop.sow_combos({"x": [3, 4, 5]}, exists="append")

    manifest = read_manifest(crop.location)

    assert [manifest.sowing_of(batch) for batch in (1, 2, 3)] == [0, 0, 1]
    assert manifest.sowings[1].first_case == 3
    assert [list(s.grid.rows(f)) for s, f in [manifest.cases_of(3)]] == [[{"x": 4}, {"x": 5}]]
    assert manifest.design(1) != manifest.design(3)
    with pytest.raises(NotFoundError, match="numbered 1 to 3"):
        manifest.design(4)
    with pytest.raises(NotFoundError, match="has no batch 0"):
        manifest.sowing_of(0)


def test_a_person_can_read_it(tmp_path):
    root = sow(tmp_path, {"größe": [1.5, 2.5]})

    text = Path(root, "crop.json").read_text(encoding="utf-8")

    assert '"größe"' in text
    assert '"format": 1' in text
    assert len(text.splitlines()) > 20
    assert "cases-1.npz" not in os.listdir(root)


# -- damage ----------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    """A crop with arrays beside its crop.json."""
    return sow(tmp_path, {"x": range(4)}, batchsize=2, shuffle=1)


@pytest.mark.parametrize("name", ["crop.json", "cases-1.npz"])
def test_a_flip_anywhere_is_found_or_changes_nothing(root, name):
    """In every byte, each time another bit."""
    path = Path(root, name)
    content, meant = path.read_bytes(), contents(root)
    caught = 0
    for at in range(len(content)):
        altered = bytearray(content)
        altered[at] ^= 1 << at % 8
        path.write_bytes(altered)
        try:
            found = contents(root)
        except DamagedError as error:
            caught += 1
            told = str(error)
        else:
            assert found == meant, f"byte {at}"
            continue
        assert name in told or "format" in told

    assert caught > (0.9 if name == "crop.json" else 0.3) * len(content)


@pytest.mark.parametrize("name", ["crop.json", "cases-1.npz"])
def test_a_file_that_ends_anywhere_is_damaged(root, name):
    path = Path(root, name)
    content = path.read_bytes()
    for length in range(0, len(content) - 1, 3):  # the last byte of crop.json ends the line
        path.write_bytes(content[:length])
        with pytest.raises(DamagedError):
            read_manifest(root)


def test_a_crop_that_is_not_there_is_not_found(tmp_path):
    (tmp_path / "file").touch()
    for folder in ("nowhere", "file"):
        with pytest.raises(NotFoundError, match="There is no crop"):
            read_manifest(str(tmp_path / folder))


def test_arrays_that_are_missing_are_damage(root):
    os.unlink(f"{root}/cases-1.npz")

    assert read_json(root)["name"] == "m"
    with pytest.raises(DamagedError, match=r"cases-1\.npz"):
        read_manifest(root)


@pytest.mark.parametrize("text", ["[]", "null", "3", '{"format": 2}', "{}", "\xff"])
def test_json_that_is_no_crop_is_damage(root, text):
    Path(root, "crop.json").write_text(text, encoding="latin-1")

    with pytest.raises(DamagedError):
        read_manifest(root)


def test_a_later_format_says_which_cropfit_wrote_it(root):
    data = read_json(root)
    data["format"] = 2
    data["provenance"]["cropfit"] = "9.0"
    write_manifest(read_manifest(root).layout, data, "host.1.0-0-0")

    with pytest.raises(DamagedError, match=r"format 2; this cropfit reads format 1.*cropfit 9\.0"):
        read_manifest(root)


def test_arrays_are_written_once_and_without_pickles(tmp_path):
    path = str(tmp_path / "cases.npz")
    write_arrays(path, {})
    assert os.listdir(tmp_path) == []

    write_arrays(path, {"a": np.arange(3)})

    with pytest.raises(FileExistsError):
        write_arrays(path, {"a": np.arange(3)})
    with pytest.raises(ValueError, match="pickle"):
        write_arrays(str(tmp_path / "other.npz"), {"a": np.array([datetime.now(), "x"], object)})
