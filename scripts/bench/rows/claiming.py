"""Many workers for the same batches: each is grown once, and how long all of them take."""

from __future__ import annotations

import os
import subprocess
import sys

import crops
import functions
import reservations
from contest import Row, Sizes, contender, faster_than, holds, within
from meter import Meter

CALLS = "calls"


class Workers(Row):
    """Processes that are up, and begin at the same moment."""

    title = "{workers} workers, {batches} batches of one case"
    limit = "as many processes, two renames and a write a batch"
    per = "batches"
    marks = (
        within(3),
        holds("each case once", lambda notes, row: notes["cropfit"]["calls"] == row.batches),
        faster_than("xyzpy", 1),
    )
    warm = False

    def race(self, meter: Meter, code: str, share: float = 1.0) -> None:
        """Let the workers run `code`, each knowing its number `me` of `all`."""
        program = (
            "import sys, warnings; warnings.simplefilter('ignore')\n"
            "me, all = map(int, sys.argv[1:])\n"
            "{}\nprint('ready', flush=True); sys.stdin.readline()\n{}\nprint('done', flush=True)\n"
        ).format(*code.split("---"))
        command = [sys.executable, "-c", program]
        workers = [
            subprocess.Popen(
                [*command, str(k), str(self.workers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for k in range(self.workers)
        ]
        for worker in workers:
            await_line(worker, "ready")
        with meter(share=share):
            for worker in workers:
                print(file=worker.stdin, flush=True)
            for worker in workers:
                await_line(worker, "done")
        for worker in workers:
            worker.communicate()
        meter.notes["calls"] = os.path.getsize(CALLS) / share

    @contender
    def bare(self, meter: Meter) -> None:
        for state in ("sown", "growing", "grown"):
            os.mkdir(state)
        for k in range(self.batches):
            os.mkdir(f"sown/{k:06d}")
        self.race(
            meter,
            "import functions; from rows.growing import move\n---\n"
            f"for k in range({self.batches}):\n"
            f"    k = (k + me * {self.batches} // all) % {self.batches}\n"
            "    try: move(k)\n"
            "    except FileNotFoundError: continue\n"
            f"    functions.counted(k, {CALLS!r})\n",
        )

    @contender
    def cropfit(self, meter: Meter) -> None:
        resources = {"calls": os.path.abspath(CALLS)}
        crop = crops.ours(functions.counted, batchsize=1, resources=resources)
        crop.sow_combos({"a": range(self.batches)})
        self.race(
            meter,
            f"import cropfit, functions; crop = cropfit.Crop(name={crops.NAME!r}, verbosity=0)\n"
            "---\ncrop.grow()",
        )

    @contender
    def xyzpy(self, meter: Meter) -> None:
        """A part of the batches: every worker computes them all."""
        share = 0.8 / self.workers
        constants = {"calls": os.path.abspath(CALLS)}
        crop = crops.theirs(functions.counted, batchsize=1, constants=constants)
        crop.sow_combos({"a": range(int(self.batches * share))}, verbosity=0)
        self.race(
            meter,
            f"import xyzpy, functions; crop = xyzpy.Crop(name={crops.NAME!r})\n"
            "---\ncrop.grow(crop.missing_results(), verbosity=0)",
            share,
        )

    @contender
    def sqlite(self, meter: Meter) -> None:
        reservations.sow((k, k, 0) for k in range(self.batches)).close()
        self.race(
            meter,
            "import functools, functions, reservations; jobs = reservations.connect()\n---\n"
            "keys = reservations.missing(jobs); at = me * len(keys) // all\n"
            f"call = functools.partial(functions.counted, calls={CALLS!r})\n"
            "reservations.populate(jobs, keys[at:] + keys[:at], call)",
        )


class EightWorkers(Workers):
    sizes = Sizes(
        quick={"workers": 2, "batches": 100},
        normal={"workers": 8, "batches": 10_000},
    )


class ThirtyTwoWorkers(Workers):
    sizes = Sizes(
        quick={"workers": 3, "batches": 100},
        normal={"workers": 32, "batches": 10_000},
    )


def await_line(worker: subprocess.Popen[str], line: str) -> None:
    if worker.stdout is None or worker.stdout.readline().strip() != line:
        raise RuntimeError(f"a worker ended with {worker.wait()} before it was {line}")
