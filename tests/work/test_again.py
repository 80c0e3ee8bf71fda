"""One case once more: a script that needs neither the crop nor its folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import python, tree

import cropfit as cf


def run(script: str, cwd: Any = None) -> str:
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=200, check=False, cwd=cwd
    )
    return done.stdout + done.stderr


def test_the_script_computes_the_case_after_the_crop_is_deleted(
    here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def work(galaxy: Any, x: int, dust: float) -> float:
        case = cf.current_case()
        return float(galaxy.sum() + x + dust + case.rng.random()) + case.index

    crop = cf.Crop(work, "it", verbosity=0, var_names="z", constants={"dust": 0.5})
    crop.sow_combos({"galaxy": {"a": np.ones(2), "b": np.ones(5)}, "x": [10, 20]}, batchsize=2)
    script = crop.repro(2, 1)
    crop.grow()
    expected = crop.reap(to=False).z.sel(galaxy="b", x=20).item()
    crop.delete()

    assert script == str(here / "repro_it_2_1.py")
    assert tree(here) == ["repro_it_2_1.pkl", "repro_it_2_1.py"]
    assert float(run(script, cwd=tmp_path_factory.mktemp("other"))) == expected
    text = Path(script).read_text()
    assert "'galaxy': 'b'" in text
    assert "'x': 20" in text


def test_the_script_finds_the_modules_that_workers_find(here: Path) -> None:
    project = here / "project"
    project.mkdir()
    (project / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    python(
        "import sys; sys.path.insert(0, '')\n"
        "import cropfit, helper\n"
        "crop = cropfit.Crop(helper.double, 'p', verbosity=0)\n"
        "crop.sow_combos({'x': [4]})",
        cwd=project,
    )
    script = cf.Crop.load(project / ".crop-p").repro(1, 0, here / "again.py")

    assert run(script, cwd="/").strip() == "8"


def test_the_script_raises_what_the_case_raised(here: Path) -> None:
    def work(x: int) -> float:
        return 1 / (x - 1)

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [0, 1]}, num_batches=1)
    crop.grow()
    (failure,) = crop.errors()
    script = crop.repro(failure["batch"], failure["offset"])

    assert "ZeroDivisionError" in run(script)


def test_a_case_that_is_none_is_refused(here: Path) -> None:
    crop = cf.Crop(lambda x: x, "it", verbosity=0)
    crop.sow_combos({"x": range(4)}, batchsize=2)
    before = tree(here)
    with pytest.raises(cf.NotFoundError, match="batch 2 has 2 cases, numbered from 0"):
        crop.repro(2, 2)
    with pytest.raises(cf.NotFoundError, match="no batch 3"):
        crop.repro(3, 0)

    assert tree(here) == before


def test_names_and_values_with_quotes_make_a_script_that_runs(here: Path) -> None:
    crop = cf.Crop(lambda x: x, 'it"""s {odd}', verbosity=0)
    crop.sow_combos({"x": ['a"""b', "c'\\n{x}"]}, num_batches=1)

    assert run(crop.repro(1, 0, here / "one.py")).strip() == 'a"""b'
    assert run(crop.repro(1, 1, here / "two.py")).strip() == "c'\\n{x}"


def test_only_the_user_may_read_it(here: Path) -> None:
    crop = cf.Crop(lambda x: x, "it", verbosity=0)
    crop.sow_combos({"x": [1]})
    crop.repro(1, 0, here / "one.py")

    assert [os.stat(name).st_mode & 0o777 for name in ("one.py", "one.pkl")] == [0o600, 0o600]
