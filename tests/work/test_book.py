"""The book of a batch: whoever had it before, one whole file is left in the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import cropfit as cf


@pytest.mark.parametrize("cases", [1, 20])
def test_a_worker_may_get_a_batch_again_that_failed_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: int
) -> None:
    """Somebody retries while it is growing others: its former file stands there still."""
    monkeypatch.chdir(tmp_path)
    retried = tmp_path / "retried"

    def work(x: int) -> int:
        if x == 0 and not retried.exists():
            raise ValueError("not yet")
        if x == cases:
            retried.touch()
            cf.Crop.load("field").retry()
        return 10 * x

    crop = cf.Crop(work, "field", batchsize=cases, var_names="y", verbosity=0)
    crop.sow_combos({"x": range(2 * cases)})

    report = crop.grow()

    assert sorted(report.grown) == [1, 2]
    assert report.failed == [1]
    assert crop.completed_results() == [1, 2]
    assert [len(os.listdir(f"{crop.location}/grown/00000{n}")) for n in (1, 2)] == [1, 1]
    assert crop.reap(to=False).y.values.tolist() == [10 * x for x in range(2 * cases)]
