"""The interpreter that `make` picks where none was named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "find_python.sh"


def find_python(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only the given shell scripts are on PATH."""
    for name, body in programs.items():
        path = folder / name.replace("_", ".")
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    (folder / "sh").symlink_to("/bin/sh")
    return subprocess.run(
        [str(SCRIPT)], env={"PATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_a_shim_that_refuses_to_run_is_passed_over(tmp_path):
    """A version manager puts python3.13 on PATH whether or not it is selected."""
    real = f'exec {os.path.realpath(sys.executable)} "$@"'
    found = find_python(tmp_path, python3="exit 127", python3_13="exit 127", python3_12=real)
    assert (found.returncode, found.stdout) == (0, "python3.12\n")


def test_without_a_suitable_interpreter_it_says_how_to_name_one(tmp_path):
    found = find_python(tmp_path, python3="exit 1")
    assert found.returncode == 1
    assert "make PYTHON=" in found.stderr
