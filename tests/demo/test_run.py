"""The demo, run whole: a worker is killed half way and every fit is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from nist_models import load_problems

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo" / "run.py"


@pytest.mark.slow
def test_the_demo_loses_nothing_to_a_killed_worker(tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(out)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "a worker was killed inside" in done.stdout
    with xr.open_dataset(out / "nist.nc") as dataset:
        dataset.load()
    assert dict(dataset.sizes) == {"problem": 27, "start": 2, "optimiser": 3}
    assert [str(name) for name in dataset.problem.values] == list(load_problems())
    assert np.isfinite(dataset.digits.values).all()
    certified = xr.DataArray([problem.rss for problem in load_problems().values()], dims="problem")
    solved = dataset.digits > 5
    assert int(solved.sum()) >= 150
    ratio = (dataset.rss / certified).values[solved.values]
    assert ratio == pytest.approx(1, rel=0.1)  # so each result stands under its own name
    assert (out / "nist.png").stat().st_size > 20_000
    assert sorted(os.listdir(out)) == ["nist.nc", "nist.png", "workers.log"]  # the folder is gone
