"""How long a worker may go on, and what the scheduler's environment tells."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from cropfit.errors import DesignError
from cropfit.work.limits import find_deadline, job_id, seconds


@pytest.fixture(autouse=True)
def _no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith(("SLURM_", "PBS_", "LSB_", "SGE_", "CROPFIT_", "JOB_ID")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("duration", "value"),
    [
        (90, 90),
        (1.5, 1.5),
        ("45", 45),
        ("10:00", 600),
        ("1:30:00", 5400),
        ("01:30:00", 5400),
        ("1-12:00:00", 129600),
        (timedelta(hours=2), 7200),
    ],
)
def test_durations_are_read_as_schedulers_write_them(duration: Any, value: float) -> None:
    assert seconds(duration) == value


@pytest.mark.parametrize("duration", ["soon", "", "1:2:3:4", -3, 0, "0", timedelta(0), math.nan])
def test_what_is_no_duration_is_refused(duration: Any) -> None:
    with pytest.raises(DesignError, match="duration"):
        seconds(duration)


@pytest.mark.parametrize("duration", [None, [], object()])
def test_a_duration_of_another_type_is_refused_too(duration: Any) -> None:
    with pytest.raises(DesignError, match="duration"):
        seconds(duration)


def test_the_earlier_of_walltime_and_deadline_counts() -> None:
    now = time.time()

    assert find_deadline() == math.inf
    assert find_deadline(walltime=100) == pytest.approx(now + 100, abs=5)
    assert find_deadline(walltime=100, deadline=now + 50) == pytest.approx(now + 50)
    assert find_deadline(walltime=10, deadline=now + 50) == pytest.approx(now + 10, abs=5)


@pytest.mark.parametrize("hours", [1, -3])
def test_moments_are_numbers_datetimes_and_iso_text(hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    moment = datetime(2030, 5, 1, 12, tzinfo=zone)

    for told in (moment, moment.isoformat(), moment.timestamp()):
        assert find_deadline(deadline=told) == moment.timestamp()
    assert find_deadline(deadline="2030-05-01T12:00") == datetime(2030, 5, 1, 12).timestamp()


def test_what_is_no_moment_is_refused() -> None:
    with pytest.raises(DesignError, match="no moment"):
        find_deadline(deadline="tomorrow")


@pytest.mark.parametrize(
    ("environment", "end"),
    [
        ({"SLURM_JOB_END_TIME": "2000000000"}, 2e9),
        ({"CROPFIT_DEADLINE": "2000000000.5"}, 2000000000.5),
        ({"CROPFIT_DEADLINE": "1900000000", "SLURM_JOB_END_TIME": "2000000000"}, 1.9e9),
        ({"SLURM_JOB_END_TIME": "unknown"}, math.inf),
    ],
)
def test_the_environment_tells_when_the_job_ends(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], end: float
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert find_deadline() == end
    assert find_deadline(walltime=10) == pytest.approx(time.time() + 10, abs=5)


def test_a_walltime_of_the_environment_counts_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBS_WALLTIME", "3600")

    assert find_deadline() == pytest.approx(time.time() + 3600, abs=5)


@pytest.mark.parametrize(
    ("environment", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "5"}, "12_5"),
        ({"PBS_JOBID": "7.server"}, "7.server"),
        ({"LSB_JOBID": "9", "LSB_JOBINDEX": "4"}, "9_4"),
        ({"JOB_ID": "3", "SGE_TASK_ID": "undefined"}, "3"),
        ({"JOB_ID": "3", "SGE_TASK_ID": "8"}, "3_8"),
        ({"CROPFIT_JOB": "5.1", "SLURM_JOB_ID": "12"}, "5.1"),
    ],
)
def test_the_job_is_told_with_its_array_index(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], job: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert job_id() == job
