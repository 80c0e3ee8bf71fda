"""The demo: certified regression problems, fitted by workers of which one is killed half way.

    python scripts/demo/run.py [FOLDER]        (default: demo-output)

27 problems x 2 starting points x 3 optimisers are sown as one crop; three workers, each a process
of its own as it would be on a cluster, share the batches. When half of them are grown one worker
is killed with SIGKILL in the middle of a batch; the others find that out and finish its work. Then
the crop is reaped to FOLDER/nist.nc, counted, and drawn as FOLDER/nist.png.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from nist_models import fit, load_problems

import cropfit as cf

NAME = "nist"
OPTIMISERS = ["lm", "trf", "nelder-mead"]
BATCHES = 54
WORKERS = 3
MARKS = [2, 4, 6, 8, 10]


def start_worker(folder: Path) -> subprocess.Popen[str]:
    """Start one worker, as one would in any shell on any host that sees the folder."""
    command = [sys.executable, "-m", "cropfit", "grow", NAME, "--parent-dir", str(folder)]
    log = folder / "workers.log"
    with log.open("a", encoding="utf-8") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, text=True)


def claims(crop_folder: Path) -> dict[int, str]:
    """Who grows what: process id to the name of the batch's folder, read off ``growing/``."""
    found = {}
    for claim in os.listdir(crop_folder / "growing"):
        batch, _, owner = claim.partition("@")
        found[int(owner.split(".")[-2])] = batch
    return found


def kill_one(workers: list[subprocess.Popen[str]], crop_folder: Path) -> str | None:
    """Kill a worker that is inside a batch; the batch's number, None if none is at the moment.

    It is stopped first, so that what it holds cannot change between the look and the kill.
    """
    for worker in workers:
        if worker.poll() is not None or worker.pid not in claims(crop_folder):
            continue
        worker.send_signal(signal.SIGSTOP)
        batch = claims(crop_folder).get(worker.pid)
        if batch is None:
            worker.send_signal(signal.SIGCONT)
            continue
        worker.kill()
        worker.wait()
        return batch
    return None


def grow(folder: Path) -> None:
    """Let three workers grow the crop and kill one of them half way."""
    crop_folder = folder / f".crop-{NAME}"
    workers = [start_worker(folder) for _ in range(WORKERS)]
    killed = None
    while any(worker.poll() is None for worker in workers):
        done = len(os.listdir(crop_folder / "grown"))
        if killed is None and done >= BATCHES // 2:
            killed = kill_one(workers, crop_folder)
            if killed is not None:
                print(f"  {done} of {BATCHES} batches grown: a worker was killed inside {killed}")
        time.sleep(0.005)
    codes = [worker.returncode for worker in workers]
    print(f"  the workers ended with {codes}; {-signal.SIGKILL} is the one that was killed")
    if killed is None or sorted(codes) != [-signal.SIGKILL] + [0] * (WORKERS - 1):
        sys.exit(f"The demo went wrong; see {folder / 'workers.log'}")


def print_counts(dataset: Any) -> None:
    """Print how many fits reach how many certified digits."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Fits that reach so many certified digits", title_justify="left")
    table.add_column("optimiser")
    table.add_column("start", justify="right")
    for mark in MARKS:
        table.add_column(f">= {mark}", justify="right")
    table.add_column("of", justify="right")
    table.add_column("median calls", justify="right")
    for optimiser in OPTIMISERS:
        for start in (1, 2):
            part = dataset.sel(optimiser=optimiser, start=start)
            counts = [str(int((part.digits >= mark).sum())) for mark in MARKS]
            effort = f"{float(part.evaluations.median()):.0f}"
            table.add_row(optimiser, str(start), *counts, str(part.digits.size), effort)
    Console().print(table)


def draw(dataset: Any, path: Path) -> None:
    """Save the digits of every fit as one picture, hardest problems last."""
    import matplotlib as mpl
    import numpy as np

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    levels = ["Lower", "Average", "Higher"]
    difficulty = {name: problem.difficulty for name, problem in load_problems().items()}
    digits = dataset.digits.transpose("problem", "optimiser", "start").sel(optimiser=OPTIMISERS)
    mean = dict(zip(digits.problem.values, digits.mean(("optimiser", "start")).values, strict=True))
    names = sorted(mean, key=lambda name: (levels.index(difficulty[name]), -mean[name]))
    cells = digits.sel(problem=names).values.reshape(len(names), -1)

    figure, axes = plt.subplots(figsize=(6.4, 8.2), layout="constrained")
    image = axes.imshow(cells, cmap="viridis", vmin=0, vmax=11, aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        ink = "black" if value > 5 else "white"
        axes.text(column, row, f"{value:.1f}", color=ink, ha="center", va="center", fontsize=8)
    axes.set_xticks(range(6), [f"start {start}" for _ in OPTIMISERS for start in (1, 2)])
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, labelsize=8)
    for column in (1.5, 3.5):
        axes.axvline(column, color="white", linewidth=3)
    for column, optimiser in zip((0.5, 2.5, 4.5), OPTIMISERS, strict=True):
        axes.text(column, -0.7, optimiser, ha="center", va="bottom", fontweight="bold")
    counts = [sum(difficulty[name] == level for name in names) for level in levels]
    for first, count, level in zip(np.cumsum([0, *counts]), counts, levels, strict=False):
        if first:
            axes.axhline(first - 0.5, color="white", linewidth=3)
        middle = first + (count - 1) / 2
        axes.text(5.6, middle, f"{level.lower()} difficulty", rotation=-90, va="center", fontsize=8)
    axes.spines[:].set_visible(False)
    axes.set_title("Certified digits that each fit reaches (NIST StRD)", pad=24)
    figure.colorbar(
        image, ax=axes, label="correct digits of the worst parameter", shrink=0.6, pad=0.06
    )
    figure.savefig(path, dpi=150)


def main() -> None:
    """Sow, grow, reap, count, draw."""
    began = time.perf_counter()
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("nist.nc", "nist.png", "workers.log"):
        (folder / old).unlink(missing_ok=True)

    crop = cf.Crop(
        fn=fit,
        name=NAME,
        parent_dir=folder,
        var_names=["digits", "rss", "evaluations"],
        num_batches=BATCHES,
    )
    combos = {"problem": load_problems(), "start": [1, 2], "optimiser": OPTIMISERS}
    crop.sow_combos(combos, exists="replace")
    print(f"sown: 27 problems x 2 starting points x 3 optimisers in {BATCHES} batches")
    grow(folder)
    dataset = crop.reap(to=folder / "nist.nc")
    print_counts(dataset)
    draw(dataset, folder / "nist.png")
    print(f"{folder / 'nist.nc'}\n{folder / 'nist.png'}")
    print(f"The whole took {time.perf_counter() - began:.1f} s.")


if __name__ == "__main__":
    main()
