"""The file of a Harvester: appended to, replaced, killed at any operation, read by others."""

from __future__ import annotations

import ast
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from faults.harness import UNHARMED, forked
from steps import start, tree

import cropfit as cf
from cropfit.disk.ncwriter import boxes
from cropfit.disk.netcdf import load_dataset
from cropfit.farming.store import Store

FILES = ["s.nc", pytest.param("s.zarr", marks=pytest.mark.needs("zarr"))]


def block(a: Any, b: Any = (0, 1), scale: float = 1.0) -> xr.Dataset:
    a, b = np.atleast_1d(a), np.atleast_1d(b)
    values = scale * (10.0 * a[:, None] + b)
    return xr.Dataset({"z": (("a", "b"), values), "c": ("b", 2 * b)}, {"a": a, "b": b})


def check(ds: Any, a: list[int], b: tuple[int, ...] = (0, 1)) -> None:
    xr.testing.assert_identical(ds.load(), block(np.array(a), np.array(b)))


# -- appending -------------------------------------------------------------------------

TYPES = {
    "int": np.array([1, -2, 3]),
    "large int": np.array([2**60 + 1, -(2**62), 2**63 - 1]),
    "uint8": np.array([1, 2, 255], np.uint8),
    "bool": np.array([True, False, True]),
    "float32": np.array([1.5, np.nan, -0.0], np.float32),
    "complex": np.array([1j, 2, np.nan]),
    "text": np.array(["a", "", "long ü"], object),
    "short text": np.array(["aa", "bb", "cc"]),
    "dates": np.array(["2020-01-01", "2021-01-01", "NaT"], "M8[s]"),
    "spans": np.array([1, 2, 3], "m8[ns]"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_type_is_appended_bit_by_bit(here: Path, name: str) -> None:
    def part(k: int) -> xr.Dataset:
        each = {key: (("x", "one"), values[k : k + 1, None]) for key, values in TYPES.items()}
        return xr.Dataset(each, {"x": [k / 10], "one": ["o"]}, {"n": 1})

    store = Store(name)
    whole = [store.add(part(k)) is not None for k in range(3)]
    ds = store.load()

    assert whole == [True, True, False]  # written, stored so that it can grow, appended
    assert ds is not None
    for key, values in TYPES.items():
        assert ds[key].dtype == values.dtype, key
        assert ds[key].values.tobytes() == values[:, None].tobytes() or values.dtype == object
        np.testing.assert_array_equal(ds[key].values, values[:, None])
    assert ds["x"].values.tolist() == [0.0, 0.1, 0.2]
    assert ds.attrs == {"n": 1}
    assert os.listdir(here) == [name]


@pytest.mark.parametrize("name", FILES)
def test_a_file_grows_along_one_dimension_after_the_other(here: Path, name: str) -> None:
    def piece(a: list[int], b: list[int]) -> xr.Dataset:
        return xr.Dataset({"z": (("a", "b"), np.add.outer(a, b))}, {"a": a, "b": b})

    store = Store(name)
    parts = [
        ([1], [1]),
        ([2], [1]),
        ([3], [1]),
        ([1, 2, 3], [5]),
        ([1, 2, 3], [6]),
        ([4], [1, 5, 6]),
    ]
    read = [store.add(piece(*part)) is not None for part in parts]

    assert read == [True, True, False, True, False, False]
    xr.testing.assert_identical(store.load(), piece([1, 2, 3, 4], [1, 5, 6]))
    with xr.open_dataset(name) as plain:
        assert plain["z"].sel(a=4, b=6) == 10


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "other",
    [
        block([0]),
        block([3], (1, 0)),
        block([3], (0, 1, 2)),
        block([3]).assign(y=1),
        block([3]).drop_vars("c"),
        block([3]).assign_attrs(new=1),
        block([2, 3]),
    ],
    ids=["before", "order", "wider", "more", "less", "attributes", "overlap"],
)
def test_what_is_not_just_behind_is_merged(here: Path, name: str, other: xr.Dataset) -> None:
    store = Store(name)
    store.add(block([1]))
    store.add(block([2]))
    before = store.load()
    assert before is not None

    merged = store.add(other)

    assert merged is not None
    xr.testing.assert_identical(store.load(), merged)
    assert {1, 2} <= set(merged["a"].values.tolist())


@pytest.mark.needs("zarr")
def test_what_is_constant_along_what_grows_must_be_the_same(here: Path) -> None:
    store = Store("s.zarr")
    store.add(block([1]))
    store.add(block([2]))
    with pytest.raises(cf.ConflictError, match="'c'"):
        store.add(block([3]).assign(c=("b", [7, 7])))

    check(store.load(), [1, 2])


# -- kills -----------------------------------------------------------------------------

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}


def killed_at_every_change(field: Path, act: Callable[[], Any], after: Callable[[], Any]) -> int:
    """Run `act` in a fork that is killed before its first, second, ... change below `field`."""
    saved = {path: path.read_bytes() for path in field.rglob("*") if path.is_file()}
    top = os.fspath(field)

    def harmed(at: int) -> None:
        count = 0

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal count
            if event not in EVENTS or not str(args[0]).startswith(top):
                return
            if event == "open" and not (args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        act()
        os._exit(UNHARMED)

    for at in itertools.count(1):
        for path in sorted(field.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for path, data in saved.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        ended = forked(lambda at=at: harmed(at), field.with_name("child"))
        if ended.code == UNHARMED:
            return at - 1
        assert ended.killed, ended
        done = forked(after, field.with_name("check"))
        assert done.code == 0, f"killed before change {at}: {done.said}"
    raise AssertionError("no end")


def row(a: Any) -> xr.Dataset:
    return xr.Dataset({"z": ("a", 10.0 * np.asarray(a))}, {"a": a})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("added", [3, 0], ids=["append", "rewrite"])
def test_a_kill_at_any_change_leaves_the_old_or_the_new_and_the_next_add_tidies_up(
    tmp_path: Path, name: str, added: int
) -> None:
    field = tmp_path / "field"
    field.mkdir()
    path = str(field / name)
    Store(path).add(row([1]))
    Store(path).add(row([2]))
    with_it = sorted([1, 2, added])

    def after() -> None:
        with xr.open_dataset(path) as plain:  # whoever knows nothing of us
            assert plain["a"].values.tolist() in ([1, 2], with_it)
            plain.load()
        found = Store(path).load()
        assert found is not None
        xr.testing.assert_identical(found, row(found["a"].values))
        Store(path).add(row([added]))
        xr.testing.assert_identical(Store(path).load(), row(with_it))
        assert [each for each in tree(field) if "/" not in each] == [name]
        assert [each for each in tree(field) if each.endswith((".partial", ".draft"))] == []

    assert killed_at_every_change(field, lambda: Store(path).add(row([added])), after) > 5


@pytest.mark.parametrize("swaps", [True, False], ids=["exchange", "two renames"])
@pytest.mark.needs("zarr")
def test_a_store_that_was_put_aside_is_brought_back_and_never_a_half_deleted_one(
    here: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    if not swaps:
        monkeypatch.setattr("cropfit.disk.netcdf.exchange", lambda one, other: False)
    store = Store("s.zarr")
    store.add(block([2]))
    store.add(block([1]))
    check(store.load(), [1, 2])
    assert os.listdir(here) == ["s.zarr"]
    os.rename("s.zarr", ".s.zarr.elsewhere.7.00000000-1-00000000.old.draft")

    check(Store("s.zarr").load(), [1, 2])
    store.delete()
    assert store.load() is None
    assert os.listdir(here) == []


# -- others ----------------------------------------------------------------------------

_TESTS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
PATHS = {"PYTHONPATH": os.pathsep.join([*_TESTS, os.environ.get("PYTHONPATH", "")])}
REWRITE = """
import sys
from test_store import Store, block
for scale in range(2, 12):
    Store(sys.argv[1]).save(block([1, 2, 3], scale=scale))
"""


@pytest.mark.parametrize("name", FILES)
def test_a_reader_sees_one_version_or_the_other_while_it_is_replaced(here: Path, name: str) -> None:
    store = Store(name)
    store.save(block([1, 2, 3]))
    writer = start(REWRITE, name, env={**os.environ, **PATHS})
    looks = 0
    while writer.poll() is None or not looks:
        ds = store.load()
        assert ds is not None
        scale = ds["z"].values[0, 0] / 10
        xr.testing.assert_identical(ds, block([1, 2, 3], scale=scale))
        looks += 1
    assert writer.communicate()[0] == ""


def test_a_writer_that_lost_the_lock_while_it_stood_still_writes_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store("s.nc")
    store.add(block([2]))

    def robbed(*args: Any, **options: Any) -> Any:
        for holder in os.listdir(".s.nc.lock"):
            os.rename(f".s.nc.lock/{holder}", ".s.nc.lock/elsewhere.7.00000000-1-00000000")
        return boxes(*args, **options)

    monkeypatch.setattr("cropfit.disk.netcdf.boxes", robbed)  # while its draft is written
    with pytest.raises(cf.CropError, match="another process"):
        store.add(block([1]))

    check(load_dataset("s.nc"), [2])
    assert sorted(os.listdir(here)) == [".s.nc.lock", "s.nc"]
    assert os.listdir(".s.nc.lock") == ["elsewhere.7.00000000-1-00000000"]


@pytest.mark.parametrize("name", FILES)
def test_behind_a_link_the_file_that_it_points_to_is_replaced(here: Path, name: str) -> None:
    (here / "large").mkdir()
    os.symlink(f"large/{name}", name)
    store = Store(name)
    for a in (1, 2, 3):
        store.add(block([a]))

    check(store.load(), [1, 2, 3])
    assert os.path.islink(name)
    assert os.listdir("large") == [name]


def test_the_first_add_to_a_store_of_another_make_writes_one_of_ours(here: Path) -> None:
    block([1]).to_netcdf("s.nc")
    store = Store("s.nc")
    store.add(block([2]))
    store.add(block([3]))

    check(store.load(), [1, 2, 3])


def test_datasets_are_saved_merged_loaded_and_trimmed_without_a_function(here: Path) -> None:
    cf.save_ds(block([1]), "s.nc")
    cf.save_merge_ds(block([2]), "s.nc")
    with pytest.raises(cf.ConflictError):
        cf.save_merge_ds(block([2], scale=2), "s.nc")
    check(cf.load_ds("s.nc"), [1, 2])
    with pytest.raises(cf.NotFoundError, match="other"):
        cf.load_ds("other.nc")

    wide = block([1, 2]).reindex(a=[1, 2, 3])[["z"]]
    assert cf.trimna(wide)["a"].values.tolist() == [1, 2]


def test_how_close_float_coordinates_are_one_is_the_users_choice(here: Path) -> None:
    runner = cf.Runner(lambda x: 2 * x, "y")
    near = cf.Harvester(runner, "s.nc", rtol=1e-3)
    near.harvest_combos({"x": [1.0]})
    near.harvest_combos({"x": [1.0001]}, overwrite=False)
    near.Crop("later", verbosity=0).sow_combos({"x": [2.0]})

    assert near.full_ds is not None
    assert near.full_ds["x"].values.tolist() == [1.0]
    assert near.harvest_combos({"x": [0.9999]}, missing_only=True) is None
    assert cf.Crop.load("later", verbosity=0).farmer.rtol == 1e-3
    cf.Harvester(runner, "s.nc").harvest_combos({"x": [1.0001]})
    assert cf.load_ds("s.nc").sizes["x"] == 2


FILL = """
import os, sys
os.chdir(sys.argv[1])
from test_store import Store, long_row
store = Store(sys.argv[2])
added = []
try:
    for a in range(1000):
        store.add(long_row(a))
        added.append(a)
except OSError as error:
    print(error)
import xarray as xr
xr.testing.assert_identical(store.load(), xr.concat(map(long_row, added), "a"))
print(len(added), os.listdir("."))
os.truncate("ballast", 0)
store.add(long_row(len(added)))
xr.testing.assert_identical(store.load(), xr.concat(map(long_row, [*added, len(added)]), "a"))
print("and on", os.listdir("."))
"""


def long_row(a: int) -> xr.Dataset:
    values = np.random.default_rng(a).random((1, 5000))
    return xr.Dataset({"z": (("a", "t"), values)}, {"a": [a]})


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("name", FILES)
def test_a_disk_that_fills_while_it_is_appended_to_loses_nothing(here: Path, name: str) -> None:
    ballast = 'head -c 1000000 /dev/zero > "$0/ballast"'
    mounted = f'mount -t tmpfs -o size=1900k tmpfs "$0" && {ballast} && exec "$@"'
    unshare = ["unshare", "--mount", "sh", "-c"]
    done = subprocess.run(
        [*unshare, mounted, str(here), sys.executable, "-c", FILL, str(here), name],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **PATHS},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    full, *_, rest, later = done.stdout.splitlines()
    assert "full" in full or "space" in full or "written" in full
    number, left = rest.split(" ", 1)
    assert int(number) > 3
    assert sorted(ast.literal_eval(left)) == sorted([name, "ballast"])
    assert later.startswith("and on")


@pytest.mark.parametrize("name", FILES)
def test_what_is_appended_stands_for_missing_as_what_is_there(here: Path, name: str) -> None:
    def filled(a: int, value: int, fill: int) -> xr.Dataset:
        return xr.Dataset({"z": ("a", [value], {"cropfit_fill_value": fill})}, {"a": [a]})

    store = Store(name)
    for a, value, fill in [(1, 5, -1), (2, -1, -1), (3, 7, -1), (4, -9, -9)]:
        store.add(filled(a, value, fill))

    assert cf.load_ds(name)["z"].values.tolist() == [5, -1, 7, -1]
