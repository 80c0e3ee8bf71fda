"""Each case tells what became of it."""

from __future__ import annotations

import numpy as np
import pytest
from grown_results import Grown, sow

from cropfit.disk.records import Records
from cropfit.errors import ResultError
from cropfit.outputs import Outputs
from cropfit.work.assemble import assemble
from cropfit.work.diagnostics import diagnose, diagnostic_variables


def reap(grown, outputs=None, batches=None, **options):
    outputs = outputs or Outputs.parse(grown.names)
    batches = grown.batches if batches is None else batches
    return assemble(grown.sowings, outputs, grown, batches=batches, **options)


def test_diagnostics_tell_what_became_of_each_case():
    grown = Grown(sow({"a": [1, 2, 3, 4, 5, 6]}, batchsize=2), lambda a: a, ["r"], fails={1})
    ds = reap(grown, batches=[1], diagnostics=True, ignored=[3])
    assert ds.case_status.values.tolist() == [0, 1, 2, 2, 3, 3]
    assert ds.case_status.dtype == np.int8
    assert ds.case_status.attrs["flag_values"].tolist() == [0, 1, 2, 3]
    assert ds.case_status.attrs["flag_values"].dtype == np.int8
    assert ds.case_status.attrs["flag_meanings"] == "done failed missing ignored"
    np.testing.assert_array_equal(ds.case_seconds, [0.5, 1.5] + [np.nan] * 4)
    assert ds.case_seconds.attrs["units"] == "s"
    assert ds.case_host.values.tolist() == ["barn", "silo", "", "", "", ""]
    assert ds.case_attempt.values.tolist() == [1, 2, 0, 0, 0, 0]


def test_a_case_that_was_done_in_the_end_counts_its_failures():
    sown = sow({"a": [1, 2]}, num_batches=1)
    records = Grown(sown, lambda a: a, ["r"])(1)
    records.errors.append({"offset": 1, "attempt": 2, "final": False, "host": "silo"})
    found = diagnose(records, 2)
    assert found["case_status"].tolist() == [0, 0]
    assert found["case_attempt"].tolist() == [1, 3]
    assert found["case_host"].tolist() == ["barn", "barn"]


def test_nothing_recorded_is_missing():
    assert diagnose(Records(), 2)["case_status"].tolist() == [2, 2]


def test_a_result_with_the_name_of_a_diagnostic_is_an_error():
    with pytest.raises(ResultError, match="case_host"):
        diagnostic_variables(["case_host"])
