"""What tests of the command line share: running commands, and looking at what they left."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from click.testing import CliRunner, Result

import cropfit as cf
from cropfit.cli import main

COMMANDS = list(main.commands)


def cropfit(*args: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, args, catch_exceptions=False, prog_name="cropfit")


def started(*args: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    command = [sys.executable, "-m", "cropfit", *args]
    return subprocess.Popen(command, text=True, **{**pipes, **options})


def shell(*args: str, **options: Any) -> tuple[int, str, str]:
    """Run a command in a process of its own: exit code, what it printed, and its messages."""
    process = started(*args, **options)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def folders(crop: cf.Crop) -> dict[str, list[str]]:
    """Names of the batches in each state."""
    states = ("sown", "growing", "grown", "failed", "ignored")
    return {state: sorted(os.listdir(f"{crop.location}/{state}")) for state in states}
