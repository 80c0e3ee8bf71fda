"""GPUs, cores and logs of workers in processes of their own."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from steps import Gate, Tally, tree

import cropfit as cf

CORES = sorted(os.sched_getaffinity(0))


def sown(fn: Any, cases: int = 8, **options: Any) -> cf.Crop:
    crop = cf.Crop(fn, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(cases)}, **options)
    return crop


def test_no_more_workers_see_a_gpu_than_it_is_named_for(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        device = os.environ["CUDA_VISIBLE_DEVICES"]
        tally.add(f"{device} {os.getpid()}")
        time.sleep(0.05)
        return x

    report = sown(work, cases=24).grow(gpus="3,7,7")

    pids: dict[str, set[str]] = {}
    for line in tally.all():
        device, pid = line.split()
        pids.setdefault(device, set()).add(pid)
    assert {
        device: len(each) <= "3,7,7".count(device) for device, each in pids.items()
    } == dict.fromkeys(pids, True)
    assert set(pids) <= {"3", "7"}
    assert len(report.grown) == 24


def test_a_gpu_is_free_again_when_its_worker_died(here: Path) -> None:
    def work(x: int) -> str:
        if x % 2:
            os._exit(3)
        return os.environ["CUDA_VISIBLE_DEVICES"]

    crop = sown(work, cases=4)
    report = crop.grow(gpus=[5], fresh=True)

    assert (len(report.grown), len(report.failures)) == (2, 2)
    seen = crop.reap(to=False, allow_incomplete=True)["z"].values.tolist()
    assert [seen[0], seen[2]] == ["5", "5"]


def test_a_worker_keeps_to_its_cores_and_starts_no_more_threads_than_it_has(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    crop = sown(
        lambda x: f"{sorted(os.sched_getaffinity(0))} {os.environ['OMP_NUM_THREADS']}", cases=2
    )
    crop.grow(affinities=[CORES[:1]])

    assert set(crop.reap()["z"].values.tolist()) == {f"{CORES[:1]} 1"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_workers": 3, "gpus": "0,1"}, "gpus= names 2 places for 3 workers"),
        ({"num_workers": 2, "affinities": [[0]]}, "affinities= names 1 places for 2 workers"),
        ({"affinities": "0-x"}, "affinities='0-x' are no cores"),
        ({"affinities": [[99999]]}, r"names cores \[99999\], but there are"),
        ({"affinities": [[]]}, "names cores"),
    ],
)
def test_places_that_cannot_be_are_refused_before_anything_is_grown(
    here: Path, options: dict[str, Any], told: str
) -> None:
    crop = sown(lambda x: x)
    with pytest.raises(cf.DesignError, match=told):
        crop.grow(**options)

    assert crop.status().sown == 8


def test_an_executor_has_no_places_of_ours(here: Path) -> None:
    crop = sown(lambda x: x)
    with pytest.raises(cf.DesignError, match="gpus="):
        crop.grow(gpus="0", executor="threads")

    assert crop.status().sown == 8


def test_a_log_has_what_each_batch_printed_in_all_its_attempts(here: Path) -> None:
    mark = here / "mark"

    def work(x: int) -> int:
        print(f"case {x}")
        os.system("echo from a child")
        if x == 1 and not mark.exists():
            mark.touch()
            raise ValueError("once")
        return x

    crop = sown(work, cases=4, num_batches=2)
    crop.grow(log=True)
    crop.retry()
    crop.grow(log=True)

    assert crop.log(1).split("\n") == [
        *("case 0", "from a child", "case 1", "from a child", "case 1", "from a child", "")
    ]
    assert "case 0" not in crop.log(2)
    assert crop.reap()["z"].values.tolist() == [0, 1, 2, 3]
    assert tree(here) == ["it.nc", "mark"]


def test_a_log_can_be_read_while_its_batch_grows(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        print("half way", flush=True)
        gate.stop_here()
        return x

    crop = sown(work, cases=1)
    with ThreadPoolExecutor(1) as pool:
        growing = pool.submit(crop.grow, log=True)
        gate.wait_for_arrival()
        seen = crop.log(1)
        gate.let_go()
        growing.result()

    assert seen == "half way\n"


def test_a_batch_without_a_log_says_how_to_have_one(here: Path) -> None:
    crop = sown(lambda x: x)
    crop.grow()

    with pytest.raises(cf.NotFoundError, match="--log"):
        crop.log(1)
