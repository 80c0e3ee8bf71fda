"""What every scheduler must make of a crop: its script is run, its commands are asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from queues.kinds import QUEUES
from steps import tree

import cropfit as cf
from cropfit.errors import CropError, DesignError, NotFoundError, NotReadyError

REAL = pytest.param("parallel", marks=pytest.mark.needs("parallel"))
every = pytest.mark.parametrize("field", [*QUEUES, REAL], indirect=True)
faked = pytest.mark.parametrize("field", list(QUEUES), indirect=True)
putting_back = pytest.mark.parametrize("field", ["slurm", "sge", "lsf", "condor"], indirect=True)


def on(*names):
    return pytest.mark.parametrize("field", names, indirect=True)


def test_no_scheduler_is_left_out():
    from cropfit.engines.schedulers.dialect import NAMES

    assert {*NAMES} == {*QUEUES, "parallel"}


# -- the contract ----------------------------------------------------------------------


@every
@pytest.mark.parametrize("grown", [[], [2], [1, 2, 4]], ids=["all", "gaps", "one"])
@pytest.mark.parametrize("mode", ["array", "workers"])
def test_whatever_is_left_is_grown_once(field, mode, grown):
    crop = field.sow(4)
    if grown:
        crop.grow(grown)
    left = crop.missing_results()

    jobs = field.submit(mode=mode, workers=2 if mode == "workers" else None)
    queued = crop.jobs()
    codes = field.queue.run()

    assert len(jobs) == 1
    assert codes == [[0]] * (2 if mode == "workers" else len(left)), field.log()
    assert field.tally.sorted() == [1, 2, 3, 4]
    assert [task.batch for task in queued.tasks] == ([None] * 2 if mode == "workers" else left)
    assert {task.queue for task in crop.jobs().tasks} == {"ended"}
    assert crop.reap(to=False).y.values.tolist() == [1, 4, 9, 16]
    crop.delete()
    assert not os.path.exists(crop.location)


@every
def test_every_script_is_one_that_bash_can_read(field):
    crop = field.sow(5)
    crop.grow([3])
    setup = ["module() { :; }", "module load 'x'"]
    given = {"time": "1-02:00:00", "cpus": 3, "throttle": 2, "setup": setup}
    if field.queue.name in ("slurm", "sge", "lsf", "condor"):
        given["requeue"] = True
    for options in (given, {"mode": "workers", "workers": 3, **given}, {**given, "batches": 5}):
        text = str(crop.script(field.queue.name, **options))
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        assert "\n\n\n" not in text
        assert text.startswith("#!/bin/bash\n")
        assert not [line for line in text.splitlines() if line != line.rstrip()]


@faked
def test_each_scheduler_grants_what_is_asked_for(field):
    field.sow(4)

    field.submit(time="1:30:30", mem="3G", cpus=2, throttle=2)

    job = field.job()
    minutes = field.queue.name == "lsf"  # which knows no seconds
    assert (job["seconds"], job["mib"], job["cpus"]) == (5460 if minutes else 5430, 3072, 2)
    assert (job["throttle"], job["name"], len(job["tasks"])) == (2, "field", 4)


@on("slurm")
def test_two_schedulers_share_a_crop_and_their_jobs_are_told_apart(field, monkeypatch):
    """Each counts its jobs by itself, so both may have one of the same number."""
    other = QUEUES["sge"](field.folder / "other")
    monkeypatch.setenv("PATH", f"{other.install()}:{os.environ['PATH']}")
    crop = field.sow(5)

    assert crop.submit("slurm", batches=[1, 3, 5]) == crop.submit("sge", batches=[2, 4])
    assert other.run() == [[0]] * 2

    assert [(t.scheduler, t.batch, t.queue) for t in crop.jobs().tasks] == [
        *(("slurm", batch, "waiting") for batch in (1, 3, 5)),
        *(("sge", batch, "ended") for batch in (2, 4)),
    ]
    told = [line.split()[0:1] + line.split()[3:] for line in str(crop.jobs()).splitlines()[1:3]]
    assert told == [["slurm", "3", "waiting", "3", "sown"], ["sge", "2", "ended", "2", "grown"]]
    assert len(crop.cancel()) == 1
    assert crop.jobs().queued == []
    assert field.tally.sorted() == [2, 4]


@every
def test_a_case_that_raises_gives_the_task_an_exit_code_that_the_scheduler_sees(field):
    def no_two(x):
        if x == 2:
            raise ValueError("not two")
        return x

    crop = field.sow(2, no_two)
    (job,) = field.submit()

    assert sorted(field.queue.run()) == [[0], [1]]
    assert [task.crop for task in crop.jobs().tasks] == ["grown", "failed"]
    assert crop.errors()[0]["job"].startswith(job.partition("[")[0])
    assert "ValueError: not two" in field.log()


@every
def test_tasks_run_with_the_setup_the_folder_the_threads_and_the_job_that_they_were_given(field):
    def tell(x):
        threads = {os.environ[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "NUMBA")}
        return {"told": f"{os.environ['MARK']} {threads} {os.getcwd()}"}

    crop = field.sow(1, tell, var_names=None)
    field.submit(cpus=2, setup="export MARK='a b'", threads=7)
    codes = field.queue.run()

    assert codes == [[0]], field.log()
    told = crop.reap(to=False).told.values.tolist()
    assert told == [f"a b {{'7'}} {field.folder}"]


@every
def test_names_and_folders_may_have_spaces_and_quotes(field, monkeypatch, tmp_path):
    folder = tmp_path / "it's $HOME here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    crop = field.sow(1, name="3 o'clock")
    if field.queue.name == "parallel":
        crop.submit("parallel", extra=field.options["extra"])
        while crop.jobs().queued:
            time.sleep(0.05)
    else:
        (tmp_path / "logs").mkdir()
        crop.submit(field.queue.name, output_dir=tmp_path / "logs")
        assert field.queue.run() == [[0]], [p.read_text() for p in (tmp_path / "logs").iterdir()]
        assert field.job()["name"] == "crop-3-o-clock"
    assert crop.completed_results() == [1]


@on("pbs", "torque", "lsf", "condor", "sge")
def test_logs_where_the_scheduler_cannot_write_are_refused(field, tmp_path):
    crop = field.sow(1, parent_dir=tmp_path, name='a "b"')
    with pytest.raises(DesignError, match="output_dir="):
        field.submit()
    assert field.queue.jobs() == []
    assert crop.jobs().jobs == []


# -- which batches in how many arrays --------------------------------------------------


def batches_of(field):
    """The batch of each task, as the script itself finds it: the launcher prints its words."""
    field.queue.run()
    words = [line.split() for line in field.log().splitlines() if "cropfit grow" in line]
    return sorted(int(word[word.index("--wait") - 1]) for word in words)


@faked
@pytest.mark.parametrize("grown", [[], [*range(1, 12)], [5], [*range(2, 25, 3)]])
def test_more_batches_than_an_array_may_have_become_several(field, grown):
    """The fakes take indices up to 12 and say so, apart from HTCondor, which does not tell."""
    crop = field.sow(25)
    if grown:
        crop.grow(grown)
    limit = 12 if field.queue.name in ("condor", "torque") else None

    jobs = field.submit(launcher="echo", array_limit=limit)

    left = crop.missing_results()
    assert len(jobs) == -(-len(left) // 12)
    assert batches_of(field) == left


@faked
def test_one_batch_alone_is_no_array(field):
    field.sow(30)
    field.submit(batches=20, launcher="echo")
    assert len(field.job()["tasks"]) == 1
    assert field.job()["tasks"][0]["index"] in (None, 0)
    assert batches_of(field) == [20]


@on("slurm", "sge", "torque")
def test_the_index_is_the_batch_where_that_can_be(field):
    crop = field.sow(9)
    crop.grow([1] if field.queue.name == "sge" else [1, 4])
    field.submit()
    assert [task["index"] for task in field.job()["tasks"]] == crop.missing_results()


@on("slurm", "pbs")
def test_batches_and_attempts_may_need_different_resources(field):
    def needs(batch, attempt):
        return {"mem": f"{attempt * (4 if batch > 2 else 1)}G"}

    crop = field.sow(4)
    field.submit(resources=needs)
    assert [(job["mib"], len(job["tasks"])) for job in field.queue.jobs()] == [(1024, 2), (4096, 2)]
    crop.cancel()
    crop.grow([1, 2, 3])
    field.submit(resources=needs)
    assert [(job["mib"], len(job["tasks"])) for job in field.queue.jobs()[2:]] == [(8192, 1)]
    assert field.queue.run() == [[0]]


# -- jobs and cancel -------------------------------------------------------------------


@faked
def test_scheduler_and_crop_are_asked_once_for_any_number_of_jobs(field):
    crop = field.sow(26)
    field.submit(array_limit=12, launcher="false")
    calls = field.folder / "queue" / "calls"
    before = len(calls.read_text().splitlines())

    seen = crop.jobs()

    assert len(calls.read_text().splitlines()) == before + 1
    assert [(task.batch, task.queue, task.crop) for task in seen.tasks] == [
        (batch, "waiting", "sown") for batch in range(1, 27)
    ]
    assert {(job.scheduler, len(job.tasks())) for job in seen.jobs} >= {(field.queue.name, 12)}
    assert "12 waiting  12 sown" in repr(seen)


@faked
def test_what_is_cancelled_is_submitted_again_and_what_is_queued_is_not(field):
    crop = field.sow(3)
    first = field.submit(batches=[1, 2])
    second = field.submit()
    assert [task.batch for task in crop.jobs().tasks] == [1, 2, 3]
    with pytest.raises(NotReadyError, match="cropfit jobs field"):
        field.submit()

    assert crop.cancel() == first + second
    assert crop.cancel() == []
    assert crop.jobs().queued == []
    assert crop.jobs().left_over == [1, 2, 3]
    assert "'cropfit submit field' submits them again" in str(crop.jobs())
    field.submit()
    assert field.queue.run() == [[0]] * 3
    assert crop.jobs().left_over == []
    assert crop.is_ready_to_reap()


@faked
def test_a_submission_that_is_refused_says_why_and_what_was_accepted_is_known(field):
    crop = field.sow(3)
    with pytest.raises(CropError, match=r"refused .*jobs/.*sh"):
        field.submit(extra={"bogus-option": 1})
    assert crop.jobs().jobs == []

    def second_is_bogus(batch, attempt):
        return {"extra": {"bogus-option": 1}} if batch == 2 else {}

    with pytest.raises(CropError, match="refused"):
        field.submit(resources=second_is_bogus)
    assert [task.batch for task in crop.jobs().tasks] == [1, 3]
    field.queue.run()
    assert crop.completed_results() == [1, 3]


@every
def test_a_scheduler_that_is_not_here_is_said_to_be_elsewhere(field, monkeypatch):
    crop = field.sow(2)
    text = str(crop.script(field.queue.name))
    monkeypatch.setenv("PATH", "/nowhere")

    assert str(crop.script(field.queue.name)) == text  # which needs no scheduler
    with pytest.raises(NotFoundError, match="not on PATH"):
        field.submit()
    with pytest.raises(NotFoundError, match="name the one"):
        crop.script()


# -- after another crop ----------------------------------------------------------------

waiting = on("slurm", "sge", "pbs", "torque", "lsf")
each_waits = on("slurm", "sge", "lsf")


def second_crop(field, cases, function=lambda x: x):
    crop = cf.Crop(function, "second", var_names="y", verbosity=0)
    crop.sow_combos({"x": range(1, cases + 1)})
    return crop


@each_waits
def test_task_waits_for_task_where_both_crops_have_the_same_batches(field):
    def no_two(x):
        if x == 2:
            raise ValueError("not two")

    field.sow(3, no_two)
    field.submit()
    place = field.crop.location

    def counts(x):
        return x if os.path.isdir(f"{place}/grown/{x:06d}") else 1 / 0

    second = second_crop(field, 3, counts)
    second.submit(field.queue.name, after=field.crop)

    assert (field.job()["waits"], field.job()["after"]) == ("each", [101])
    assert {task.queue for task in second.jobs().tasks} <= {"waiting", "held"}
    field.queue.run()
    assert second.completed_results() == [1, 3]
    state = "failed" if field.queue.name == "sge" else "sown"  # which begins it all the same
    assert os.listdir(f"{second.location}/{state}") == ["000002"]


@waiting
def test_one_job_waits_for_one_and_what_does_not_correspond_for_all(field):
    field.sow(12)
    second = second_crop(field, 12)
    field.submit(batches=7)
    second.submit(field.queue.name, batches=7, after=field.crop)
    heeds = "all" if field.queue.name == "sge" else "one"  # it has one word for both
    assert (field.job()["waits"], field.job()["after"]) == (heeds, [101])

    field.submit(batches=[1, 2, 3, 4], array_limit=2)
    second.submit(field.queue.name, batches=[2, 3], after=field.crop)
    assert (field.job()["waits"], field.job()["after"]) == ("all", [103, 104])
    second.submit(field.queue.name, mode="workers", workers=2, after=field.crop)
    assert (field.job()["waits"], sorted(field.job()["after"])) == ("all", [101, 103, 104])
    second.submit(field.queue.name, batches=[10, 11], after=field.crop)
    assert "waits" not in field.job()  # nothing that it needs is in the queue
    other = cf.Crop(lambda x: x, "third", verbosity=0)
    other.sow_combos({"x": range(2)})
    other.submit(field.queue.name, after=field.crop)
    assert sorted(field.job()["after"]) == [101, 103, 104]


@on("slurm", "sge")
def test_a_crop_that_is_grown_need_not_be_waited_for(field):
    field.sow(1)
    second = second_crop(field, 1)
    field.submit()
    field.queue.run()
    second.submit(field.queue.name, after=field.crop)
    assert "waits" not in field.job()
    assert field.queue.run() == [[0]]


@on("condor")
def test_a_scheduler_that_cannot_wait_says_so_and_nothing_is_submitted(field):
    field.sow(2)
    field.submit()
    second = second_crop(field, 2)
    with pytest.raises(DesignError, match="submit when 'field' is grown"):
        second.submit("condor", after=field.crop)
    assert len(field.queue.jobs()) == 1


@on("slurm")
def test_a_crop_in_the_queue_of_another_scheduler_cannot_be_waited_for(field, monkeypatch):
    field.sow(2)
    field.submit()
    second = second_crop(field, 2)
    other = QUEUES["sge"](field.folder / "other")
    monkeypatch.setenv("PATH", f"{other.install()}:{os.environ['PATH']}")
    with pytest.raises(DesignError, match="in the queue of slurm"):
        second.submit("sge", after=field.crop)
    assert other.jobs() == []


# -- putting back ----------------------------------------------------------------------


def warn_once(tally):
    """A function that is warned by its scheduler at its first call, as if its time were over."""

    def work(x):
        if tally.all().count(str(x)) == 1:
            os.kill(os.getppid(), signal.SIGUSR1)
            time.sleep(100)
        return x

    return work


@putting_back
@pytest.mark.parametrize("batches", [None, [2]], ids=["array", "one"])
def test_a_task_that_is_warned_gives_its_batch_back_and_then_itself(field, batches):
    crop = field.sow(2, warn_once(field.tally))
    field.submit(time="1:00:00", requeue=True, batches=batches)
    first = {"slurm": 75, "sge": 99, "lsf": 75, "condor": 75}[field.queue.name]

    assert field.queue.run() == [[first, 0]] * (1 if batches else 2), field.log()
    assert crop.completed_results() == (batches or [1, 2])
    assert os.listdir(f"{crop.location}/growing") == []


@putting_back
def test_a_task_puts_itself_back_so_often_and_no_more(field):
    def work(x):
        os.kill(os.getppid(), signal.SIGUSR1)
        time.sleep(100)

    crop = field.sow(1, work)
    field.submit(requeue=2)

    (codes,) = field.queue.run()
    assert (len(codes), codes[-1]) == (3, 1)
    assert field.tally.all() == ["1"] * 3
    assert "put back 2 times" in field.log()
    assert crop.jobs().left_over == [1]


@putting_back
def test_a_crop_that_is_stopped_is_not_put_back(field):
    place = str(field.folder)

    def work(x):
        import cropfit

        cropfit.Crop(name="field", parent_dir=place, verbosity=0).stop()
        cropfit.current_case().leave()

    crop = field.sow(1, work)
    field.submit(requeue=True)

    assert field.queue.run() == [[1]], field.log()
    assert field.tally.all() == ["1"]
    assert crop.missing_results() == [1]


@on("pbs", "torque", "parallel")
def test_where_tasks_cannot_put_themselves_back_it_is_said_so(field):
    field.sow(1)
    with pytest.raises(DesignError, match="requeue="):
        field.submit(requeue=True)


@faked
def test_nothing_is_begun_that_cannot_end_in_the_walltime(field):
    def deadline(x):
        import cropfit

        return cropfit.current_case().time_left()

    crop = field.sow(1, deadline)
    field.submit(time="1:00:00")
    field.queue.run()
    (left,) = crop.reap(to=False).y.values
    assert 3000 < left < 3600 - 60


# -- under the names of xyzpy ----------------------------------------------------------


@on("slurm")
def test_python_may_run_first_and_one_job_may_grow_all(field):
    def tell(x):
        return {"told": os.environ["A"]}

    crop = field.sow(2, tell, var_names=None)
    code = "import os\nos.environ['A'] = 'it is'"
    assert crop.grow_slurm(mode="single", setup=code, hours=1) == ["101"]
    assert field.queue.run() == [[0]], field.log()
    assert crop.reap(to=False).told.values.tolist() == ["it is"] * 2


# -- GNU parallel, which is here -------------------------------------------------------


@pytest.mark.needs("parallel")
@on("parallel")
def test_parallel_outlives_its_submitter_and_can_be_cancelled(field):
    started = Path(field.folder / "started")
    os.mkfifo(started)

    def work(x):
        with open(started, "w"):
            pass
        time.sleep(100)

    crop = field.sow(3, work)
    (job,) = field.submit(throttle=1)
    with open(started):  # until the first task is in its case
        pass
    seen = crop.jobs()
    assert (seen.tasks[0].queue, seen.tasks[0].crop) == ("running", "growing")
    with pytest.raises(NotReadyError):
        field.submit()

    assert crop.cancel() == [job]
    while crop.jobs().queued:
        time.sleep(0.05)

    assert field.tally.all() == ["1"]
    assert os.listdir(f"{crop.location}/growing") == []
    assert crop.missing_results() == [1, 2, 3]


@pytest.mark.needs("parallel")
@on("parallel")
def test_jobs_of_parallel_on_another_computer_are_left_alone(field):
    crop = field.sow(1)
    field.submit()
    field.queue.run()
    (book,) = Path(crop.location, "jobs").glob("*.jsonl")
    book.write_text(book.read_text().replace(os.uname().nodename, "elsewhere"))

    assert [task.queue for task in crop.jobs().tasks] == ["elsewhere"]
    assert crop.cancel() == []


@pytest.mark.needs("parallel")
@on("parallel")
def test_batches_may_be_dealt_out_by_parallel_alone(field, monkeypatch):
    """As the documentation shows it."""
    field.sow(6)
    line = "parallel -j 2 cropfit grow field ::: 1-2 3 4-6"
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    subprocess.run(line, shell=True, check=True, capture_output=True, cwd=field.folder)
    assert field.tally.sorted() == [1, 2, 3, 4, 5, 6]
    assert [path for path in tree(field.folder) if "growing/" in path] == []
