"""Our drafts are not locked; what others do with HDF5 is their choice."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SAVE = """
import os, sys
import xarray as xr
from cropfit.disk.netcdf import load_dataset, save_dataset

save_dataset(xr.Dataset({"y": ("x", [1.0, 2.0])}), sys.argv[1])
assert load_dataset(sys.argv[1]).y.values.tolist() == [1.0, 2.0]
print(os.environ.get("HDF5_USE_FILE_LOCKING"))
"""


@pytest.mark.needs("strace")
@pytest.mark.parametrize(("choice", "locks"), [(None, False), ("TRUE", True)])
def test_a_dataset_is_saved_and_read_without_a_lock_unless_one_is_asked_for(
    tmp_path, choice, locks
):
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=flock", "-o", str(trace), sys.executable, "-c", SAVE]
    environment = {k: v for k, v in os.environ.items() if k != "HDF5_USE_FILE_LOCKING"}
    if choice:
        environment["HDF5_USE_FILE_LOCKING"] = choice

    done = subprocess.run(
        [*command, str(tmp_path / "d.nc")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, f"{choice}\n"), done.stderr
    assert ("flock(" in trace.read_text()) is locks
