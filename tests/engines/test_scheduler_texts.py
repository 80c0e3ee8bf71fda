"""Times, sizes, numbers and words as schedulers and bash read them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cropfit as cf
from cropfit.engines.schedulers import environment
from cropfit.engines.schedulers.dialect import NAMES, find_dialect
from cropfit.engines.schedulers.formats import (
    braces,
    days,
    expand,
    hms,
    hours_minutes,
    mib,
    ranges,
)
from cropfit.engines.schedulers.resources import Resources, read_memory
from cropfit.engines.schedulers.script import number_tasks
from cropfit.errors import CropError, DesignError, NotFoundError, NotReadyError

SECONDS = st.integers(10, 10**8)
BATCHES = st.lists(st.integers(1, 300), unique=True, min_size=1, max_size=60).map(sorted)


@pytest.fixture
def crop(here: Path, monkeypatch: pytest.MonkeyPatch) -> cf.Crop:
    """Five batches, of which the third is grown; no scheduler is asked for its limit."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    crop = cf.Crop(lambda x: x, "grid", var_names="y", verbosity=0)
    crop.sow_combos({"x": range(5)})
    crop.grow(3)
    return crop


def options(text: object, mark: str = "#SBATCH ") -> list[str]:
    return [line.removeprefix(mark) for line in str(text).splitlines() if line.startswith(mark)]


# -- times and sizes -------------------------------------------------------------------


def read(clock: str) -> timedelta:
    rest, _, last = clock.rpartition("-")
    hours, minutes, seconds = map(int, last.split(":"))
    assert minutes < 60
    assert seconds < 60
    return timedelta(days=int(rest or 0), hours=hours, minutes=minutes, seconds=seconds)


@settings(deadline=None)
@given(SECONDS)
def test_clocks_say_the_walltime_exactly(seconds):
    assert read(hms(seconds)) == read(days(seconds)) == timedelta(seconds=seconds)
    assert read(days(seconds)).seconds // 3600 < 24
    hours, minutes = map(int, hours_minutes(seconds).split(":"))
    assert 0 <= (60 * hours + minutes) * 60 - seconds < 60


@settings(deadline=None)
@given(SECONDS)
def test_every_form_of_a_walltime_is_the_same_walltime(seconds):
    whole = timedelta(seconds=seconds)
    clock = f"{whole.days}-{whole.seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    forms = [seconds, float(seconds), whole, str(seconds), hms(seconds), days(seconds), clock]
    assert {Resources(time=form).seconds for form in forms} == {seconds}


@settings(deadline=None)
@given(st.integers(2**20, 2**50))
def test_memory_is_never_rounded_down(size):
    assert 0 <= mib(size) * 2**20 - size < 2**20
    assert read_memory(size) == size == read_memory(str(size)) == read_memory(f"{size} B")


@pytest.mark.parametrize(
    ("text", "size"),
    [("2G", 2 << 30), ("2gb", 2 << 30), ("1.5 GiB", 3 << 29), ("500M", 500 << 20), ("1T", 1 << 40)],
)
def test_memory_takes_units(text, size):
    assert read_memory(text) == size


@pytest.mark.parametrize("memory", ["2", 4, "much", "-2G", True, 1.5, "2G 3"])
def test_what_is_no_memory_is_refused(memory):
    with pytest.raises(DesignError, match="2G"):
        Resources(mem=memory)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": "soon"},
        {"time": 2},
        {"cpus": 0},
        {"gpus": -1},
        {"nodes": 1.5},
        {"cpus": True},
        {"queue": "a b"},
        {"account": ""},
        {"extra": {"comment": "a\n#SBATCH --exclusive"}},
        {"extra": {"a\nb": 1}},
        {"workers": 2},
        {"mode": "workers"},
        {"mode": "workers", "workers": 0},
        {"mode": "workers", "workers": 2, "batches": [1]},
        {"mode": "workers", "workers": 2, "resources": lambda batch, attempt: {}},
        {"mode": "pool"},
        {"throttle": 0},
        {"array_limit": True},
        {"resources": lambda batch, attempt: {"memory": "2G"}},
        {"launcher": ""},
    ],
)
def test_what_cannot_be_meant_is_refused(crop, wrong):
    with pytest.raises(DesignError):
        crop.script("slurm", **wrong)


# -- indices ---------------------------------------------------------------------------


def bash(script: str) -> list[int]:
    """Numbers that a script prints."""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@settings(deadline=None)
@given(BATCHES)
def test_numbers_are_read_as_they_were_written(batches):
    assert expand(ranges(batches)) == batches
    assert bash(f"echo {braces(batches)}") == batches


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["slurm", "sge", "condor"]), BATCHES, st.sampled_from([60, 1000]))
def test_every_index_is_allowed_and_finds_its_batch(name, batches, limit):
    dialect = find_dialect(name)
    indices, expression = number_tasks(batches, dialect, limit)

    assert len(indices) == len(batches)
    assert min(indices) >= 1
    assert max(indices) <= limit
    if dialect.arrays == "range":
        assert max(indices) - min(indices) == len(indices) - 1
    if dialect.arrays == "count":
        assert list(indices) == [*range(1, len(batches) + 1)]
    lines = [f"batches=({braces(batches)})"]
    lines += [f"{dialect.index}={index}; echo {expression}" for index in indices]
    assert bash("\n".join(lines)) == batches


def test_a_hundred_thousand_batches_with_gaps_make_a_script_that_schedulers_take(crop):
    """Slurm refuses more than 4 MB."""
    crop.fn = lambda x: x
    crop.sow_combos({"x": range(100_000)}, exists="replace", batchsize=1)
    script = crop.script("slurm", batches=range(1, 100_000, 2))
    assert len(script.parts) == 50
    assert max(map(len, script.texts)) < 20_000
    assert sum(len(part.indices) for part in script.parts) == 50_000


def test_a_sites_limit_is_kept_and_the_usual_one_where_it_is_not_told(crop, tmp_path, monkeypatch):
    crop.fn = lambda x: x
    crop.sow_combos({"x": range(1500)}, exists="replace", batchsize=1)
    assert [len(part.indices) for part in crop.script("slurm").parts] == [1000, 500]
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'MaxArraySize            = 5001'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert [len(part.indices) for part in crop.script("slurm").parts] == [1500]
    program.write_text("#!/bin/sh\necho down >&2; exit 1\n")
    assert len(crop.script("slurm").parts) == 2
    assert len(crop.script("slurm", array_limit=100).parts) == 15


# -- words -----------------------------------------------------------------------------


def test_further_options_are_written_as_each_scheduler_has_them(crop):
    extra = {"constraint": "gpu", "exclusive": True, "l": ["a=1", "b=2"]}
    slurm = options(crop.script("slurm", extra=extra))
    assert slurm[-4:] == ["--constraint=gpu", "--exclusive", "-l a=1", "-l b=2"]
    assert options(crop.script("sge", extra=extra), "#$ ")[-3:] == [
        "-exclusive",
        "-l a=1",
        "-l b=2",
    ]
    condor = options(crop.script("condor", extra={"requirements": "x > 1"}), "#CONDOR ")
    assert "requirements = x > 1" in condor
    parallel = str(crop.script("parallel", extra={"memfree": "1G", "lb": True}))
    assert " --memfree 1G --lb grow" in parallel


@pytest.mark.parametrize("scheduler", NAMES)
def test_what_a_scheduler_cannot_express_is_refused_and_the_rest_is_there(crop, scheduler):
    told = find_dialect(scheduler)
    asked = {"queue": "long", "account": "me", "nodes": 2, "gpus": 3, "mem": "8G", "requeue": True}
    for name, value in asked.items():
        if name in told.lacks:
            with pytest.raises(DesignError, match=f"{told.title} takes no {name}="):
                crop.script(scheduler, **{name: value})
        else:
            text = str(crop.script(scheduler, **{name: value}))
            assert text != str(crop.script(scheduler))


def test_the_scheduler_that_is_here_is_taken(crop, tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("SGE_ROOT", raising=False)
    for program, name in {
        "parallel": "parallel",
        "condor_submit": "condor",
        "bsub": "lsf",
        "qsub": "torque",
        "pbs_probe": "pbs",
        "qconf": "sge",
        "sbatch": "slurm",
    }.items():
        (programs / program).touch(0o755)
        assert find_dialect().name == name
    assert find_dialect("OpenPBS").name == "pbs"
    with pytest.raises(DesignError, match="not 'moab'"):
        find_dialect("moab")


def test_what_was_asked_for_is_all_that_is_written(crop):
    """Nothing of a site is assumed."""
    assert [option.partition("=")[0] for option in options(crop.script("slurm", batches=1))] == [
        "--job-name",
        "--output",
        "--open-mode",
        "--cpus-per-task",
    ]


def test_nothing_left_is_nothing_to_submit(crop):
    crop.grow()
    with pytest.raises(NotReadyError, match="Nothing is left to submit"):
        crop.script("slurm")
    with pytest.raises(NotFoundError):
        crop.script("slurm", batches=6)
    with pytest.raises(CropError):
        cf.Crop(name="other").script("slurm")


# -- the environment -------------------------------------------------------------------


def test_the_venv_that_is_active_now_is_activated_and_its_python_named(crop, tmp_path, monkeypatch):
    venv = tmp_path / "my env"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "activate").touch()
    monkeypatch.setattr(sys, "prefix", str(venv))
    monkeypatch.setattr(sys, "executable", f"{venv}/bin/python")
    monkeypatch.setenv("PYTHONPATH", "/a b")
    text = str(crop.script("slurm"))

    assert f". '{venv}/bin/activate' || exit 2\n" in text
    assert "export PYTHONPATH='/a b'\n" in text
    assert f"'{venv}/bin/python' -m cropfit grow {crop.location} " in text
    assert "activate" not in str(crop.script("slurm", conda_env=False))


def test_a_conda_environment_is_activated_by_condas_own_function(crop, tmp_path, monkeypatch):
    (tmp_path / "conda-meta").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("CONDA_EXE", "/opt/conda/bin/conda")
    text = str(crop.script("slurm"))
    assert 'eval "$(/opt/conda/bin/conda shell.bash hook)" || exit 2\n' in text
    assert f"conda activate {tmp_path} || exit 2\n" in text

    other = str(crop.script("slurm", conda_env="sci"))
    assert "conda activate sci || exit 2\n" in other
    assert f"\npython -m cropfit grow {crop.location} " in other
    monkeypatch.delenv("CONDA_EXE")
    assert f'export PATH={tmp_path}/bin:"$PATH"\n' in str(crop.script("slurm"))


def test_a_launcher_starts_python(crop):
    text = str(crop.script("slurm", launcher="mpiexec -n 4 'my python'", grow_args="--retries 2"))
    wanted = (
        f"mpiexec -n 4 'my python' -m cropfit grow {crop.location} --retries 2 \"$batch\" --wait &"
    )
    assert wanted in text


def test_a_python_that_does_not_know_itself_asks_for_a_launcher(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(DesignError, match="launcher="):
        environment.python(None, None)


# -- templates -------------------------------------------------------------------------


def test_a_sites_template_extends_or_replaces_ours(crop, tmp_path, monkeypatch):
    site = tmp_path / "site.j2"
    site.write_text(
        '{% extends "slurm.sh.j2" %}\n'
        "{% block header %}\n{{ super() }}#SBATCH --qos=ours\n{% endblock %}"
    )
    extended = str(crop.script("slurm", template=site))
    assert options(extended) == [*options(crop.script("slurm")), "--qos=ours"]
    monkeypatch.setenv("CROPFIT_TEMPLATE", str(site))
    assert str(crop.script("slurm")) == extended

    own = tmp_path / "own.j2"
    own.write_text("#!/bin/sh\n{{ array }} {{ job_name | quote }} {{ command | words }}\n")
    words = shlex.split(str(crop.script("slurm", template=own)).splitlines()[1])
    assert words == ["1-2,4-5", "grid", sys.executable, "-m", "cropfit", "grow", crop.location]


def test_a_template_that_is_wrong_says_where(crop, tmp_path):
    with pytest.raises(NotFoundError, match="no template"):
        crop.script("slurm", template=tmp_path / "none.j2")
    wrong = tmp_path / "wrong.j2"
    for text in ("{{ walltme }}", "line\n{% if %}", '{% extends "moab.sh.j2" %}'):
        wrong.write_text(text)
        with pytest.raises(DesignError, match=r"wrong\.j2"):
            crop.script("slurm", template=wrong)


# -- under the names of xyzpy ----------------------------------------------------------


def test_options_of_xyzpy_mean_what_they_mean_there(crop):
    text = crop.gen_slurm_script(
        hours=1,
        minutes=30,
        gigabytes=4,
        num_procs=8,
        num_workers=4,
        num_nodes=2,
        temp_gigabytes=10,
        subprocess=True,
        conda_env=False,
        shell_setup="module load gcc\nulimit -c 0",
        setup="import os; os.environ['A'] = 'it is'",
        debugging=True,
        output_directory="out",
        extra_resources="gres=gpu:1,exclusive",
        partition="long",
        mpi=False,
    )
    wanted = [
        "--time=01:30:00",
        "--mem=4096M",
        "--cpus-per-task=8",
        "--nodes=2",
        "--partition=long",
        "--gres=gpu:1",
        "--exclusive",
        "--tmp=10G",
    ]
    assert {*wanted} <= {*options(text)}
    assert f"#SBATCH --output={os.getcwd()}/out/%A_%a.log" in text
    assert "export OMP_NUM_THREADS=2 " in text
    assert "\nset -x\nmodule load gcc\nulimit -c 0\n" in text
    assert "--fresh --workers 4" in text
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_numbers_of_xyzpy_are_hours_and_gigabytes(crop):
    for given_, wanted in [
        ({"time": 1.5}, "--time=01:30:00"),
        ({"time": "2:00:00"}, "--time=02:00:00"),
        ({"mem": 3}, "--mem=3072M"),
        ({"mem": "500M"}, "--mem=500M"),
        ({"mem_per_cpu": 2, "num_procs": 3}, "--mem=6144M"),
        ({"cpus_per_gpu": 2}, "--cpus-per-gpu=2"),
    ]:
        assert wanted in options(crop.gen_cluster_script("slurm", **given_))


def test_further_options_of_xyzpy_are_resources_where_they_are_there(crop):
    sge = options(crop.gen_sge_script(temp_gigabytes=5, gpu=1, extra_resources="a=1"), "#$ ")
    assert sge[-3:] == ["-l gpu=1", "-l a=1", "-l tmpfs=5G"]
    assert options(crop.gen_pbs_script(place="excl"), "#PBS ")[-1] == "-l place=excl"
    assert "#$ -N grid" in crop.gen_qsub_script([1, 2])
    assert "#PBS -J 1-2" in crop.gen_qsub_script([1, 2], scheduler="pbs")


def test_one_job_grows_all_or_the_batches_that_are_named(crop):
    alone = crop.gen_cluster_script("slurm", mode="single")
    assert f"grow {crop.location} &" in alone
    assert "--array" not in alone
    assert f"grow {crop.location} 2 4 &" in crop.gen_cluster_script("slurm", (2, 4), mode="single")


@pytest.mark.parametrize(
    "wrong",
    [{"mpi": True}, {"time": 1, "hours": 1}, {"mem": 1, "gigabytes": 1}, {"temp_gigabytes": 1}],
)
def test_what_has_no_counterpart_says_what_to_give_instead(crop, wrong):
    with pytest.raises(DesignError, match="give"):
        crop.gen_cluster_script("pbs", **wrong)
