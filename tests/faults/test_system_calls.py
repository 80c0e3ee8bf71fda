"""The same harm from outside, by strace: system calls of C libraries are hit as well.

A dry run tells which calls belong to the act; of those some are killed at, or made to fail.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.harness import Log, account, report, scaled

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
CALLS = (
    *("openat", "write", "writev", "pwrite64", "fsync", "fdatasync", "ftruncate", "close"),
    *("rename", "renameat", "renameat2", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir"),
    *("link", "linkat", "utimensat"),
)
ERRORS = {"fsync": "EIO", "close": "EIO", "link": "EPERM", "linkat": "EPERM"}
BEFORE = {"sow": [], "grow": ["sow"], "reap": ["sow", "grow"]}


def run(folder: Path, act: str, *before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, str(HERE / "scenes_strace.py"), str(folder), act],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "PYTHONPATH": PATH},
    )


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Where an act takes place, and a copy of what is there before it."""
    top = tmp_path_factory.mktemp("calls")

    def prepared(act: str) -> tuple[Path, Path]:
        here, saved = top / act, top / f"{act}.saved"
        if saved.exists():
            shutil.rmtree(here)
            shutil.copytree(saved, here)
            return here, saved
        (here / "field").mkdir(parents=True)
        for step in BEFORE[act]:
            done = run(here, step)
            assert done.returncode == 0, done.stderr
        shutil.copytree(here, saved)
        return here, saved

    return prepared


def calls_of(here: Path, act: str, trace: Path) -> dict[str, range]:
    """The numbers that each system call has in the act, counted from the start of the process."""
    strace = ["strace", "-qq", "-o", str(trace), "-e", f"trace={','.join(CALLS)},access,faccessat2"]
    done = run(here, act, *strace)
    assert done.returncode == 0, done.stderr
    before, within, inside = Counter[str](), Counter[str](), False
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        if "the-act-begins" in line:
            inside = True
        elif "the-act-ends" in line:
            break
        elif name in CALLS:
            (within if inside else before)[name] += 1
    return {name: range(before[name] + 1, before[name] + n + 1) for name, n in within.items()}


@pytest.mark.needs("strace")
@pytest.mark.timeout(scaled(120, 3000))
@pytest.mark.parametrize("act", BEFORE)
@pytest.mark.parametrize("harm", ["kill", "fail"])
def test_harm_at_a_system_call_costs_nothing(
    act: str, harm: str, prepare: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    here, saved = prepare(act)
    calls = calls_of(here, act, tmp_path / "trace")
    points = [(name, number) for name, numbers in calls.items() for number in numbers]
    chosen = random.Random(act + harm).sample(points, min(len(points), scaled(2, 50)))
    hits = Counter[str]()
    for name, number in chosen:
        shutil.rmtree(here)
        shutil.copytree(saved, here)
        how = "signal=SIGKILL" if harm == "kill" else f"error={ERRORS.get(name, 'ENOSPC')}"
        injection = ["-e", f"trace={name}", "-e", f"inject={name}:{how}:when={number}"]
        done = run(here, act, "strace", "-qq", "-o", os.devnull, *injection)
        where = f"{name} {number}: {done.returncode} {done.stdout} {done.stderr}"
        if harm == "fail" and done.returncode:
            # Python itself may have been hit while it was importing; cropfit was not, then.
            assert re.search(r"CropError|OSError|ImportError|Error: \[Errno", done.stderr), where
        hits["harmed"] += done.returncode != 0
        finished = run(here, "finish")
        assert finished.returncode == 0, f"{where}\nthen {finished.stderr}"
        begun = Log(here / "log").lines()
        pids = {int(line.split()[2]) for line in begun}
        told = account(begun, range(6), pids)
        assert (told.lost, told.unexplained) == ([], []), where
    report(strace=act, harm=harm, of=len(points), points=len(chosen), ended=hits["harmed"])
