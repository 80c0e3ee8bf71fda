"""Functions that compute with MPI, under a real mpiexec on the loopback interface alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cropfit as cf

MPIEXEC = Path(sys.executable).with_name("mpiexec")
pytestmark = [
    pytest.mark.needs("root", "unshare", "ip"),
    pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec in this environment (pip: mpich)"),
]
LOOPBACK = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "_"]
GROW = "import cropfit; cropfit.Crop.load('it', verbosity=0).grow()"


def run_ranks(number: int, folder: Path, code: str = GROW) -> subprocess.CompletedProcess[str]:
    command = [*LOOPBACK, str(MPIEXEC), "-n", str(number), sys.executable, "-c", code]
    return subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=200,
    )


def sow(folder: Path, fn, **options) -> cf.Crop:
    crop = cf.Crop(fn, "it", parent_dir=folder, var_names=["z"], verbosity=0, **options)
    crop.sow_combos({"x": range(6)})
    return crop


def test_all_ranks_compute_each_case_and_rank_0_alone_writes(tmp_path):
    log = tmp_path / "log"

    def together(x):
        from mpi4py import MPI

        with open(log, "a") as file:
            file.write(f"{x} {MPI.COMM_WORLD.rank}\n")
        return MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + x)

    crop = sow(tmp_path, together, num_batches=3)

    done = run_ranks(3, tmp_path)

    assert done.returncode == 0, done.stderr
    calls = sorted(log.read_text().splitlines())
    assert calls == sorted(f"{x} {rank}" for x in range(6) for rank in range(3))
    assert [len(os.listdir(f"{crop.location}/grown/{b:06d}")) for b in (1, 2, 3)] == [1, 1, 1]
    assert crop.reap()["z"].values.tolist() == [3 + 3 * x for x in range(6)]


def test_a_case_that_raises_on_another_rank_has_failed_and_the_others_go_on(tmp_path):
    def fails_on_one(x):
        from mpi4py import MPI

        total = MPI.COMM_WORLD.allreduce(1)
        if x == 2 and MPI.COMM_WORLD.rank == 1:
            raise ValueError("not here")
        return total

    crop = sow(tmp_path, fails_on_one)

    done = run_ranks(2, tmp_path)

    assert done.returncode == 0, done.stderr
    (failure,) = crop.errors()
    assert failure["arguments"] == {"x": 2}
    assert "rank 1" in failure["message"]
    assert "ValueError: not here" in failure["message"]
    assert crop.completed_results() == [1, 2, 4, 5, 6]


def test_ranks_of_a_function_without_mpi_are_workers_of_their_own(tmp_path):
    log = tmp_path / "log"

    def alone(x):
        with open(log, "a") as file:
            file.write(f"{x}\n")
        return x

    crop = sow(tmp_path, alone)

    done = run_ranks(3, tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(log.read_text().split()) == list("012345")
    assert crop.reap()["z"].values.tolist() == list(range(6))


def test_a_case_that_is_left_is_left_by_all_ranks(tmp_path):
    def leaves(x):
        from mpi4py import MPI

        MPI.COMM_WORLD.barrier()
        if x == 3:
            cf.current_case().leave()
        return x

    crop = sow(tmp_path, leaves, num_batches=1)

    done = run_ranks(2, tmp_path)

    assert done.returncode == 0, done.stderr
    assert crop.status().sown == 1
    assert crop.peek(fill_value=-1)["z"].values.tolist() == [0, 1, 2, -1, -1, -1]
