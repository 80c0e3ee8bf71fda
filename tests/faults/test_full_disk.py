"""A disk that fills in each phase: a clear error, a sound crop, and with room all is done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from faults.harness import report

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
BY_INODES = ["sow_inodes", "grow_inodes", "reap_inodes"]
BY_BYTES = [
    "sow",
    "append",
    "grow",
    "grow_objects",
    "finish_on_full_disk",
    "workers",
    "shell",
    "reap",
    "reap_pickle",
    "care",
]


@pytest.mark.needs("root", "mount", "unshare")
@pytest.mark.parametrize("scene", [*BY_BYTES, *BY_INODES])
def test_a_full_disk_costs_nothing(scene: str, tmp_path: Path) -> None:
    field = tmp_path / "field"
    field.mkdir()
    size = "size=8m,nr_inodes=200" if scene in (*BY_INODES, "care") else "size=8m"
    program = f'mount -t tmpfs -o {size} tmpfs "$1" && exec "$2" "$3" "$1" "$4"'
    told = [str(field), sys.executable, str(HERE / "scenes_full_disk.py"), scene]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", program, "sh", *told],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "PYTHONPATH": PATH},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report(full_disk=scene, **dict(re.findall(r"(\w+) (\d+)", done.stdout)))
