"""The Harvester: results of many runs, crops and processes in one file."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from faults.harness import UNHARMED, Injector, forked
from steps import Tally, python, start, tree

import cropfit as cf

FILES = ["h.nc", pytest.param("h.zarr", marks=pytest.mark.needs("zarr")), "h.dmp"]
_TESTS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
PATHS = {"PYTHONPATH": os.pathsep.join([*_TESTS, os.environ.get("PYTHONPATH", "")])}


def both(a: int, b: float) -> tuple[int, Any, str]:
    return a, np.array([a + b, a - b]), f"{a}:{b}"


def harvester(path: str | None, fn: Any = both) -> cf.Harvester:
    runner = cf.Runner(
        fn,
        ["z", "arr", "name"],
        var_dims={"arr": ["sign"]},
        var_coords={"sign": ["+", "-"]},
        var_attrs={"z": {"units": "m"}},
    )
    return cf.Harvester(runner, path)


def check_values(ds: xr.Dataset) -> None:
    for a in ds["a"].values.tolist():
        for b in ds["b"].values.tolist():
            each = ds.sel(a=a, b=b)
            assert each["z"] == a
            assert each["arr"].values.tolist() == [a + b, a - b]
            assert each["name"].item() == f"{a}:{b}"


@pytest.mark.parametrize("name", FILES)
def test_what_is_harvested_is_in_the_file_with_types_and_units(here: Path, name: str) -> None:
    first = harvester(name)
    assert first.full_ds is None
    first.harvest_combos({"a": [1, 2], "b": [0.5]})
    first.harvest_combos({"a": [3], "b": [0.5]})
    first.harvest_combos({"a": ..., "b": [1.5, 2.5]})

    ds = harvester(name).full_ds
    assert dict(ds.sizes) == {"a": 3, "b": 3, "sign": 2}
    assert ds["z"].dtype == np.int64
    assert ds["z"].attrs["units"] == "m"
    check_values(ds)
    xr.testing.assert_identical(ds, first.load_full_ds())
    assert tree(here)[0] == name
    if name != "h.dmp":
        with xr.open_dataset(name) as plain:
            assert plain["z"].sel(a=3, b=2.5) == 3


def test_only_what_the_file_lacks_is_computed(here: Path) -> None:
    tally = Tally(here / "calls")

    def counted(a: int, b: float) -> Any:
        tally.add(f"{a} {b}")
        return both(a, b)

    grown = harvester("h.nc", counted)
    grown.harvest_combos({"a": [1, 2], "b": [0.1 + 0.2]})
    grown.harvest_combos({"a": [1, 2, 3], "b": [0.3, 0.4]}, missing_only=True)

    assert len(tally.all()) == 6
    assert grown.full_ds.sizes["b"] == 2
    assert (
        harvester("h.nc", counted).harvest_combos({"a": [1, 3], "b": [0.3]}, missing_only=True)
        is None
    )
    assert len(tally.all()) == 6


def test_other_values_are_refused_before_anything_is_written(here: Path) -> None:
    grown = harvester("h.nc")
    grown.harvest_combos({"a": [1, 2], "b": [0.5]})
    before = Path("h.nc").read_bytes()
    other = harvester("h.nc", lambda a, b: (a + (a == 2), np.array([a + b, a - b]), f"{a}:{b}"))
    with pytest.raises(cf.ConflictError, match=r"'z': 1 \(a=2, b=0.5: 2 there, 3 new\)"):
        other.harvest_combos({"a": [2, 3], "b": [0.5]})
    assert Path("h.nc").read_bytes() == before

    other.harvest_combos({"a": [2, 3], "b": [0.5]}, overwrite=False)
    assert harvester("h.nc").full_ds["z"].values.ravel().tolist() == [1, 2, 3]
    other.harvest_combos({"a": [2, 3], "b": [0.5]}, overwrite=True)
    assert harvester("h.nc").full_ds["z"].values.ravel().tolist() == [1, 3, 3]


def test_what_is_not_synced_goes_with_the_next_that_is(here: Path) -> None:
    grown = harvester("h.nc")
    grown.harvest_combos({"a": [1], "b": [0.5]}, sync=False)
    assert not Path("h.nc").exists()
    assert grown.full_ds.sizes["a"] == 1
    grown.harvest_combos({"a": [2], "b": [0.5]})

    check_values(harvester("h.nc").full_ds)
    assert harvester("h.nc").full_ds.sizes["a"] == 2


@pytest.mark.needs("zarr")
def test_dimensions_and_coordinates_come_and_go(here: Path) -> None:
    grown = harvester("h.zarr")
    grown.harvest_combos({"a": [1, 2], "b": [0.5]})
    grown.drop_sel(a=[1])
    grown.expand_dims("model", "disc")
    ds = harvester("h.zarr").full_ds
    assert ds["z"].dims == ("model", "a", "b")
    assert ds["a"].values.tolist() == [2]

    grown.delete_ds(backup=True)
    assert grown.full_ds is None
    assert [name for name in os.listdir(here) if name.startswith("h")] == ["h.zarr.bak"]


def test_unknown_engines_and_files_are_refused(here: Path) -> None:
    runner = cf.Runner(both, ["z", "arr", "name"])
    with pytest.raises(cf.DesignError, match="'hdf'"):
        cf.Harvester(runner, "h.nc", engine="hdf")
    with pytest.raises(cf.DesignError, match=r"\.zarr"):
        cf.Harvester(runner, "h.nc", engine="zarr")
    Path("bad.nc").write_bytes(b"no netCDF")
    with pytest.raises(cf.DamagedError, match=r"bad\.nc"):
        _ = cf.Harvester(runner, "bad.nc").full_ds
    grown = harvester("h.nc")
    grown.harvest_combos({"a": [1], "b": [0.5]})
    with pytest.raises(cf.DesignError, match="no coordinate"):
        grown.harvest_combos({"c": ...})


# -- crops -----------------------------------------------------------------------------


def test_a_crop_reaps_to_its_harvester_in_any_process(here: Path) -> None:
    grown = harvester("data/h.nc") if (here / "data").mkdir() is None else None
    assert grown is not None
    grown.harvest_combos({"a": [1], "b": [0.5]})
    crop = grown.Crop("more", verbosity=0)
    crop.sow_combos({"a": [2, 3], "b": [0.5]})
    assert python("import cropfit; cropfit.Crop.load('more', verbosity=0).grow()") == ""
    told = python("import cropfit; cropfit.Crop.load('more').reap()")

    assert "h.nc" in told
    assert sorted(os.listdir(here)) == ["data"]
    check_values(harvester("data/h.nc").full_ds)
    assert harvester("data/h.nc").full_ds["a"].values.tolist() == [1, 2, 3]


def test_a_conflict_keeps_the_crop_and_the_file(here: Path) -> None:
    harvester("h.nc").harvest_combos({"a": [1, 2], "b": [0.5]})
    other = harvester("h.nc", lambda a, b: (a + 1, np.array([a + b, a - b]), f"{a}:{b}"))
    crop = other.Crop("more", verbosity=0)
    crop.sow_combos({"a": [2, 3], "b": [0.5]})
    crop.grow()
    with pytest.raises(cf.ConflictError, match="a=2"):
        crop.reap()

    assert crop.is_ready_to_reap()
    assert crop.reap(overwrite=True)["z"].values.ravel().tolist() == [3, 4]
    assert harvester("h.nc").full_ds["z"].values.ravel().tolist() == [1, 3, 4]
    assert os.listdir(here) == ["h.nc"]


def test_a_kill_at_every_operation_of_a_reap_adds_the_results_once(tmp_path: Path) -> None:
    field = tmp_path / "field"
    field.mkdir()
    path = str(field / "h.nc")
    grown = harvester(path)
    grown.harvest_combos({"a": [1], "b": [0.5]})
    crop = grown.Crop("it", parent_dir=field, num_batches=2, verbosity=0)
    crop.sow_combos({"a": [2, 3], "b": [0.5]})
    crop.grow()

    def reap() -> None:
        cf.Crop.load(field / ".crop-it", verbosity=0).reap()

    def check(where: str) -> None:
        if (field / ".crop-it").exists():
            reap()
        ds = harvester(path).full_ds
        assert ds["a"].values.tolist() == [1, 2, 3], where
        check_values(ds)

    assert harm_at_every_operation(field, reap, check, "kill") > 10


# -- harm ------------------------------------------------------------------------------


def harm_at_every_operation(top: Path, act: Any, check: Any, harm: str) -> int:
    """Do `act` in a process that is harmed at its first, second, ... file operation."""
    saved = top.with_name("saved")
    shutil.copytree(top, saved)
    for at in range(1, 400):
        shutil.rmtree(top)
        shutil.copytree(saved, top)

        def harmed(at: int = at) -> None:
            with Injector(top, at, harm) as injector:
                act()
                if injector.count < at:
                    os._exit(UNHARMED)

        ended = forked(harmed, top.with_name("child"))
        if ended.code == UNHARMED:
            return at - 1
        where = f"operation {at}: {ended}"
        done = forked(lambda where=where: check(where), top.with_name("check"))
        assert done.code == 0, f"{where}; then {done.said}"
    raise AssertionError("no end of operations")


@pytest.mark.parametrize("name", ["h.nc", "h.dmp"])
def test_a_kill_at_every_operation_of_a_save_leaves_all_or_the_former(
    tmp_path: Path, name: str
) -> None:
    field = tmp_path / "field"
    field.mkdir()
    path = str(field / name)
    harvester(path).harvest_combos({"a": [1, 2], "b": [0.5]})
    more = harvester(None).runner.run_combos({"a": [3], "b": [0.5]})

    def check(where: str) -> None:
        assert harvester(path).full_ds.sizes["a"] in (2, 3), where
        harvester(path).add_ds(more)
        ds = harvester(path).full_ds
        assert ds["a"].values.tolist() == [1, 2, 3], where
        check_values(ds)
        assert tree(field) == [name], where

    assert harm_at_every_operation(field, lambda: harvester(path).add_ds(more), check, "kill") > 5


FILL = """
import os, sys
os.chdir(sys.argv[1])
from test_harvester import harvester
import numpy as np
grown = harvester("h.nc")
grown.harvest_combos({"a": [1], "b": [0.5]})
large = harvester("h.nc", lambda a, b: (a, np.full(2, 1.0), "x" * 400_000))
try:
    large.harvest_combos({"a": [2], "b": [0.5]})
except OSError as error:
    print(error)
print(harvester("h.nc").full_ds["a"].values.tolist(), os.listdir("."))
"""


@pytest.mark.needs("root", "mount")
def test_a_full_disk_loses_nothing_and_leaves_nothing(here: Path) -> None:
    mounted = 'mount -t tmpfs -o size=300k tmpfs "$0" && exec "$@"'
    unshare = ["unshare", "--mount", "sh", "-c"]
    done = subprocess.run(
        [*unshare, mounted, str(here), sys.executable, "-c", FILL, str(here)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **PATHS},
        check=True,
    )
    told, _, rest = done.stdout.rstrip().rpartition("\n")
    assert "full" in told or "space" in told
    assert rest == "[1] ['h.nc']"


HARVEST = """
import os, sys
os.chdir(sys.argv[1])
from test_harvester import harvester
grown = harvester(sys.argv[2])
for a in map(int, sys.argv[3:]):
    grown.harvest_combos({"a": [a], "b": [0.5, 1.5]}, overwrite=False)
    print(a, flush=True)
"""


@pytest.mark.parametrize("name", FILES)
def test_processes_that_harvest_into_one_file_at_once_lose_nothing(here: Path, name: str) -> None:
    numbers = list(range(24))
    processes = [
        start(HARVEST, str(here), name, *map(str, numbers[k::4]), env={**os.environ, **PATHS})
        for k in range(4)
    ]
    for process in processes:
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0, out

    ds = harvester(name).full_ds
    assert sorted(ds["a"].values.tolist()) == numbers
    check_values(ds)
    assert os.listdir(here) == [name]


@pytest.mark.parametrize("name", FILES[:2])
def test_a_harvest_that_is_killed_again_and_again_keeps_what_it_said_and_stays_readable(
    here: Path, name: str
) -> None:
    rng, said = random.Random(3), set()
    while len(said) < 12:
        todo = [str(a) for a in range(12) if a not in said]
        worker = start(HARVEST, str(here), name, *todo, env={**os.environ, **PATHS})
        assert worker.stdout is not None
        for _ in range(rng.randrange(1, 3)):
            line = worker.stdout.readline()
            said |= {int(line)} if line.strip().isdigit() else set()
        try:
            worker.wait(timeout=rng.random() * 0.15)
        except Exception:
            worker.send_signal(signal.SIGKILL)
        rest, _ = worker.communicate()
        assert "Traceback" not in rest, rest
        said |= {int(line) for line in rest.split() if line.isdigit()}
        with xr.open_dataset(name) as plain:
            assert said <= set(plain["a"].values.tolist())
        ds = harvester(name).full_ds
        assert said <= set(ds["a"].values.tolist())
        check_values(ds)

    assert [each for each in os.listdir(here) if not each.startswith(".")] == [name]


@pytest.mark.needs("zarr")
def test_an_append_to_a_store_that_was_killed_before_its_commit_is_as_if_it_had_not_been(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown = harvester("h.zarr")
    grown.harvest_combos({"a": [1], "b": [0.5]})
    grown.harvest_combos({"a": [2], "b": [0.5]})
    with monkeypatch.context() as broken:
        broken.setattr("cropfit.farming.zarrappend.write_whole", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            grown.harvest_combos({"a": [3], "b": [0.5]})
    with xr.open_dataset("h.zarr") as plain:
        assert plain["a"].values.tolist() == [1, 2]
    check_values(harvester("h.zarr").full_ds)

    harvester("h.zarr").harvest_combos({"a": [4, 5], "b": [0.5]})
    ds = harvester("h.zarr").full_ds
    assert ds["a"].values.tolist() == [1, 2, 4, 5]
    check_values(ds)


@pytest.mark.needs("zarr")
def test_what_an_append_writes_does_not_grow_with_the_store(here: Path) -> None:
    def written(a: int) -> int:
        before = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
        grown.add_ds(blocks[a])
        files = [path for path in here.rglob("*") if path.is_file()]
        return sum(p.stat().st_size for p in files if before.get(p) != p.stat().st_mtime_ns)

    grown = cf.Harvester(
        cf.Runner(lambda a: np.full(5000, a), "z", var_dims={"z": ["t"]}), "h.zarr"
    )
    blocks = [grown.runner.run_combos({"a": [a]}) for a in range(10, 40)]
    sizes = [written(a) for a in range(30)]

    assert max(sizes[20:]) < 3 * max(sizes[1:5])
    assert harvester("h.zarr").store.load()["z"].isel(t=0).values.tolist() == list(range(10, 40))
