"""A crop knows its farmer in any process; and one line goes on after any accident."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from faults.harness import UNHARMED, Injector, forked
from steps import Gate, Tally, python, start, tree

import cropfit as cf


def double(x: int, scale: int = 1) -> int:
    return 2 * x * scale


def make_sampler(path: Any) -> cf.Sampler:
    return cf.Sampler(cf.Runner(double, "y"), path, {"x": range(100)})


def sown(sampler: cf.Sampler, parent: Any = None) -> cf.Crop:
    crop = sampler.Crop("it", parent_dir=parent, num_batches=2, verbosity=0)
    crop.sow_samples(6, seed=1)
    crop.grow()
    return crop


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "crop.json").read_text())["farmer"]
    return found


def test_a_person_can_read_who_sowed_it(here: Path) -> None:
    sown(make_sampler("data.csv"))
    assert record(here / ".crop-it") == {
        "kind": "sampler",
        "data_name": {
            "absolute": f"{here}/data.csv",
            "relative": "data.csv",
            "parent": str(here),
        },
        "engine": "csv",
        "drawn": {"n": 6, "method": "random", "seed": 1},
    }


def test_a_crop_that_is_loaded_knows_its_farmer(here: Path) -> None:
    cf.Runner(double, "y", constants={"scale": 3}).Crop("plain", verbosity=0).sow_combos({"x": [1]})
    cf.Crop(double, "none", verbosity=0).sow_combos({"x": [1]})
    sown(make_sampler("data.csv"))

    crops = cf.load_crops()

    assert crops["none"].farmer is None
    runner = crops["plain"].farmer
    assert isinstance(runner, cf.Runner)
    assert (runner.var_names, runner.constants, runner(3)) == (("y",), {"scale": 3}, 6)
    sampler = crops["it"].farmer
    assert isinstance(sampler, cf.Sampler)
    assert (sampler.data_name, sampler.engine) == (f"{here}/data.csv", "csv")


@pytest.mark.parametrize("way", ["python", "command"])
def test_another_process_in_another_folder_reaps_to_the_farmer_s_file(here: Path, way: str) -> None:
    (here / "elsewhere").mkdir()
    sown(make_sampler("data.csv"))
    if way == "python":
        python("import cropfit; cropfit.Crop.load('../.crop-it').reap()", cwd=here / "elsewhere")
    else:
        python("from cropfit.cli import main; main(['reap', 'it'])", cwd=here)
    assert len(make_sampler("data.csv").full_df) == 6
    assert tree(here) == ["data.csv", "elsewhere"]


def test_crop_and_file_may_be_moved_together_or_the_crop_alone(here: Path) -> None:
    (here / "a").mkdir()
    sampler = make_sampler("a/data.csv")
    sampler.sample_combos(2)
    sown(sampler, here / "a")
    shutil.copytree(here / "a" / ".crop-it", here / ".crop-alone")
    os.rename("a", "b")

    cf.Crop.load("b/.crop-it", verbosity=0).reap()
    assert len(make_sampler("b/data.csv").full_df) == 8

    os.rename("b", "a")
    cf.Crop.load("alone", verbosity=0).reap()
    assert len(make_sampler("a/data.csv").full_df) == 8  # the same run, once
    assert tree(here) == ["a", "a/data.csv"]


def test_who_cannot_load_the_function_can_reap_it_all_the_same(here: Path) -> None:
    (here / "far_away.py").write_text("def fn(x):\n    return x + 1\n")
    python(
        "import cropfit as cf, far_away\n"
        "crop = cf.Sampler(cf.Runner(far_away.fn, 'y'), 'd.pkl').Crop('it')\n"
        "crop.sow_samples(3, {'x': [1, 2]})\n"
        "crop.grow()",
        cwd=here,
        env={**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{here}"},
    )
    (here / "far_away.py").unlink()
    shutil.rmtree(here / "__pycache__", ignore_errors=True)
    crop = cf.Crop.load("it", verbosity=0)
    df = crop.reap()
    assert (df.y == df.x + 1).all()
    with pytest.raises(cf.FunctionError):
        crop.farmer(1)


def test_memory_alone_keeps_the_crop(here: Path) -> None:
    sampler = make_sampler("data.csv")
    crop = sown(sampler)
    for options in ({"sync": False}, {"to": False}):
        assert len(crop.reap(**options)) == 6
        assert crop.is_prepared()
        assert len(sampler.full_df) == 6
    assert not (here / "data.csv").exists()
    with pytest.raises(cf.DesignError, match="load=False"):
        crop.reap(to="x.nc", load=False)


def test_a_file_that_cannot_take_the_results_leaves_the_crop(here: Path) -> None:
    (here / "data.csv").mkdir()
    crop = sown(make_sampler("data.csv"))
    with pytest.raises(cf.CropError):
        crop.reap()
    assert crop.is_ready_to_reap()
    (here / "data.csv").rmdir()
    assert len(crop.reap()) == 6


def test_the_farmer_decides_what_is_sown(here: Path) -> None:
    runner = cf.Runner(double, "y")
    with pytest.raises(cf.DesignError, match="comes from the farmer"):
        cf.Crop(farmer=runner, var_names="z")
    crop = runner.Crop(verbosity=0)
    assert crop.name == "double"


def test_sowing_again_by_another_farmer_is_noted(here: Path) -> None:
    cf.Runner(double, "y").Crop("it", verbosity=0).sow_combos({"x": [1]})
    cf.Crop(double, "it", var_names="y", verbosity=0).sow_combos({"x": [1]})
    assert record(here / ".crop-it") == {"kind": "runner"}


# -- one line, again and again ---------------------------------------------------------


def counted(path: Path) -> Any:
    tally = Tally(path)

    def slow(x: int) -> int:
        tally.add(x)
        return x * x

    return slow


def test_the_same_request_is_the_same_crop_in_any_session(here: Path) -> None:
    code = (
        "import cropfit as cf, numpy as np\n"
        "def fn(x, y):\n    return x * y\n"
        "crop = cf.Runner(fn, 'z').sow({'x': np.arange(3), 'y': [0.1]}, verbosity=0)\n"
        "print(crop.name)"
    )
    names = {python(code, cwd=here).strip() for _ in range(2)}
    other = python(code.replace("0.1", "0.2"), cwd=here).strip()
    assert len(names) == 1
    assert {other} != names
    assert len(cf.load_crops()) == 2


def test_a_name_stands_for_one_request(here: Path) -> None:
    runner = cf.Runner(double, "y")
    runner.sow({"x": [1]}, name="mine", verbosity=0)
    assert runner.sow({"x": [1]}, name="mine", verbosity=0).name == "mine"  # type: ignore[union-attr]
    with pytest.raises(cf.ExistsError, match="another request"):
        runner.sow({"x": [2]}, name="mine")


def test_cultivating_again_computes_nothing(here: Path) -> None:
    fn = counted(here / "calls")
    first = cf.cultivate(fn, {"x": [1, 2, 3]}, var_names="y", verbosity=0)
    again = cf.cultivate(fn, {"x": [1, 2, 3]}, var_names="y", verbosity=0)
    xr.testing.assert_identical(first, again)
    assert again.y.values.tolist() == [1, 4, 9]
    assert Tally(here / "calls").sorted() == [1, 2, 3]
    assert len(tree(here)) == 2


def test_a_list_is_found_again_too(here: Path) -> None:
    fn = counted(here / "calls")
    for _ in range(2):
        assert cf.cultivate(fn, {"x": [1, 2]}, verbosity=0) == [1, 4]
    assert Tally(here / "calls").sorted() == [1, 2]


def test_a_file_of_another_request_is_not_taken_for_ours(here: Path) -> None:
    cf.cultivate(double, {"x": [1]}, var_names="y", name="it", verbosity=0)
    with pytest.raises(cf.ExistsError, match=r"it.nc is there"):
        cf.cultivate(double, {"x": [2]}, var_names="y", name="it", verbosity=0)
    assert cf.load_dataset("it.nc").x.values.tolist() == [1]


def test_a_failed_case_is_tried_again_with_the_function_as_it_is_then(here: Path) -> None:
    broken = here / "broken"
    tally = Tally(here / "calls")
    broken.touch()

    def fn(x: int) -> int:
        tally.add(x)
        if x == 2 and broken.exists():
            raise ValueError("broken")
        return x

    with pytest.raises(cf.NotReadyError, match="failed cases"):
        cf.cultivate(fn, {"x": [1, 2, 3]}, var_names="y", verbosity=0)
    broken.unlink()
    ds = cf.cultivate(fn, {"x": [1, 2, 3]}, var_names="y", verbosity=0)
    assert ds.y.values.tolist() == [1, 2, 3]
    assert tally.sorted() == [1, 2, 2, 3]


CULTIVATE = """
import sys, time, cropfit as cf
from steps import Tally
tally = Tally(sys.argv[1])
def work(x):
    tally.add(x)
    time.sleep(0.02)
    return x * x
ds = cf.cultivate(work, {"x": range(40)}, var_names="y", batchsize=5, verbosity=0)
print(ds.y.values.tolist())
"""


def test_killed_at_random_moments_every_case_is_computed_once_and_the_one_in_hand(
    here: Path,
) -> None:
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tests}"}
    tally = Tally(here / "calls")
    chance = random.Random(1)
    kills = 0
    while kills < 4 and len(set(tally.all())) < 40:
        process = start(CULTIVATE, tally.path, cwd=here, env=env)
        until = len(tally.all()) + chance.randrange(3, 9)
        while len(tally.all()) < until and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
    said = python(CULTIVATE, tally.path, cwd=here, env=env)
    assert json.loads(said) == [x * x for x in range(40)]
    assert sorted(set(tally.sorted())) == [*range(40)]
    assert len(tally.all()) <= 40 + kills
    computed = len(tally.all())
    python(CULTIVATE, tally.path, cwd=here, env=env)
    assert len(tally.all()) == computed
    assert [name for name in tree(here) if name.endswith(".nc")] == [
        name for name in tree(here) if name != "calls"
    ]


@pytest.mark.parametrize("step", [5])
def test_a_kill_at_any_operation_is_made_good_by_the_same_line(tmp_path: Path, step: int) -> None:
    """After the reap, too: then the file is read and nothing computed."""
    field = tmp_path / "field"
    tally = Tally(tmp_path / "calls")

    def fn(x: int) -> int:
        tally.add(x)
        return x * x

    def cultivate() -> Any:
        return cf.cultivate(fn, {"x": [1, 2]}, var_names="y", parent_dir=field, verbosity=0)

    def check() -> None:
        assert cultivate().y.values.tolist() == [1, 4]
        assert [Path(name).suffix for name in tree(field)] == [".nc"]

    at = 1
    while True:
        shutil.rmtree(field, ignore_errors=True)
        field.mkdir()
        Path(tally.path).unlink(missing_ok=True)

        def harmed(at: int = at) -> None:
            with Injector(field, at, "kill") as injector:
                cultivate()
                if injector.count < at:
                    os._exit(UNHARMED)

        ended = forked(harmed, tmp_path / "child")
        if ended.code == UNHARMED:
            break
        done = forked(check, tmp_path / "check")
        assert done.code == 0, f"operation {at}: {done.said}"
        assert len(tally.all()) <= 3, f"operation {at}"
        at += step
    assert at > 20


def test_two_who_cultivate_the_same_share_the_work(here: Path) -> None:
    gate = Gate(here / "gate")
    code = (
        "import sys, cropfit as cf\n"
        "from steps import Tally, _known\n"
        "gate, tally = _known(sys.argv[1]), Tally(sys.argv[2])\n"
        "def work(x):\n"
        "    tally.add(x)\n"
        "    if x == 0:\n"
        "        gate.stop_here()\n"
        "    return x\n"
        "ds = cf.cultivate(work, {'x': range(6)}, var_names='y', batchsize=1, verbosity=0)\n"
        "print(ds.y.values.tolist())\n"
    )
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tests}"}
    words = (gate.folder, str(here / "calls"))
    both = [start(code, *words, cwd=here, env=env) for _ in range(2)]
    gate.wait_for_arrival()
    gate.let_go()
    said = [process.communicate(timeout=200)[0] for process in both]
    assert said == ["[0, 1, 2, 3, 4, 5]\n"] * 2
    assert Tally(here / "calls").sorted() == [*range(6)]
