"""Batches are read once where they are alike, and planned anew where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from grown_results import Grown, sow

from cropfit.errors import DamagedError
from cropfit.outputs import Outputs
from cropfit.work import fill
from cropfit.work.assemble import assemble
from cropfit.work.fill import Harvest
from cropfit.work.target import plan_layout


def reap(grown, outputs=None, batches=None, **options):
    outputs = outputs or Outputs.parse(grown.names)
    batches = grown.batches if batches is None else batches
    return assemble(grown.sowings, outputs, grown, batches=batches, **options)


class Heap:
    """A sink that keeps nothing."""

    def put(self, variable, cells, values):
        pass


def test_a_large_uniform_crop_is_read_once():
    grown = Grown(sow({"a": range(10)}, batchsize=2), lambda a: a, ["r"])
    target = plan_layout(grown.sowings)
    harvest = Harvest(
        grown.sowings, Outputs.parse("r"), grown, batches=grown.batches, target=target, keep=1
    )
    harvest.run(lambda plan: Heap())
    assert sorted(grown.reads) == grown.batches


@pytest.mark.parametrize("odd", ["dtype", "missing", "shape"])
def test_a_large_crop_with_an_odd_batch_at_the_end_is_planned_anew(odd, monkeypatch):
    defaults = {**Harvest.__init__.__kwdefaults__, "keep": 1}
    monkeypatch.setattr(Harvest.__init__, "__kwdefaults__", defaults)

    def fn(a):
        if a == 9 and odd == "dtype":
            return 0.5
        return np.zeros(2 if a == 9 and odd == "shape" else 1) if odd == "shape" else a

    fails = {9} if odd == "missing" else ()
    grown = Grown(sow({"a": range(10)}, batchsize=2), fn, ["r"], fails=fails)
    ds = reap(grown)
    if odd == "shape":
        assert ds.r_length.values.tolist() == [1] * 9 + [2]
    else:
        expected = [*range(9), 0.5 if odd == "dtype" else np.nan]
        np.testing.assert_array_equal(ds.r, expected)


def test_a_case_that_is_there_twice_counts_once():
    sown = sow({"a": [1, 2, 3]}, num_batches=1)
    grown = Grown(sown, lambda a: a, ["r"], run=1)

    def read(batch):
        records = grown(batch)
        records.chunks[2:] = records.chunks[1:2]
        return records

    ds = assemble([sown], Outputs.parse("r"), read, batches=[1])
    np.testing.assert_array_equal(ds.r, [1, 2, np.nan])


def test_a_result_of_a_case_that_the_batch_does_not_have_is_damage():
    grown = Grown(sow({"a": [1, 2, 3]}, num_batches=1), lambda a: a, ["r"])
    small = sow({"a": [1, 2]}, num_batches=1)
    with pytest.raises(DamagedError, match="batch 1 has 2 cases"):
        assemble([small], Outputs.parse("r"), grown, batches=[1])


def test_large_batches_are_read_ahead_each_once(monkeypatch):
    monkeypatch.setattr(fill, "LARGE", 1)
    defaults = {**Harvest.__init__.__kwdefaults__, "keep": 1}
    monkeypatch.setattr(Harvest.__init__, "__kwdefaults__", defaults)
    grown = Grown(sow({"a": range(10)}, batchsize=2), lambda a: a, ["r"])
    assert reap(grown).r.values.tolist() == list(range(10))
    assert grown.reads == grown.batches


def test_an_error_while_reading_ahead_is_raised(monkeypatch):
    monkeypatch.setattr(fill, "LARGE", 1)
    defaults = {**Harvest.__init__.__kwdefaults__, "keep": 1}
    monkeypatch.setattr(Harvest.__init__, "__kwdefaults__", defaults)
    grown = Grown(sow({"a": range(10)}, batchsize=2), lambda a: a, ["r"])

    def read(batch):
        if batch == 4:
            raise DamagedError("torn")
        return grown(batch)

    with pytest.raises(DamagedError, match="torn"):
        assemble(grown.sowings, Outputs.parse("r"), read, batches=grown.batches)
