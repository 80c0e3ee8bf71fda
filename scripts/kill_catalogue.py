"""What kills cost a catalogue: many small fits, two workers, and SIGKILL again and again.

    python scripts/kill_catalogue.py [OBJECTS] [KILLS]

Every point at which the likelihood is computed is counted in a file that outlives the
worker. What the finished fits did not use is wasted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import cropfit as cf

WORKERS = 2
GROW = "import sys, cropfit; sys.exit(cropfit.grow(crop=sys.argv[1]).exit_code)"


class Counted:
    """A straight line's likelihood, which counts its points in one file a process."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.count: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "count": None}

    def __call__(self, p: Any, data: Any) -> Any:
        if self.count is None:
            path = f"{self.folder}/{os.getpid()}"
            self.count = np.memmap(path, "int64", "w+", shape=(1,))
        found = -0.5 * np.sum(((data["y"] - p.a - p.b * data["x"]) / 0.1) ** 2, axis=-1)
        self.count[0] += np.size(found)
        return found


def load(key: int) -> dict[str, Any]:
    rng = np.random.default_rng(key)
    x = np.linspace(0, 1, 20)
    return {"x": x, "y": 1 + rng.uniform(-5, 5) * x + 0.1 * rng.normal(size=20)}


def run(objects: int, kills: int) -> None:
    folder = tempfile.mkdtemp()
    counts = os.path.join(folder, "counts")
    os.mkdir(counts)
    model = cf.Model(Counted(counts), {"a": cf.Uniform(-9, 9), "b": cf.Uniform(-9, 9)})
    cat = cf.fit_catalogue(
        range(objects),
        model,
        load,
        run="killed",
        parent_dir=folder,
        seed=1,
        n_live=100,
        checkpoint_every=0.2,
        verbosity=0,
    )
    dice = random.Random(1)
    workers = [start(cat.location) for _ in range(WORKERS)]
    killed, begin = 0, time.monotonic()
    while any(worker.poll() is None for worker in workers) or not cat.is_ready_to_reap():
        time.sleep(dice.uniform(0.3, 1.5))
        victim = dice.randrange(WORKERS)
        if killed < kills and workers[victim].poll() is None:
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            killed += 1
        for k, worker in enumerate(workers):
            if worker.poll() is not None and not cat.is_ready_to_reap():
                workers[k] = start(cat.location)
    table = cat.merge()
    used = int(table["calls"].sum())
    computed = sum(int(np.fromfile(path, "int64")[0]) for path in Path(counts).iterdir())
    seconds = time.monotonic() - begin
    print(f"{killed} workers killed in {seconds:.0f} s; {dict(table['status'].value_counts())}")
    print(f"{computed} likelihoods computed, {used} used: {computed / used - 1:.2%} wasted")


def start(crop: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", GROW, crop], stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    run(*(int(word) for word in [*sys.argv[1:], *("200", "50")[len(sys.argv) - 1 :]]))
