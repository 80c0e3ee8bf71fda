"""Commands that compute: what they tell, how they end, and what they leave."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
import time

import pytest
import xarray as xr
from shell import cropfit, folders, shell, started
from steps import Gate, python

import cropfit as cf


def test_a_crop_is_grown_and_reaped_from_the_shell(plain, here):
    assert shell("grow", "grid") == (
        0,
        "3 batches grown, 6 cases computed\ngrid: batches 3 grown\n",
        "",
    )

    code, out, err = shell("reap", "grid")

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"Saved and verified: {here}/grid.nc  (x 6)",
        f"{plain.location} is deleted",
    ]
    with xr.open_dataset("grid.nc") as ds:
        assert ds.y.to_series().to_dict() == {x: 10 * x for x in range(6)}
    assert os.listdir(here) == ["grid.nc"]


def test_each_failed_case_is_a_line_and_the_exit_code_is_1(odd_fails):
    code, out, err = shell("grow")

    assert code == 1
    assert err == "failed: batch 2 case 1 (x=3) ValueError: not three\n"
    assert out.splitlines() == [
        "2 batches grown, 1 failed, 6 cases computed",
        "grid: batches 2 grown, 1 failed; see 'cropfit errors grid'",
    ]
    assert folders(odd_fails)["failed"] == ["000002"]


def test_the_first_failure_ends_it_if_that_was_asked_for(odd_fails):
    done = cropfit("grow", "grid", "--on-error", "raise")

    assert done.exit_code == 1
    assert "ValueError: not three\nreally not" in done.stderr
    assert folders(odd_fails)["sown"] == ["000002", "000003"]


def test_batches_are_named_by_numbers_and_ranges(sow):
    crop = sow(lambda x: x, cases=24)
    assert cropfit("grow", "grid", "1-3", "7", "12").exit_code == 0
    assert cropfit("missing", "grid").stdout == "4-6 8-11\n"
    assert cropfit("grow", "grid", *cropfit("missing").stdout.split()).exit_code == 0
    assert crop.is_ready_to_reap()


def test_a_batch_that_is_grown_counts_as_done(plain):
    cropfit("grow", "grid", "2")
    done = cropfit("grow", "grid", "2")
    assert done.exit_code == 0
    assert done.stderr == "Batch 2 is grown already.\n"
    assert "0 batches grown, 0 cases computed" in done.stdout


@pytest.mark.parametrize(
    "variable",
    ["SLURM_ARRAY_TASK_ID", "SGE_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX"],
)
def test_the_index_of_an_array_job_names_the_batch(plain, monkeypatch, variable):
    for other in ("SGE_TASK_ID", "LSB_JOBINDEX"):
        monkeypatch.setenv(other, "undefined" if other == "SGE_TASK_ID" else "0")
    monkeypatch.setenv(variable, "2")
    assert cropfit("grow", "grid", "--task").exit_code == 0
    assert folders(plain)["grown"] == ["000002"]


def test_outside_of_an_array_job_there_is_no_index(plain, monkeypatch):
    monkeypatch.setenv("SGE_TASK_ID", "undefined")
    monkeypatch.setenv("LSB_JOBINDEX", "0")
    done = cropfit("grow", "grid", "--task")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no task of an array" in done.stderr
    assert len(folders(plain)["sown"]) == 3


def test_threads_are_capped_before_any_numerical_library_is_loaded(sow):
    """The command line loads click alone; the caps stand when the function's numpy comes."""
    loaded = python(
        "import sys; import cropfit.cli; print({'numpy', 'cloudpickle'} & set(sys.modules))"
    )
    assert loaded == "set()\n"

    crop = sow(lambda x: int(os.environ["OMP_NUM_THREADS"] + os.environ["MKL_NUM_THREADS"]))
    assert shell("grow", "--threads", "3")[0] == 0
    assert set(crop.reap().y.values) == {33}


@pytest.mark.parametrize("option", [("--walltime", "soon"), ("--deadline", "soon")])
def test_a_time_that_is_none_is_refused(plain, option):
    done = cropfit("grow", "grid", *option)
    assert done.exit_code == 2
    assert "'soon'" in done.stderr


@pytest.mark.parametrize("moment", ["2001-01-01T00:00", "978307200"])
def test_nothing_is_begun_behind_the_deadline(plain, moment):
    done = cropfit("grow", "grid", "--deadline", moment)
    assert done.exit_code == 75
    assert "ended by time, 0 cases computed" in done.stdout
    assert len(folders(plain)["sown"]) == 3


def test_a_case_that_hangs_costs_itself_alone(sow, tmp_path):
    gate = Gate(tmp_path / "gate")

    def hang_at_two(x):
        if x == 2:
            gate.stop_here()
        return x

    crop = sow(hang_at_two)
    done = cropfit("grow", "grid", "--timeout", "3")

    assert done.exit_code == 1
    (failure,) = crop.errors()
    assert (failure["arguments"], failure["type"]) == ({"x": 2}, "Timeout")
    assert folders(crop)["grown"] == ["000001", "000003"]


def test_workers_are_processes_of_their_own(sow):
    crop = sow(lambda x: os.getpid())
    assert cropfit("grow", "--workers", "2").exit_code == 0
    assert os.getpid() not in crop.reap().y.values


@pytest.mark.parametrize("size", ["none", "2X", "0"])
def test_a_size_that_is_none_is_refused(plain, size):
    assert cropfit("grow", "--max-memory", size).exit_code == 2
    assert cropfit("grow", "--max-memory", "2G").exit_code == 0


@pytest.mark.parametrize("how", [(), ("--workers", "1")], ids=["here", "workers"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_gives_the_batch_back_and_keeps_what_is_finished(in_case_3, number, code, how):
    crop, gate, tally = in_case_3
    worker = started("grow", "grid", *how)
    gate.wait_for_arrival()

    worker.send_signal(number)
    out, err = worker.communicate(timeout=200)

    assert worker.returncode == code
    assert f"ended by {signal.Signals(number).name}" in out
    assert "Traceback" not in err
    assert folders(crop)["sown"] == ["000001"]
    os.unlink(f"{gate.folder}/closed")
    assert cropfit("grow", "grid").exit_code == 0
    assert tally.all() == ["0", "1", "2", "3", "3", "4", "5"]
    assert list(crop.reap().y.values) == list(range(6))


def test_a_worker_that_is_asked_to_stop_finishes_its_case_and_ends_with_75(sow, tmp_path):
    gate = Gate(tmp_path / "gate")

    def until_asked(x):
        if x == 0:
            gate.stop_here()
            while not cf.current_case().should_stop():
                continue
            end = time.monotonic() + 2.1  # workers look for the sign every two seconds
            while time.monotonic() < end:
                continue
        return x

    crop = sow(until_asked)
    worker = started("grow", "grid")
    gate.wait_for_arrival()
    gate.let_go()

    assert cropfit("stop", "grid").stdout == "1 worker of grid asked to leave\n"
    out, err = worker.communicate(timeout=200)

    assert worker.returncode == 75
    assert "1 case computed" in out
    assert "asked to stop" in err
    assert len(folders(crop)["sown"]) == 3


def test_a_rehearsal_grows_one_batch_in_a_fresh_interpreter(sow):
    crop = sow(lambda x: os.getpid())
    assert cropfit("rehearse").exit_code == 0
    assert folders(crop)["grown"] == ["000001"]
    assert cropfit("rehearse", "grid", "3").exit_code == 0
    assert cropfit("rehearse", "grid", "1-2").exit_code == 2
    cropfit("grow")
    assert cropfit("rehearse").exit_code == 2
    assert os.getpid() not in crop.reap().y.values[[0, 1, 4, 5]]


def test_a_rehearsal_shows_why_a_case_fails(odd_fails):
    done = cropfit("rehearse", "grid", "2")
    assert done.exit_code == 1
    assert "ValueError: not three\nreally not" in done.stderr


def test_progress_is_shown_on_a_terminal_alone(plain):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    worker = started("grow", "grid", stderr=theirs)
    os.close(theirs)
    worker.communicate(timeout=200)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "3/3" in shown
    assert shell("grow", "grid")[2] == ""
