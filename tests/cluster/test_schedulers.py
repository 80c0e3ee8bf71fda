"""What a real scheduler makes of a crop, the same for each; run by `make test-cluster`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shell import shell

import cropfit as cf
from cluster.field import Field, until
from cluster.sites import SITES, Ended, Granted, ask

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture(
    params=[
        pytest.param("slurm", marks=pytest.mark.needs("sbatch")),
        pytest.param("sge", marks=pytest.mark.needs("qsub")),
        pytest.param("condor", marks=pytest.mark.condor),
    ]
)
def field(request: pytest.FixtureRequest, here: Path) -> Field:
    """A crop that is not sown yet, on each scheduler."""
    return Field(SITES[request.param](), here)


def test_the_nodes_grow_an_array_of_all_batches(field):
    crop = field.sow(12, batchsize=2)

    jobs = field.submit()
    field.ended(jobs)

    assert len(jobs) == 1
    assert field.calls() == dict.fromkeys(range(12), 1)
    assert {host for _, _, host in field.notes()} == field.site.hosts
    assert [job.id for job in crop.jobs().jobs] == jobs
    until(
        lambda: field.site.accounts(jobs[0]) == [Ended(k, False, 0) for k in range(1, 7)],
        "that the accounts tell of six tasks without a fault",
    )
    field.reap()


def test_only_what_is_missing_is_submitted_though_its_numbers_have_gaps(field):
    crop = field.sow(8)
    crop.grow([2, 5, 6])

    jobs = field.submit()
    field.ended(jobs)

    tasks = [task.batch for task in crop.jobs().tasks]
    assert tasks == [1, 3, 4, 7, 8]
    assert field.calls() == dict.fromkeys(range(8), 1)
    field.reap()


def test_one_batch_alone_is_a_job_without_an_array(field):
    crop = field.sow(4)
    crop.grow([1, 2, 4])
    field.tell("hold", 2)

    jobs = field.submit()
    field.begun(2)
    assert field.site.queue(jobs[0]) == {0: "running"}
    assert [(task.batch, task.queue) for task in crop.jobs().tasks] == [(3, "running")]
    field.untell("hold", 2)
    field.ended(jobs)

    assert field.calls() == dict.fromkeys(range(4), 1)
    field.reap()


def test_a_throttled_array_runs_so_many_at_once_and_is_seen_as_its_scheduler_sees_it(field):
    crop = field.sow(6)
    field.tell("hold", *range(6))

    (job,) = field.submit(throttle=2)
    field.begun(0, 1)
    seen = {1: "running", 2: "running", 3: "waiting", 4: "waiting", 5: "waiting", 6: "waiting"}
    until(lambda: field.site.queue(job) == seen, "that two run", field.told)
    assert {task.index: task.queue for task in crop.jobs().tasks} == seen
    assert [task.crop for task in crop.jobs().tasks] == ["growing"] * 2 + ["sown"] * 4
    field.untell("hold", *range(6))
    field.ended([job])

    assert field.most_at_once() == 2
    assert {task.queue for task in crop.jobs().tasks} == {"ended"}
    field.reap()


def test_workers_share_what_is_left(field):
    crop = field.sow(9)
    field.tell("hold", 0, 1)

    (job,) = field.submit(mode="workers", workers=3)
    until(lambda: len(field.calls()) == 9, "that one worker does what two leave to it", field.told)
    field.untell("hold", 0, 1)
    field.ended([job])

    assert [task.index for task in crop.jobs().tasks] == [1, 2, 3]
    assert field.calls() == dict.fromkeys(range(9), 1)
    field.reap()


def test_more_batches_than_the_site_allows_in_an_array_become_several(field):
    """Slurm and Grid Engine allow indices up to 10 here, and say so."""
    field.sow(13)

    jobs = field.submit(**field.site.limit)
    field.ended(jobs)

    assert len(jobs) == 2
    assert field.calls() == dict.fromkeys(range(13), 1)
    field.reap()


def test_a_task_that_runs_out_of_time_puts_itself_back_and_repeats_nothing_it_finished(field):
    crop = field.sow(6, batchsize=3)
    field.tell("stick", 1)

    (job,) = field.submit(time=field.site.shortest, requeue=True)
    field.ended([job])

    assert crop.completed_results() == [1, 2]
    assert field.calls() == {0: 1, 1: 2, 2: 1, 3: 1, 4: 1, 5: 1}
    last = {Ended(1, False, 0), Ended(2, False, 0)}
    until(lambda: last <= {*field.site.accounts(job)}, "that the accounts tell of both tasks")
    assert 1 in [run.index for run in field.site.accounts(job) if run.put_back]
    field.reap()


def test_a_task_killed_without_grace_is_taken_over_at_the_next_submission(field):
    if not field.site.kills:
        pytest.skip(f"{field.site.name} lets a task that was cancelled end in its own time")
    crop = field.sow(6, batchsize=3)
    field.tell("deaf", 4)
    field.tell("hold", 4)

    jobs = field.submit()
    field.begun(4)
    until(lambda: crop.completed_results() == [1], "that the other task ends", field.told)
    crop.cancel()
    field.ended(jobs)
    assert len(field.state("growing")) == 1  # nobody was left to give it back
    until(lambda: 2 in crop.jobs().left_over, "that its worker counts as dead", field.told)
    field.untell("deaf", 4)
    field.untell("hold", 4)
    jobs = field.submit()
    field.ended(jobs)

    assert field.calls() == {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 1}
    field.reap()


def test_a_crop_cancelled_in_the_middle_loses_only_the_cases_in_hand(field):
    crop = field.sow(12, batchsize=3)
    field.tell("hold", 1, 5)

    jobs = field.submit(throttle=2)
    field.begun(1, 5)
    assert crop.cancel() == jobs
    field.ended(jobs)
    assert crop.jobs().queued == []
    assert field.state("growing") == []
    assert crop.missing_results() == [1, 2, 3, 4]
    field.untell("hold", 1, 5)
    again = field.submit()
    field.ended(again)

    assert field.calls() == {**dict.fromkeys(range(12), 1), 1: 2, 5: 2}
    assert [job.id for job in crop.jobs().jobs] == jobs + again
    field.reap()


def test_a_failing_case_is_seen_by_the_scheduler_and_may_have_more_at_its_next_attempt(field):
    crop = field.sow(3)
    field.tell("fail", 1)

    def needs(batch: int, attempt: int) -> dict[str, object]:
        return {"mem": f"{attempt}G", "time": 300 * attempt}

    (job,) = field.submit(resources=needs)
    field.ended([job])
    until(lambda: len(field.site.accounts(job)) == 3, "that the accounts tell of three tasks")
    assert [run.exit_code for run in field.site.accounts(job)] == [0, 1, 0]
    assert [failure["message"] for failure in crop.errors()] == ["case 1 was told to fail"]
    field.untell("fail", 1)
    field.tell("hold", 1)
    (job,) = field.submit(resources=needs)
    field.begun(1)
    assert field.site.granted(job) == Granted(seconds=600, mebibytes=2048)
    field.untell("hold", 1)
    field.ended([job])

    assert field.calls() == {0: 1, 1: 2, 2: 1}
    field.reap()


def test_a_second_submission_leaves_out_what_the_queue_has(field):
    crop = field.sow(4)
    field.tell("hold", 0, 1)

    first = field.submit(batches=[1, 2])
    second = field.submit()
    assert [task.batch for task in crop.jobs().tasks if task.job in second] == [3, 4]
    field.untell("hold", 0, 1)
    field.ended(first + second)

    assert field.calls() == dict.fromkeys(range(4), 1)
    field.reap()


def test_the_shell_submits_shows_and_cancels(field):
    crop = field.sow(3)
    field.tell("hold", 0)

    (job,) = told("submit", "field", "--scheduler", field.site.name)["jobs"]
    field.begun(0)
    tasks = [("running", "growing"), ("ended", "grown"), ("ended", "grown")]
    until(
        lambda: [(t["queue"], t["crop"]) for t in told("jobs", "field")["tasks"]] == tasks,
        "that one task alone runs",
        field.told,
    )
    assert told("cancel", "field")["cancelled"] == [job]
    field.ended([job])
    field.untell("hold", 0)
    (job,) = told("submit", "field", "--scheduler", field.site.name, "--time", "10:00")["jobs"]
    field.ended([job])

    assert crop.missing_results() == []
    assert field.calls() == {0: 2, 1: 1, 2: 1}
    field.reap()


def told(*words: str) -> Any:
    """What a command of cropfit tells."""
    code, out, err = shell(*words, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.needs("sbatch")
def test_stages_of_a_pipeline_follow_each_other_object_by_object(field):
    """Object 1 is done in all stages while object 2 is still in the first."""
    if field.site.name == "condor":
        pytest.skip("HTCondor lets no job wait for another without its DAGMan")
    folder = str(field.folder)

    def look(data, former):
        import os
        import time

        with open(f"{folder}/begun-{data}", "w"):
            pass
        while os.path.exists(f"{folder}/hold-{data}"):
            time.sleep(0.05)
        if data == 3:
            raise ValueError("case 3 was told to fail")
        return {"middle": 10.0 * data}

    def distance(p, data):
        return -0.5 * (p.x - 10 * data) ** 2

    model = cf.Model(distance, {"x": cf.Uniform(0, 100), "middle": 0.0})
    stages = [
        cf.Stage("look", look),
        cf.Stage("program", ["echo", "{middle}"]),
        cf.Stage("fit", model, sampler="maxlike", n_live=1),
    ]
    (field.folder / "hold-2").touch()
    cat = cf.fit_catalogue(
        [1, 2, 3],
        cf.Pipeline(stages),
        int,
        run="chain",
        seed=1,
        verbosity=0,
        crop_per_stage=True,
        parent_dir=field.folder,
    )
    jobs = cat.submit(field.site.name, time="0:10:00")
    until(lambda: cat.completed_results() == [1], "that object 1 is done", lambda: logs_of(cat))
    assert [crop.completed_results() for crop in cat.former] == [[1], [1]]
    assert field.site.queue(jobs[2])[2] == "waiting"
    (field.folder / "hold-2").unlink()
    field.ended(jobs)

    assert cat.completed_results() == [1, 2]
    frame = cat.merge()
    assert frame["middle"].tolist()[:2] == [10.0, 20.0]
    assert (frame["x_best"] - frame["middle"]).abs().max() < 0.01
    runs = {run.index: run.exit_code for run in field.site.accounts(jobs[1])}
    if field.site.name == "slurm":  # what comes behind a failure never began
        assert cat.errors() == []
    else:
        assert "'look' of this object is" in cat.errors()[0]["message"], runs
    cat.delete()
    assert not list(field.folder.glob(".crop-*"))


def logs_of(cat: cf.Catalogue) -> str:
    """All that may tell why an object is not done."""
    logs = Path(cat.location).parent.rglob("*.log")
    return "\n".join([repr(cat.jobs()), *(f"{path}:\n{path.read_text()}" for path in logs)])


def test_of_two_living_copies_of_one_task_one_counts(here):
    """As when a node hangs, its task is given to another, and it wakes up again."""
    field = Field(SITES["slurm"](), here)
    crop = field.sow(4, batchsize=2)
    field.tell("hold", 0)

    (job,) = field.submit()
    field.begun(0, 3)
    ask("scontrol", "suspend", f"{job}_1")
    (hung,) = {host for what, case, host in field.notes() if (what, case) == ("begin", 0)}
    script = crop.jobs().jobs[0].script
    copy = ask("sbatch", "--parsable", "--array=1", f"--exclude={hung}", script).strip()
    until(lambda: field.calls()[0] == 2, "that the copy takes over", field.told)
    field.untell("hold", 0)
    field.ended([copy])
    until(lambda: crop.completed_results() == [1, 2], "that both are grown", field.told)
    ask("scontrol", "resume", f"{job}_1")
    field.ended([job])

    assert [case for what, case, _ in field.notes() if what == "end"].count(0) == 2
    assert field.calls() == {0: 2, 1: 1, 2: 1, 3: 1}
    assert field.state("growing") == []
    field.reap()
