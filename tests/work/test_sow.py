"""Sowing: what appears on disk, what is refused, and what happens where a crop stands already."""

from __future__ import annotations

import functools
import json
import os
import stat
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from steps import Tally, python, start, tree

import cropfit as cf


def crop_of(fn: Any, name: str = "it", **options: Any) -> cf.Crop:
    return cf.Crop(fn, name, verbosity=0, **options)


def add(x: float, y: float = 0.0) -> float:
    return x + y


# -- what is sown reaches the function and the Dataset ---------------------------------


def test_combos_are_combined_and_the_result_is_labelled(here: Path) -> None:
    crop = crop_of(lambda x, y: 10 * x + y, var_names="z")
    crop.sow_combos({"x": [1, 2, 3], "y": range(2)})
    crop.grow()
    ds = crop.reap()

    assert ds.z.dims == ("x", "y")
    assert ds.z.values.tolist() == [[10, 11], [20, 21], [30, 31]]
    assert ds.z.sel(x=2, y=1).item() == 21
    assert tree(here) == ["it.nc"]


def test_cases_times_combos_gives_every_case_every_combination(here: Path) -> None:
    tally = Tally(here / "calls")
    crop = crop_of(lambda **k: (tally.add(json.dumps(k)), sum(k.values()))[1], var_names="z")
    crop.sow_cases(["a", "b"], [(1, 10), (2, 20), (5, 50)], combos={"c": [100, 200]})
    crop.grow()
    ds = crop.reap()

    calls = [json.loads(line) for line in tally.all()]
    assert len(calls) == 6
    assert {(k["a"], k["b"], k["c"]) for k in calls} == {
        (a, 10 * a, c) for a in (1, 2, 5) for c in (100, 200)
    }
    flat = ds.z.to_series().dropna()
    assert sorted(flat) == sorted(sum(k.values()) for k in calls)


def test_names_that_are_zipped_go_together(here: Path) -> None:
    crop = crop_of(lambda a, b, c: (a, b, c))
    crop.sow_combos({("a", "b"): [(1, 2), (3, 4)], "c": [0, 9]})
    crop.grow()

    assert crop.reap() == [(1, 2, 0), (1, 2, 9), (3, 4, 0), (3, 4, 9)]


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 1.5],
        (0.5, 1.5),
        np.array([0.5, 1.5]),
        pd.Index([0.5, 1.5]),
        pd.Series([0.5, 1.5]),
        (v for v in (0.5, 1.5)),
    ],
    ids=["list", "tuple", "numpy", "index", "series", "generator"],
)
def test_values_come_from_whatever_holds_them(here: Path, values: Any) -> None:
    crop = crop_of(lambda x: 2 * x, var_names="z")
    crop.sow_combos({"x": values})
    crop.grow()

    assert crop.reap(to=False).z.to_series().to_dict() == {0.5: 1.0, 1.5: 3.0}


def test_units_of_a_coordinate_reach_the_dataset_and_its_file(here: Path) -> None:
    age = xr.DataArray([1.0, 5.0], dims="age", attrs={"units": "Gyr", "long_name": "stellar age"})
    crop = crop_of(
        lambda age: age**2, name="units", var_names="mass", var_attrs={"mass": {"units": "Msun"}}
    )
    crop.sow_combos({"age": age})
    crop.grow()
    ds = crop.reap()

    for each in (ds, xr.load_dataset("units.nc")):
        assert each.age.attrs == {"units": "Gyr", "long_name": "stellar age"}
        assert each.mass.attrs["units"] == "Msun"


def test_objects_go_to_the_function_and_their_labels_to_the_dataset(here: Path) -> None:
    galaxies = {"NGC3198": {"v": np.arange(3.0)}, "NGC2403": {"v": np.arange(5.0)}}
    crop = crop_of(lambda galaxy, n: float(galaxy["v"].sum() * n), var_names="z")
    crop.sow_combos({"galaxy": galaxies, "n": [1, 2]})
    crop.grow()
    ds = crop.reap()

    assert ds.galaxy.values.tolist() == ["NGC3198", "NGC2403"]
    assert ds.z.sel(galaxy="NGC2403").values.tolist() == [10.0, 20.0]


def test_functions_and_classes_are_labelled_by_their_names(here: Path) -> None:
    crop = crop_of(lambda how: how([3, 1, 2]), var_names="z")
    crop.sow_combos({"how": [min, max, sum]})
    crop.grow()

    assert crop.reap(to=False).z.to_series().to_dict() == {"min": 1, "max": 3, "sum": 6}


def test_dates_are_values(here: Path) -> None:
    days = pd.date_range("2026-01-01", periods=3)
    crop = crop_of(lambda day: (day - np.datetime64("2026-01-01")) / np.timedelta64(1, "D"))
    crop.sow_combos({"day": days})
    crop.grow()

    assert [float(r) for r in crop.reap()] == [0, 1, 2]


def test_constants_are_recorded_and_resources_are_not(here: Path) -> None:
    crop = crop_of(
        lambda x, dust, table: x + dust + len(table),
        var_names="z",
        constants={"dust": 0.5},
        resources={"table": [0] * 10},
    )
    crop.sow_combos({"x": [1]})
    crop.grow()
    ds = crop.reap()

    assert ds.z.item() == 11.5
    assert ds.attrs["dust"] == 0.5
    assert "table" not in str(ds.attrs)


# -- cost ------------------------------------------------------------------------------


def test_a_million_cases_are_sown_as_their_axes(here: Path) -> None:
    crop = crop_of(add, name="big")
    crop.sow_combos({"x": [0.0]})  # imports and caches are not what is measured
    crop.delete()
    tracemalloc.start()
    try:
        crop.sow_combos({"x": np.linspace(0, 1, 1000), "y": np.linspace(0, 1, 1000)})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    root = Path(crop.location)
    on_disk = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert peak < 2e6
    assert on_disk < 60_000
    assert crop.status().num_cases == 1_000_000
    assert crop.status().num_batches == 1000
    assert len([path for path in root.rglob("*") if path.is_file()]) <= 3


@pytest.mark.parametrize(("cases", "batches"), [(1, 1), (999, 999), (1000, 1000), (1001, 501)])
def test_by_default_there_are_at_most_a_thousand_batches(
    here: Path, cases: int, batches: int
) -> None:
    crop = crop_of(add)
    crop.sow_combos({"x": range(cases)})

    assert crop.num_sown_batches == batches


# -- which case is in which batch ------------------------------------------------------


def sizes_and_calls(crop: cf.Crop, tally: Tally) -> list[list[int]]:
    batches = []
    for batch in range(1, crop.num_sown_batches + 1):
        before = len(tally.all())
        crop.grow(batch)
        batches.append([int(x) for x in tally.all()[before:]])
    return batches


def test_shuffle_deals_the_same_cases_for_the_same_seed(here: Path) -> None:
    dealt = []
    for name in ("one", "two", "other"):
        tally = Tally(here / f"calls-{name}")
        crop = crop_of(lambda x, tally=tally: (tally.add(x), x)[1], name, var_names="z")
        crop.sow_combos(
            {"x": range(20)},
            constants={"tally": tally},
            batchsize=5,
            shuffle=8 if name == "other" else 7,
        )
        dealt.append(sizes_and_calls(crop, tally))
        assert crop.reap(to=False).z.values.tolist() == list(range(20))

    assert dealt[0] == dealt[1] != dealt[2]
    assert dealt[0] != [list(range(k, k + 5)) for k in range(0, 20, 5)]


def test_cost_deals_the_longest_first_so_that_batches_are_even(here: Path) -> None:
    tally = Tally(here / "calls")
    crop = crop_of(lambda x, tally: (tally.add(x), x)[1], var_names="z")
    costs = [1, 1, 1, 1, 9, 1, 5, 8]
    crop.sow_combos(
        {"x": range(8)}, resources={"tally": tally}, num_batches=3, cost=lambda x: costs[x]
    )
    batches = sizes_and_calls(crop, tally)

    assert sorted(x for batch in batches for x in batch) == list(range(8))
    assert sorted(sum(costs[x] for x in batch) for batch in batches) == [9, 9, 9]
    assert all(
        [costs[x] for x in b] == sorted((costs[x] for x in b), reverse=True) for b in batches
    )
    assert crop.reap(to=False).z.values.tolist() == list(range(8))


def test_priority_puts_the_urgent_cases_into_the_first_batches(here: Path) -> None:
    tally = Tally(here / "calls")
    crop = crop_of(lambda x, tally: (tally.add(x), x)[1], var_names="z")
    crop.sow_combos(
        {"x": range(6)}, resources={"tally": tally}, batchsize=2, priority=[5, 0, 4, 1, 3, 2]
    )

    assert sizes_and_calls(crop, tally) == [[1, 3], [5, 4], [2, 0]]


# -- the function travels --------------------------------------------------------------

ELSEWHERE = """
import sys, cropfit
report = cropfit.Crop.load(sys.argv[1], verbosity=0).grow()
sys.exit(f"{report.failures}" if report.failures else 0)
"""


class Scaled:
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, x: float) -> float:
        return x * self.by


def closure(by: float) -> Any:
    def inner(x: float) -> float:
        return x * by

    return inner


@pytest.mark.parametrize(
    "fn",
    [lambda x: 3 * x, functools.partial(add, y=0), Scaled(3), closure(3), Scaled(3).__call__],
    ids=["lambda", "partial", "instance", "closure", "method"],
)
def test_any_callable_grows_in_another_process_in_another_folder(
    here: Path, tmp_path_factory: pytest.TempPathFactory, fn: Any
) -> None:
    crop = crop_of(fn, "fn", var_names="z")
    crop.sow_combos({"x": [1.0, 2.0]})
    python(ELSEWHERE, crop.location, cwd=tmp_path_factory.mktemp("elsewhere"))

    assert crop.reap(to=False).z.values.tolist() == [fn(1.0), fn(2.0)]


SCRIPT = """
import cropfit, helper

class Model:
    offset = 100

def simulate(x):
    return helper.double(x) + Model.offset

if __name__ == "__main__":
    crop = cropfit.Crop(simulate, "script", var_names="z", verbosity=0)
    crop.sow_combos({"x": [1, 2]})
"""


@pytest.mark.parametrize("way", ["script", "notebook", "module"])
def test_a_function_of_main_grows_where_its_modules_are_not_on_the_path(
    here: Path, tmp_path_factory: pytest.TempPathFactory, way: str
) -> None:
    """The folder of a module beside the script is put on the worker's path."""
    project = here / "project"
    project.mkdir()
    (project / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (project / "run.py").write_text(SCRIPT)
    ways = {
        "script": f"import runpy; runpy.run_path({str(project / 'run.py')!r}, run_name='__main__')",
        "notebook": f"exec(compile({SCRIPT!r}, '<cell 1>', 'exec'))",
        "module": SCRIPT.split("class Model", 1)[0]
        + "crop = cropfit.Crop(helper.double, 'script', var_names='z', verbosity=0)\n"
        + "crop.sow_combos({'x': [1, 2]})",
    }
    before = "import sys; sys.path.insert(0, '')\n"
    python(before + ways[way], cwd=project)
    python(ELSEWHERE, str(project / ".crop-script"), cwd=tmp_path_factory.mktemp("elsewhere"))

    found = cf.Crop.load(project / ".crop-script", verbosity=0).reap(to=False).z.values.tolist()
    assert found == ([2, 4] if way == "module" else [102, 104])


def test_a_module_below_the_interpreters_own_folder_is_found_too(here: Path) -> None:
    """A project folder that is a virtual environment itself, or a home below /usr."""
    project = here / "env" / "project"
    project.mkdir(parents=True)
    (project / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    python(
        "import sys; sys.path.insert(0, ''); sys.prefix = sys.base_prefix = sys.argv[1]\n"
        "import cropfit, helper\n"
        "cropfit.Crop(helper.double, 'p', verbosity=0).sow_combos({'x': [1]})",
        str(here / "env"),
        cwd=project,
    )
    python(ELSEWHERE, str(project / ".crop-p"), cwd=here)

    assert cf.Crop.load(project / ".crop-p", verbosity=0).reap() == [2]


# -- refused before anything is written ------------------------------------------------


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("no way")


def needs_lock(x: int) -> int:
    return x


LOCK = threading.Lock()

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no combos": (add, {"combos": {}}, "no combos and no cases"),
    "an empty axis": (add, {"combos": {"x": []}}, "'x' has no values"),
    "a value twice": (
        add,
        {"combos": {"x": [1, 2, 1]}},
        r"'x' holds 1 values more than once \(1\)",
    ),
    "a name in both": (
        add,
        {"combos": {"x": [1]}, "cases": [{"x": 2}]},
        "both cases and combos: 'x'",
    ),
    "a name in constants too": (
        add,
        {"combos": {"x": [1]}, "constants": {"x": 2}},
        "'x' stands in constants and is varied",
    ),
    "an unknown argument": (add, {"combos": {"x": [1], "q": [1]}}, "does not take 'q'"),
    "a missing argument": (add, {"combos": {"y": [1]}}, "needs 'x'"),
    "an unknown constant": (add, {"combos": {"x": [1]}, "constants": {"q": 2}}, "not take 'q'"),
    "NaN": (add, {"combos": {"x": [1.0, float("nan")]}}, "'x' holds 1 NaN"),
    "values too close": (add, {"combos": {"x": [0.3, 0.1 + 0.2]}}, "'x' holds 1 pairs .* closer"),
    "sizes that disagree": (
        add,
        {"combos": {"x": range(10)}, "batchsize": 2, "num_batches": 3},
        "batchsize and num_batches disagree: 10 cases in batches of 2 are 5 batches, not 3",
    ),
    "no batches": (add, {"combos": {"x": [1]}, "num_batches": 0}, "num_batches must be an int"),
    "a lock in a closure": (lambda x: LOCK, {"combos": {"x": [1]}}, "lock"),
    "a constant that cannot travel": (
        add,
        {"combos": {"x": [1]}, "constants": {"y": Unpicklable()}},
        "the constant 'y' cannot be pickled",
    ),
    "an object that cannot travel": (
        add,
        {"combos": {"x": {"good": 1, "evil": Unpicklable()}}},
        "'x': the object labelled 'evil' cannot be pickled",
    ),
    "an output named as a parameter": (
        add,
        {"combos": {"x": [1]}, "var_names": "x"},
        "'x' is both an output and an argument",
    ),
    "a cost that is no number": (
        add,
        {"combos": {"x": [1, 2]}, "cost": [1.0, float("inf")]},
        "cost must be one finite number",
    ),
    "a cost of the wrong length": (add, {"combos": {"x": [1, 2]}, "cost": [1.0]}, "of the 2 cases"),
    "a negative seed": (add, {"combos": {"x": [1]}, "seed": -1}, "seed"),
    "a seed that is no number": (add, {"combos": {"x": [1]}, "seed": "abc"}, "seed"),
    "no such way": (add, {"combos": {"x": [1]}, "exists": "maybe"}, "not 'maybe'"),
    "a function that is none": (3, {"combos": {"x": [1]}}, "3 is not callable"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_by_name_and_nothing_is_written(here: Path, what: str) -> None:
    fn, options, message = REFUSED[what]
    crop_options = {"var_names": options["var_names"]} if "var_names" in options else {}
    given = {key: value for key, value in options.items() if key != "var_names"}

    with pytest.raises((cf.DesignError, cf.FunctionError), match=message):
        crop_of(fn, **crop_options).sow_combos(**given)

    assert tree(here) == []


def test_a_parent_folder_that_is_missing_is_refused(here: Path) -> None:
    with pytest.raises(cf.NotFoundError, match=r"nowhere does not exist"):
        crop_of(add, parent_dir=here / "nowhere").sow_combos({"x": [1]})
    assert tree(here) == []


IN_A_SMALL_WORLD = """
import os, subprocess, sys
import cropfit, numpy
what = sys.argv[1]
os.mkdir("disk")
options = {"read-only": "ro", "full": "size=64k", "no inodes": "size=1m,nr_inodes=20"}[what]
subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", "disk"], check=True)
big = numpy.arange(100_000.0)
crop = cropfit.Crop(lambda x, y=0: x, "it", parent_dir="disk")
try:
    crop.sow_combos({"x": range(100)}, constants={"y": big if what == "full" else 0})
except cropfit.CropError as error:
    print(type(error).__name__, error, os.listdir("disk"))
"""


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize(
    ("what", "told"),
    [("read-only", "cannot be written"), ("full", "No space"), ("no inodes", "No space")],
)
def test_a_disk_that_refuses_leaves_nothing_behind(here: Path, what: str, told: str) -> None:
    import subprocess
    import sys

    command = ["unshare", "--mount", sys.executable, "-c", IN_A_SMALL_WORLD, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)

    assert told in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_a_file_that_is_none_of_ours_is_never_swept(here: Path) -> None:
    """Only what a killed sower of this very form left is removed."""
    for name in (".notes.draft", ".crop-old.trash", "it.draft"):
        Path(name).write_text("mine")
        os.utime(name, (1, 1))
    crop = crop_of(add)
    crop.sow_combos({"x": [1]})
    crop.clean()

    assert {".notes.draft", ".crop-old.trash", "it.draft"} <= set(os.listdir(here))


# -- what stands on disk ---------------------------------------------------------------


def test_crop_json_tells_who_sowed_what_and_only_the_user_may_read(here: Path) -> None:
    crop = crop_of(add, "told", var_names="z")
    crop.sow_combos({"x": [1, 2]}, seed=5)
    data = json.loads((here / ".crop-told/crop.json").read_text())

    assert data["name"] == "told"
    assert data["seed"] == 5
    assert data["function"]["name"].endswith("add")
    assert {"time", "user", "host", "cwd", "python", "packages", "git"} <= data["provenance"].keys()
    assert data["provenance"]["cwd"] == str(here)
    for path in [crop.location, *(f"{crop.location}/{name}" for name in tree(crop.location))]:
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, path


def test_a_seed_is_drawn_and_recorded_if_none_is_given(here: Path) -> None:
    seeds = set()
    for name in ("a", "b"):
        crop_of(add, name).sow_combos({"x": [1]})
        seeds.add(json.loads((here / f".crop-{name}/crop.json").read_text())["seed"])

    assert len(seeds) == 2


def test_numbers_of_numpy_are_numbers(here: Path) -> None:
    crop = crop_of(add, num_batches=np.int64(4))
    crop.sow_combos({"x": range(8)}, shuffle=np.int64(3), seed=np.int64(7))
    crop.sow_combos({"x": range(8)}, shuffle=3, seed=7)

    assert crop.num_sown_batches == 4


# -- sowing again ----------------------------------------------------------------------


def test_the_same_design_again_keeps_every_result(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        return x

    crop = cf.Crop(work, "again", var_names="z")
    crop.sow_combos({"x": range(6)}, num_batches=3)
    crop.grow(2)
    before = {name: os.stat(f"{crop.location}/{name}").st_mtime_ns for name in tree(crop.location)}
    capsys.readouterr()
    crop.sow_combos({"x": range(6)}, num_batches=3)

    assert "1 of 3 batches grown; nothing was changed" in capsys.readouterr().out
    after = {name: os.stat(f"{crop.location}/{name}").st_mtime_ns for name in tree(crop.location)}
    assert after == before
    crop.grow()
    assert tally.sorted() == [0, 1, 2, 3, 4, 5]


def test_a_changed_body_is_used_for_what_is_not_grown_yet_and_says_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(x: int) -> int:
        return x

    crop_of(work, "body", var_names="z").sow_combos({"x": range(4)}, num_batches=2)
    crop_of(None, "body").grow(1)

    def work(x: int) -> int:  # type: ignore[no-redef]
        return 100 + x

    crop = cf.Crop(work, "body", var_names="z")
    crop.sow_combos({"x": range(4)}, num_batches=2)

    said = capsys.readouterr().out
    assert "1 of 2 batches grown" in said
    assert "body has changed: the other 1 will be grown with the new one" in said
    crop.grow()
    assert crop.reap(to=False).z.values.tolist() == [0, 1, 102, 103]


def test_a_closure_over_another_value_is_a_changed_function(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop_of(closure(2), "c", var_names="z").sow_combos({"x": [1.0]})
    crop = cf.Crop(closure(3), "c", var_names="z")
    crop.sow_combos({"x": [1.0]})

    assert "What it closes over or its resources may have changed" in capsys.readouterr().out
    crop.grow()
    assert crop.reap(to=False).z.item() == 3.0


def test_another_design_is_refused_with_all_that_differs(here: Path) -> None:
    crop_of(add, var_names="z", constants={"y": 1}).sow_combos({"x": [1, 2]}, seed=1)
    before = tree(here)
    with pytest.raises(cf.ExistsError) as error:
        crop_of(lambda x, y: x, var_names="w", constants={"y": 2}).sow_combos({"x": [1, 3]}, seed=2)

    told = str(error.value)
    for difference in (
        "the function",
        "constant 'y': 1 was sown, 2 is given",
        "parameter 'x': 2 values (1, 2) was sown, 2 values (1, 3) is given",
        "var_names: ['z'] was sown, ['w'] is given",
        "seed: 1 was sown, 2 is given",
        "exists='replace'",
        "exists='append'",
    ):
        assert difference in told
    assert tree(here) == before


def test_another_way_of_dealing_is_another_design(here: Path) -> None:
    crop_of(add).sow_combos({"x": range(6)}, num_batches=2)
    crop_of(add).sow_combos({"x": range(6)})  # not asked for: as it was
    with pytest.raises(cf.ExistsError, match="dealt to batches: 2 batches"):
        crop_of(add).sow_combos({"x": range(6)}, num_batches=3)
    with pytest.raises(cf.ExistsError, match="dealt to batches"):
        crop_of(add).sow_combos({"x": range(6)}, num_batches=2, shuffle=3)


def test_replace_begins_anew(here: Path) -> None:
    crop = crop_of(add, var_names="z")
    crop.sow_combos({"x": [1, 2]})
    crop.grow()
    crop.sow_combos({"x": [3]}, exists="replace")

    assert crop.status().grown == 0
    crop.grow()
    assert crop.reap().z.to_series().to_dict() == {3: 3.0}
    assert tree(here) == ["it.nc"]


# -- append ----------------------------------------------------------------------------


def test_append_adds_only_new_cases_and_keeps_numbers_seeds_and_results(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int, y: int) -> float:
        tally.add(cf.current_case().index)
        return float(cf.current_case().rng.random())

    crop = crop_of(work, var_names="z")
    crop.sow_combos({"x": [1, 2], "y": [10, 20]}, seed=3)
    crop.grow()
    first = crop.peek()
    crop.sow_combos({"x": [2, 3], "y": [10, 20, 30]}, exists="append")  # (2, 10), (2, 20) are there

    assert crop.status().grown == 4
    assert crop.status().num_cases == 8
    crop.grow()
    assert tally.sorted() == list(range(8))
    ds = crop.reap()
    for x in (1, 2):
        for y in (10, 20):
            assert ds.z.sel(x=x, y=y).item() == first.z.sel(x=x, y=y).item()
    assert int(ds.z.count()) == 8
    assert len(np.unique(ds.z.values[~np.isnan(ds.z.values)])) == 8


def test_after_an_append_both_designs_are_the_same_again(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = cf.Crop(add, "it", var_names="z")
    crop.sow_combos({"x": [1, 2]})
    crop.sow_combos({"x": [3, 4]}, exists="append")
    for x in ([1, 2], [3, 4], [1, 2, 3, 4]):
        capsys.readouterr()
        crop.sow_combos({"x": x})
        assert "nothing was changed" in capsys.readouterr().out
    assert crop.status().num_cases == 4


def test_after_an_append_another_constant_is_still_another_design(here: Path) -> None:
    crop = crop_of(add, var_names="z", constants={"y": 1})
    crop.sow_combos({"x": [1, 2]})
    crop.sow_combos({"x": [3]}, exists="append")
    with pytest.raises(cf.ExistsError, match="constant 'y': 1 was sown, 2 is given"):
        crop_of(add, var_names="z", constants={"y": 2}).sow_combos({"x": [1, 2]})

    crop.grow()
    assert crop.reap(to=False).z.values.tolist() == [2, 3, 4]


def test_append_refuses_more_than_new_values(here: Path) -> None:
    crop_of(add, var_names="z", constants={"y": 1}).sow_combos({"x": [1]}, seed=4)
    before = tree(here)
    with pytest.raises(cf.ExistsError, match="constant 'y': 1 was sown, 5 is given"):
        crop_of(add, var_names="z", constants={"y": 5}).sow_combos({"x": [2]}, exists="append")
    with pytest.raises(cf.ExistsError, match="seed: 4 was sown, 5 is given"):
        crop_of(add, var_names="z", constants={"y": 1}).sow_combos(
            {"x": [2]}, seed=5, exists="append"
        )
    assert tree(here) == before


def test_append_of_objects_knows_them_by_label_and_content(here: Path) -> None:
    crop = crop_of(lambda galaxy: float(np.sum(galaxy)), var_names="z")
    crop.sow_combos({"galaxy": {"a": np.ones(2), "b": np.ones(3)}})
    with pytest.raises(cf.ExistsError, match="'galaxy' has an object labelled 'b' that differs"):
        crop.sow_combos({"galaxy": {"b": np.ones(4), "c": np.ones(5)}}, exists="append")
    crop.sow_combos({"galaxy": {"b": np.ones(3), "c": np.ones(5)}}, exists="append")
    crop.grow()

    assert crop.reap(to=False).z.to_series().to_dict() == {"a": 2.0, "b": 3.0, "c": 5.0}


def test_append_where_nothing_stands_sows(here: Path) -> None:
    crop = crop_of(add, var_names="z")
    crop.sow_combos({"x": [1]}, exists="append")

    assert crop.status().sown == 1


# -- two at once -----------------------------------------------------------------------


def test_two_sowers_at_once_leave_one_whole_crop(here: Path) -> None:
    """The one that comes second finds the same design, or is told what differs."""
    code = """
import sys, cropfit
def work(x): return x
crop = cropfit.Crop(work, "race", var_names="z")
for _ in range(5):
    print(flush=True); sys.stdin.readline()
    crop.sow_combos({"x": range(200)})
"""
    import subprocess

    sowers = [start(code, stdin=subprocess.PIPE) for _ in range(2)]
    for _ in range(5):
        for sower in sowers:
            assert sower.stdout is not None
            while sower.stdout.readline().strip():
                pass
        for sower in sowers:
            assert sower.stdin is not None
            sower.stdin.write("\n")
            sower.stdin.flush()
    outs = [sower.communicate(timeout=200)[0] for sower in sowers]

    assert [sower.returncode for sower in sowers] == [0, 0], outs
    assert os.listdir(here) == [".crop-race"]
    assert cf.Crop.load("race", verbosity=0).status().sown == 200


def test_a_folder_that_lost_its_crop_json_is_not_thrown_away(here: Path) -> None:
    crop = crop_of(add, var_names="z")
    crop.sow_combos({"x": [1, 2]})
    crop.grow()
    os.unlink(f"{crop.location}/crop.json")
    before = tree(here)
    with pytest.raises(cf.ExistsError, match=r"has no crop\.json"):
        crop.sow_combos({"x": [1, 2]})

    assert tree(here) == before


def test_a_crop_that_came_meanwhile_is_not_replaced(here: Path) -> None:
    """Another sower is faster while this one computes its costs."""
    first = crop_of(add, var_names="z")

    def cost(x: int) -> float:
        if not first.is_prepared():
            first.sow_combos({"x": [7]})
            first.grow()
        return 1.0

    with pytest.raises(cf.ExistsError, match=r"parameter 'x': 1 values \(7\) was sown"):
        crop_of(add, var_names="z").sow_combos({"x": [1, 2]}, cost=cost)

    assert first.reap().z.item() == 7
    assert tree(here) == ["it.nc"]


OBJECTS = """
import cropfit, numpy
class Data:
    def __init__(self, n): self.flux = numpy.arange(n)
    def total(self): return self.flux.sum()
def fit(galaxy, method, n): return method(galaxy)
def first(galaxy): return float(galaxy.total())
crop = cropfit.Crop(fit, "same", var_names="z", constants={"n": {"tags": [Data(3), first]}})
methods = {"a": first, "b": lambda g: 2.0}
crop.sow_combos({"galaxy": {"one": Data(3), "two": Data(4)}, "method": methods})
"""


def test_a_notebook_that_is_run_again_finds_its_own_design(here: Path) -> None:
    """Its functions and classes stand in other files and lines each time."""

    def run(code: str, lines: int = 1, ok: bool = True) -> str:
        cell = f"exec(compile({chr(10) * lines + code!r}, '/tmp/cell-{lines}.py', 'exec'))"
        return python(cell, ok=ok)

    assert "Sowed 4 cases" in run(OBJECTS)
    assert "nothing was changed" in run(OBJECTS)
    assert "nothing was changed" in run(OBJECTS, lines=5)
    assert "parameter 'method'" in run(OBJECTS.replace("2.0", "3.0"), ok=False)


def test_objects_of_a_class_of_the_notebook_reach_workers_and_come_back(here: Path) -> None:
    code = OBJECTS.replace('var_names="z", ', "").replace("return method(galaxy)", "return galaxy")
    python(code)
    assert "4 batches grown" in python("import cropfit; cropfit.grow(crop='same')")

    reap = "import cropfit; found = cropfit.Crop.load('same').reap(); "
    assert "[3, 3, 6, 6]" in python(reap + "print([int(each.total()) for each in found])")


def test_append_takes_costs_of_all_cases_that_are_given(here: Path) -> None:
    crop = crop_of(add, var_names="z")
    crop.sow_combos({"x": [1, 2]})
    crop.sow_combos({"x": [1, 2, 3, 4]}, priority=[9, 9, 2, 1], exists="append")

    crop.grow(3)
    assert crop.peek().z.to_series().dropna().to_dict() == {4: 4.0}


def test_append_of_other_parameters_is_refused(here: Path) -> None:
    crop = crop_of(add, var_names="z")
    crop.sow_combos({"x": [1, 2]})
    with pytest.raises(cf.ExistsError, match=r"parameters: \['x'\] were sown, \['x', 'y'\] given"):
        crop.sow_combos({"x": [1], "y": [2]}, exists="append")


def test_results_of_a_class_of_the_notebook_can_be_reaped_elsewhere(here: Path) -> None:
    """Where a class of the script itself is returned, be it grown here or by workers."""
    for how in ("crop.grow()", "crop.grow(num_workers=1)"):
        python(
            "import cropfit\n"
            "class Fit:\n"
            "    def __init__(self, x): self.x = x\n"
            "crop = cropfit.Crop(Fit, 'it', verbosity=0)\n"
            "crop.sow_combos({'x': [3, 4]}, exists='replace')\n"
            f"{how}\n"
            "assert all(isinstance(fit, Fit) for fit in crop.reap(to=False))\n"
        )
        assert [fit.x for fit in cf.Crop.load("it", verbosity=0).reap(to=False)] == [3, 4]


def test_a_files_name_of_another_encoding_is_a_value(here: Path) -> None:
    name = os.fsdecode(b"spectrum-\xff.dat")
    crop = crop_of(lambda path: len(os.fsencode(path)), var_names="z")
    crop.sow_combos({"path": [name, "größe.dat"]})
    crop.grow()

    assert cf.Crop.load("it", verbosity=0).reap(to=False).path.values.tolist()[0] == name
