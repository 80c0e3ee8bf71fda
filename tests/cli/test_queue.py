"""Commands that hand crops to batch systems."""

from __future__ import annotations

import json
import os
import sys

import pytest
from queues.kinds import Slurm
from shell import cropfit

import cropfit as cf


@pytest.fixture
def slurm(here, monkeypatch) -> Slurm:
    queue = Slurm(here / "queue")
    monkeypatch.setenv("PATH", f"{queue.install()}:{os.environ['PATH']}")
    return queue


def test_a_crop_is_read_submitted_watched_and_cancelled_from_the_shell(plain, slurm):
    options = ("grid", "2-3", "--time", "1:00:00", "--mem", "2G", "--extra", "comment=a")
    shown = cropfit("script", *options)
    assert "#SBATCH --array=2-3" in shown.stdout
    assert slurm.jobs() == []

    submitted = cropfit("submit", *options)
    assert submitted.stdout == "grid: slurm job 101, 2 tasks, batches 2-3\n"
    assert (slurm.folder / "101.spool").read_text() == shown.stdout

    listed = cropfit("jobs", "grid").stdout.splitlines()
    assert listed[0].split() == ["scheduler", "job", "submitted", "tasks", "their", "batches"]
    assert listed[1].endswith("2 waiting  2 sown")
    again = json.loads(cropfit("submit", "grid", "--json").stdout)
    assert again == {"location": plain.location, "jobs": ["102"]}
    assert cropfit("cancel", "grid").stdout == "grid: cancelled 101, 102\n"
    assert json.loads(cropfit("cancel", "--json").stdout)["cancelled"] == []
    told = json.loads(cropfit("jobs", "--json").stdout)
    assert told["left_over"] == [1, 2, 3]
    assert {task["queue"] for task in told["tasks"]} == {"ended"}


def test_workers_share_what_is_left(plain, slurm):
    cropfit("submit", "grid", "--workers", "2", "--setup", "export A=1", "--setup", "export B=2")
    assert slurm.run() == [[0], [0]]
    assert plain.is_ready_to_reap()
    told = cropfit("submit", "grid")
    assert (told.exit_code, slurm.jobs()[1:]) == (2, [])
    assert "Nothing is left to submit" in told.stderr


def test_a_crop_is_submitted_after_another_one(plain, slurm):
    second = cf.Crop(lambda x: x, "second", verbosity=0)
    second.sow_combos({"x": range(3)})
    cropfit("submit", "grid")
    assert cropfit("submit", "second", "--after", "grid").exit_code == 0
    assert [(job.get("waits"), job.get("after")) for job in slurm.jobs()] == [
        (None, None),
        ("each", [101]),
    ]
    told = cropfit("submit", "second", "--after", "third")
    assert (told.exit_code, len(slurm.jobs())) == (2, 2)


def test_what_cannot_be_is_said_in_a_line(plain, slurm):
    for words, message in {
        ("--scheduler", "moab"): "The schedulers are slurm, sge",
        ("--scheduler", "pbs", "--requeue", "3"): "requeue=",
        ("--time", "soon"): "no duration",
        ("2", "--workers", "3"): "batches= belongs to mode='array'",
        ("9",): "batch 9",
    }.items():
        told = cropfit("script", "grid", *words)
        assert (told.exit_code, told.stdout) == (2, ""), words
        assert message in told.stderr, told.stderr
        assert "Traceback" not in told.stderr


def test_a_task_of_any_array_finds_its_batch(plain, slurm, monkeypatch):
    """As users' own scripts have it, instead of ours."""
    script = plain.location + "/mine.sh"
    with open(script, "w") as file:
        file.write(
            "#!/bin/bash\n#SBATCH --job-name=mine --output=%A_%a.log --cpus-per-task=1\n"
            f"#SBATCH --array=1,3\n{sys.executable} -m cropfit grow grid --task\n"
        )
    assert os.system(f"sbatch --parsable {script}") == 0
    assert slurm.run() == [[0], [0]]
    assert plain.completed_results() == [1, 3]
