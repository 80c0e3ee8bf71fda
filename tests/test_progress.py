"""Bars are seen where somebody looks, and cost nothing where nobody does."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from cropfit.progress import Progress

EVERYTHING = """
import sys
import cropfit.progress
cropfit.progress.PATIENCE = {patience}
import cropfit as cf
crop = cf.Crop(lambda x, s: x, "grid", var_names="z", verbosity={verbosity})
crop.sow_combos({{"x": range(100), "s": {{"big": 1, "small": 2}}}})
crop.grow()
crop.reap()
runner = cf.Runner(lambda x: x, "z")
runner.run_combos({{"x": range(30)}}, verbosity={verbosity})
store = cf.Harvester(runner, "all.nc")
store.harvest_combos({{"x": range(20)}}, verbosity={verbosity})
runner.run_combos({{"x": range(10)}}, num_workers=1, verbosity={verbosity})
print("tqdm" in sys.modules)
"""


def on_terminal(code: str, folder: Path) -> tuple[str, str]:
    """What a program prints, and what it shows on a terminal that is its stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stderr=theirs, stdout=subprocess.PIPE, text=True
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        pass  # how a terminal ends
    os.close(ours)
    printed, _ = worker.communicate(timeout=200)
    assert worker.returncode == 0, shown.decode()
    return printed, shown.decode()


def test_sowing_growing_reaping_and_running_show_bars_on_a_terminal(here: Path) -> None:
    printed, shown = on_terminal(EVERYTHING.format(patience=0, verbosity=1), here)

    for bar in ("sow: 100%", "grow: 100%", "200/200", "reap: 100%", "run: 100%", "30/30", "20/20"):
        assert bar in shown
    assert printed.splitlines()[-1] == "True"
    assert "batches grown" in printed
    assert "10 cases" not in printed  # a run has no crop that anybody knows of


def test_with_verbosity_0_nothing_is_shown_or_said_or_even_loaded(here: Path) -> None:
    assert on_terminal(EVERYTHING.format(patience=0, verbosity=0), here) == ("False\n", "")


def test_where_nobody_looks_nothing_is_shown_or_even_loaded(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING.format(patience=0, verbosity=1)],
        cwd=here,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "False"


def test_bookkeeping_that_is_soon_over_shows_no_bar(here: Path) -> None:
    shown = on_terminal(EVERYTHING.format(patience=1e9, verbosity=1), here)[1]

    assert "grow: 100%" in shown
    assert "sow" not in shown
    assert "reap" not in shown


def test_a_bar_may_go_on_with_something_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress(1, 5, what="objects", unit="") as bar:
        bar.update_to(5)
        bar.update_to(1, 7, "batches")

    shown = capsys.readouterr().err.split("\r")
    assert shown[1].startswith("objects:   0%")
    assert shown[-1].startswith("batches: 100%")
    assert "7/7" in shown[-1]


CELL = """
import cropfit as cf
crop = cf.Crop(lambda x: x, "grid", var_names="z", verbosity={verbosity})
crop.sow_combos({{"x": range(6)}})
crop.grow()
model = cf.Model(lambda p, d: -0.5 * p.a**2, {{"a": cf.Uniform(-1, 1)}})
found = cf.fit(model, None, sampler="maxlike", progress=bool({verbosity}))
crop.delete()
"""
WIDGET = "application/vnd.jupyter.widget-view+json"


def test_a_notebook_shows_them_as_widgets(here: Path) -> None:
    manager, client = start_new_kernel(cwd=str(here))
    try:
        shown = [run(client, CELL.format(verbosity=verbosity)) for verbosity in (1, 0)]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    assert shown == [2, 0]  # of growing and of the fit


def run(client: Any, code: str) -> int:
    """How many widgets a cell shows."""
    seen: list[dict[str, Any]] = []
    reply = client.execute_interactive(code, timeout=120, output_hook=seen.append)
    assert reply["content"]["status"] == "ok", str(seen)[-3000:]
    shown = [each["content"]["data"] for each in seen if each["msg_type"] == "display_data"]
    return sum(WIDGET in each for each in shown)
