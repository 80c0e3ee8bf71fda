"""Queues to submit crops to."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

import pytest
from queues import JobDict, Queue
from queues.kinds import QUEUES
from steps import Tally

import cropfit as cf

VARIABLES = ("SLURM_", "SGE_", "PBS_", "LSB_", "CROPFIT_")


class GnuParallel(Queue):
    """The real one: `run` waits for it, and reads its own book of jobs."""

    name = "parallel"
    programs = ""

    @property
    def book(self) -> Path:
        return self.folder / "joblog"

    def run(self) -> list[list[int]]:
        """Wait until every script has ended; the exit codes of all tasks by now."""
        (path,) = self.folder.parent.glob(".crop-*")
        crop = cf.Crop.load(path, verbosity=0)
        end = time.monotonic() + 100
        while crop.jobs().queued:
            assert time.monotonic() < end, self.book.read_text()
            time.sleep(0.05)
        with open(self.book) as file:
            return [[int(row["Exitval"])] for row in csv.DictReader(file, delimiter="\t")]


class Field:
    """A crop over x whose function counts its calls, and the queue that it is submitted to."""

    def __init__(self, queue: Queue, folder: Path) -> None:
        self.queue = queue
        self.folder = folder
        self.tally = Tally(folder / "calls")
        self.crop: cf.Crop

    def sow(self, cases: int, function: Any = None, **options: Any) -> cf.Crop:
        """Sow one batch a case."""
        tally = self.tally

        def work(x: int) -> int:
            tally.add(x)
            return function(x) if function else x * x

        given = {"name": "field", "var_names": "y", "verbosity": 0, **options}
        self.crop = cf.Crop(work, **given)
        self.crop.sow_combos({"x": range(1, cases + 1)})  # so that case x is batch x
        return self.crop

    @property
    def options(self) -> dict[str, Any]:
        """What this queue must be told in order to be looked into."""
        is_real = isinstance(self.queue, GnuParallel)
        return {"extra": {"joblog": self.queue.book}} if is_real else {}

    def submit(self, **options: Any) -> list[str]:
        """Submit to this queue."""
        return self.crop.submit(self.queue.name, **{**self.options, **options})

    def job(self) -> JobDict:
        """What the queue understood of the last submission."""
        return self.queue.jobs()[-1]

    def log(self) -> str:
        """All that tasks have printed."""
        logs = Path(f"{self.crop.location}/logs")
        return "".join(path.read_text() for path in sorted(logs.iterdir()))


REAL = pytest.param("parallel", marks=pytest.mark.needs("parallel"))
FAKED = list(QUEUES)
ALL = [*FAKED, REAL]


@pytest.fixture
def field(request: pytest.FixtureRequest, here: Path, monkeypatch: pytest.MonkeyPatch) -> Field:
    """A field beside each scheduler; parametrized by its name."""
    for name in os.environ:
        if name.startswith(VARIABLES):
            monkeypatch.delenv(name)
    queue = {**QUEUES, "parallel": GnuParallel}[request.param](here / "queue")
    monkeypatch.setenv("PATH", f"{queue.install()}:{os.environ['PATH']}")
    return Field(queue, here)
