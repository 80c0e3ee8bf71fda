"""What the bookkeeping costs, each row beside the bare limit measured in the same run.

    python scripts/bench.py [--json FILE] [--rounds N] [ROW ...]

Every measurement is the median of a few rounds, bare and cropfit in turns, so that a busy
machine slows both. Memory is the peak of a fresh process over what it held before.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ROWS: dict[str, Callable[[Path, int], Row]] = {}


def row(function: Callable[[Path, int], Row]) -> Callable[[Path, int], Row]:
    ROWS[function.__name__] = function
    return function


def median(measure: Callable[[], float], rounds: int) -> float:
    return statistics.median(measure() for _ in range(rounds))


def timed(function: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def fresh_process(code: str, cwd: Path) -> float:
    return timed(
        lambda: subprocess.run(
            [sys.executable, "-c", code], cwd=cwd, check=True, stdout=subprocess.DEVNULL
        )
    )


def peak_mib(code: str, cwd: Path) -> float:
    """Peak resident memory, over what the process held when `code` said READY()."""
    program = (
        "import resource, sys\n"
        "def rss():\n"
        "    pages = int(open('/proc/self/statm').read().split()[1])\n"
        "    return pages * resource.getpagesize()\n"
        "base = []\n"
        "def READY():\n"
        "    open('/proc/self/clear_refs', 'w').write('5')\n"
        "    base.append(rss())\n"
        f"{code}\n"
        "peak = [l for l in open('/proc/self/status') if l.startswith('VmHWM')][0].split()[1]\n"
        "print(int(peak) * 1024 - base[0])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, check=True, capture_output=True, text=True
    )
    return int(ran.stdout.split()[-1]) / 2**20


def product_of_two(a: float, b: float) -> float:
    return a * b


def identity(a: int) -> int:
    return a


def spectrum(a: int) -> Any:
    import numpy as np

    return np.full(100_000, float(a))


def new_crop(folder: Path, function: Callable[..., Any], **options: Any) -> Any:
    import cropfit as cf

    shutil.rmtree(folder / ".crop-bench", ignore_errors=True)
    return cf.Crop(function, "bench", parent_dir=folder, var_names=["r"], verbosity=0, **options)


MILLION = {"a": range(1000), "b": range(1000)}


@row
def sow_grid_of_1e6_cases(folder: Path, rounds: int) -> Row:
    def bare() -> float:
        shutil.rmtree(folder / "bare", ignore_errors=True)
        return timed(lambda: [os.makedirs(folder / "bare" / str(k)) for k in range(1000)])

    def ours() -> float:
        crop = new_crop(folder, product_of_two, num_batches=1000)
        return timed(lambda: crop.sow_combos(MILLION))

    code = (
        "import cropfit as cf, cropfit.work.sow, cropfit.work.request\n"
        "def f(a, b): return a * b\n"
        "shutil_crop = cf.Crop(f, 'mem', num_batches=1000, verbosity=0)\n"
        "READY()\n"
        "shutil_crop.sow_combos({'a': range(1000), 'b': range(1000)})\n"
        "shutil_crop.delete()"
    )
    return {
        "bare": median(bare, rounds),
        "ours": median(ours, rounds),
        "unit": "s; bare: 1000 mkdir",
        "memory_mib": peak_mib(code, folder),
        "mark": "0.042 s (50 x xyzpy's 2.1 s), under 10 MB",
    }


@row
def grow_1e5_trivial_cases(folder: Path, rounds: int) -> Row:
    cases = [{"a": a, "b": b} for a, b in itertools.product(range(100), range(1000))]

    def bare() -> float:
        return timed(lambda: [product_of_two(**case) for case in cases])

    def ours() -> float:
        crop = new_crop(folder, product_of_two, batchsize=1000)
        crop.sow_combos({"a": range(100), "b": range(1000)})
        return timed(crop.grow)

    loop, grown = median(bare, rounds), median(ours, rounds)
    return {
        "bare": loop * 10,
        "ours": grown * 10,
        "unit": "us a case; bare: the loop over fn(**case)",
        "mark": "0.5 us a case and 0.3 ms a batch (0.3 us a case) over the loop",
    }


@row
def grow_1000_batches_of_one_case(folder: Path, rounds: int) -> Row:
    def bare() -> float:
        shutil.rmtree(folder / "bare", ignore_errors=True)
        for state in ("a", "b", "c"):
            os.makedirs(folder / "bare" / state)
        for k in range(1000):
            os.mkdir(folder / "bare" / "a" / str(k))

        def run() -> None:
            for k in range(1000):
                os.rename(folder / "bare" / "a" / str(k), folder / "bare" / "b" / str(k))
                (folder / "bare" / "b" / str(k) / "r").write_bytes(b"x" * 300)
                os.rename(folder / "bare" / "b" / str(k), folder / "bare" / "c" / str(k))

        return timed(run)

    def ours() -> float:
        crop = new_crop(folder, identity, batchsize=1)
        crop.sow_combos({"a": range(1000)})
        return timed(crop.grow)

    return {
        "bare": median(bare, rounds),
        "ours": median(ours, rounds),
        "unit": "ms a batch; bare: two renames and a write",
        "mark": "0.3 ms a batch",
    }


@row
def fresh_process_that_grows_one_batch(folder: Path, rounds: int) -> Row:
    crop = new_crop(folder, identity, num_batches=100)
    crop.sow_combos({"a": range(1000)})
    batches = iter(range(1, 101))
    rounds = max(rounds, 7)
    bare = median(lambda: fresh_process("import numpy, cloudpickle", folder), rounds)
    ours = median(
        lambda: fresh_process(f"import cropfit; cropfit.grow({next(batches)}, 'bench')", folder),
        rounds,
    )
    imported = median(lambda: fresh_process("import cropfit", folder), rounds)
    return {
        "bare": bare,
        "ours": ours,
        "unit": f"s; bare: import numpy, cloudpickle; import cropfit {imported:.3f}",
        "mark": "0.06 s over bare",
    }


@row
def reap_1e6_floats_from_1000_batches(folder: Path, rounds: int) -> Row:
    import numpy as np
    import xarray  # noqa: F401  its import is not ours

    crop = new_crop(folder, product_of_two, num_batches=1000)
    crop.sow_combos(MILLION)
    crop.grow()
    files = sorted((folder / ".crop-bench" / "grown").glob("*/results.*"))
    code = (
        "import cropfit as cf, xarray, netCDF4\n"
        "crop = cf.Crop(name='bench', verbosity=0)\n"
        "crop.status()\n"
        "READY()\n"
        "ds = crop.reap(to=False)"
    )
    return {
        "bare": median(lambda: timed(lambda: [np.fromfile(f) for f in files]), rounds),
        "ours": median(lambda: timed(lambda: crop.reap(to=False)), rounds),
        "unit": "s; bare: reading the files",
        "memory_mib": peak_mib(code, folder),
        "mark": "0.1 s (15 x xyzpy's 1.5 s), under 3 x 7.6 MiB",
    }


@row
def reap_763_mib_of_arrays(folder: Path, rounds: int) -> Row:
    import numpy as np
    import xarray  # noqa: F401

    crop = new_crop(folder, spectrum, num_batches=100)
    crop.sow_combos({"a": range(1000)})
    crop.grow()
    files = sorted((folder / ".crop-bench" / "grown").glob("*/results.*"))
    loaded = (
        "import cropfit as cf, xarray, netCDF4\n"
        "crop = cf.Crop(name='bench', verbosity=0)\n"
        "READY()\n"
    )

    def written() -> None:
        data = np.ones(1 << 20)
        with open(folder / "raw", "wb") as file:
            for _ in range(95):
                file.write(data)
            os.fsync(file.fileno())
        os.unlink(folder / "raw")

    def to_file() -> float:
        (folder / "out.nc").unlink(missing_ok=True)
        return timed(lambda: crop.reap(to=folder / "out.nc", load=False, clean_up=False))

    memory = median(lambda: timed(lambda: crop.reap(to=False)), rounds)
    return {
        "bare": median(lambda: timed(lambda: [np.fromfile(f) for f in files]), rounds),
        "ours": memory,
        "unit": "s in memory; bare: reading the files",
        "memory_mib": peak_mib(loaded + "ds = crop.reap(to=False)", folder),
        "mark": "below 1.7 s, at most 877 MiB",
        "stream_s": median(to_file, 1),
        "raw_write_s": median(lambda: timed(written), 1),
        "stream_memory_mib": peak_mib(
            loaded + "crop.reap(to='out2.nc', load=False, clean_up=False)", folder
        ),
    }


@row
def status_of_1e5_batches(folder: Path, rounds: int) -> Row:
    crop = new_crop(folder, identity, batchsize=1)
    crop.sow_combos({"a": range(100_000)})
    sown = folder / ".crop-bench" / "sown"
    return {
        "bare": median(lambda: timed(lambda: sum(1 for _ in os.scandir(sown))), rounds),
        "ours": median(lambda: timed(crop.status), rounds),
        "unit": "s; bare: scandir",
        "mark": "2 x bare",
        "missing_s": median(lambda: timed(crop.missing_results), rounds),
    }


@row
def eight_workers_1e4_batches(folder: Path, rounds: int) -> Row:
    code = "import cropfit; cropfit.grow(crop='bench')"

    def bare() -> float:
        shutil.rmtree(folder / "bare", ignore_errors=True)
        for state in ("a", "b"):
            os.makedirs(folder / "bare" / state)
        for k in range(10_000):
            os.mkdir(folder / "bare" / "a" / str(k))
        a, b = str(folder / "bare" / "a"), str(folder / "bare" / "b")
        return timed(lambda: [os.rename(f"{a}/{k}", f"{b}/{k}") for k in range(10_000)])

    crop = new_crop(folder, identity, batchsize=1)
    crop.sow_combos({"a": range(10_000)})

    def eight() -> None:
        running = [
            subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.DEVNULL)
            for _ in range(8)
        ]
        for process in running:
            process.wait()

    took = timed(eight)
    return {
        "bare": median(bare, rounds),
        "ours": took,
        "unit": "s, growing and start of 8 processes included; bare: 1e4 renames",
        "mark": "each case once (tests), claims under 3 x the renames",
        "grown": crop.num_results,
    }


@row
def engines_beside_their_own_map(folder: Path, rounds: int) -> Row:
    """Batches of one case; a pool of two workers that is up, and its own submit of a no-op."""
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    from distributed import Client
    from joblib.externals.loky import ProcessPoolExecutor as Loky

    makers: dict[str, Callable[[], Any]] = {
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(2, multiprocessing.get_context("spawn")),
        "loky": lambda: Loky(2),
        "dask": lambda: Client(n_workers=2, threads_per_worker=1, dashboard_address=None),
    }
    found: Row = {}
    for name, make in makers.items():
        with make() as pool:
            found |= {f"{name}{kind}_ms": took for kind, took in by_pool(folder, pool).items()}
    return {
        "bare": found["loky_bare_ms"],
        "ours": found["loky_ms"],
        "unit": "ms a batch by loky; bare: its submit of the same function",
        "mark": "none; claims are made by the workers themselves, without the engine",
        **found,
    }


def by_pool(folder: Path, pool: Any) -> dict[str, float]:
    """Milliseconds a batch: the pool's own submit, ours, and ours shipped."""
    told = {"pure": False} if hasattr(pool, "scatter") else {}

    def bare() -> None:
        for future in [pool.submit(identity, k, **told) for k in range(1000)]:
            future.result()

    def grow(number: int, ship: bool) -> float:
        crop = new_crop(folder, identity, batchsize=1)
        crop.sow_combos({"a": range(number)})
        took = timed(lambda: crop.grow(executor=pool, num_workers=2, ship=ship))
        return took * 1000 / number

    bare()  # the workers are up from here on
    return {"": grow(1000, False), "_ship": grow(300, True), "_bare": timed(bare)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    found = {}
    for name in wanted.rows or ROWS:
        with tempfile.TemporaryDirectory(prefix="cropfit-bench-") as folder:
            found[name] = ROWS[name](Path(folder), wanted.rounds)
        told = found[name]
        ratio = told["ours"] / told["bare"]
        rest = ", ".join(
            f"{k} {v:.3g}"
            for k, v in told.items()
            if k.endswith(("_mib", "_s", "_ms")) or k == "grown"
        )
        print(f"{name}\n    ours {told['ours']:.4g}  bare {told['bare']:.4g}  ratio {ratio:.2f}")
        print(f"    {told['unit']}")
        print(f"    {rest + '; ' if rest else ''}mark: {told['mark']}", flush=True)
    if wanted.json:
        machine = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        }
        wanted.json.write_text(json.dumps({"machine": machine, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
