"""Programs as stages: their files, output, cores, failures, and their end with us."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from steps import start, tree

import cropfit as cf
from cropfit.errors import DesignError, StageError

MPIEXEC = Path(sys.executable).with_name("mpiexec")
LOOK = cf.Stage("look", lambda data, former: {"sigma": 0.125})


def run(*stages, data=None, **options):
    return cf.Pipeline(stages).run(data, **{"seed": 1, **options})


def test_a_program_gets_values_data_and_environment_and_gives_numbers(here, monkeypatch):
    monkeypatch.setenv("GALAXY_DIR", "/data")
    (here / "given.txt").write_text("{as it is}")
    program = (
        "import json, os, sys; read = lambda n: open(n).read(); json.dump({'args': sys.argv[1:], "
        "'made': read('made.txt'), 'given': read('given.txt'), 'own': read('own.txt'), "
        "'env': os.environ['WHO'], 'twice': 2 * float(sys.argv[1])}, open('out.json', 'w'))"
    )
    stage = cf.Stage(
        "run",
        ["{python}", "-c", "{program}", "{sigma}", "$GALAXY_DIR/{id}", "{{}}"],
        inputs={
            "made.txt": "sigma = {sigma:.2f}\n",
            "given.txt": here / "given.txt",
            "own.txt": lambda data, former: f"{data['id']} {former['look']['sigma']}",
        },
        environment={"WHO": "{id}"},
        reader="out.json",
    )
    result = run(LOOK, stage, data={"id": "NGC 1", "y": np.zeros(3), "program": program})
    assert result["run"].value == {
        "args": ["0.125", "/data/NGC 1", "{}"],
        "made": "sigma = 0.12\n",
        "given": "{as it is}",
        "own": "NGC 1 0.125",
        "env": "NGC 1",
        "twice": 0.25,
    }
    assert result["run"].numbers == {"twice": (0.25, pytest.approx(np.nan, nan_ok=True))}
    assert [(i.name, i.how, i.value, i.stage) for i in result["run"].inherited] == [
        ("sigma", "fill", 0.125, "look")
    ]
    left = ["done.json", "given.txt", "guard.json", "log.txt", "made.txt", "out.json"]
    assert tree(here / "pipeline" / "run") == [*left, "own.txt", "value.pkl"]


def test_a_reader_collects_what_was_printed(here):
    def reader(folder):
        return {"answer": float((folder / "log.txt").read_text())}

    result = run(cf.Stage("run", ["echo", "42"], reader=reader))
    assert result["run"].numbers["answer"][0] == 42


def test_a_program_that_fails_tells_its_exit_code_and_last_lines(here):
    script = "for i in $(seq 50); do echo line $i; done; echo broken >&2; exit 3"
    with pytest.raises(StageError, match=r"Stage 'run' \(1 of 1\) failed: sh ended with") as info:
        run(cf.Stage("run", ["sh", "-c", script]))
    error = info.value
    assert (error.stage, error.exit_code) == ("run", 3)
    assert error.output.splitlines() == [*(f"line {i}" for i in range(32, 51)), "broken"]
    assert error.output in str(error)
    assert "line 1\n" in (here / "pipeline/run/log.txt").read_text()


@pytest.mark.parametrize(
    ("args", "options", "said"),
    [
        (["no-such-program"], {}, "no program that can be run"),
        (["echo", "{mass}"], {}, r"\{mass\} in '\{mass\}' is not known; there are .*sigma"),
        (["true"], {"reader": "out.json"}, "wrote no .*out.json"),
        (["sh", "-c", "kill -9 $$"], {}, "exit code -9"),
        (["sleep", "600"], {"timeout": 0.3}, "ended after 0.3 s"),
    ],
)
def test_what_goes_wrong_is_said(here, args, options, said):
    with pytest.raises(StageError, match=said):
        run(LOOK, cf.Stage("run", args, **options))
    assert not (here / "pipeline/run/done.json").exists()


def test_a_name_that_nothing_gives_is_refused_before_anything_runs(here):
    known = cf.Stage("look", lambda data, former: {"sigma": 0.125}, gives=["sigma"])
    stage = cf.Stage("run", ["echo", "{id}", "{sigma}", "{n_cores}"], inputs={"a": "{mass}"})
    with pytest.raises(DesignError, match=r"Stage 'run' asks for \{mass\}, .* there are .*sigma"):
        run(known, stage, data={"id": "NGC 1"})
    assert tree(here) == []
    run(known, stage, data={"id": "NGC 1", "mass": 3})


def test_braces_that_do_not_match_are_refused_before_anything_runs():
    with pytest.raises(DesignError, match="for braces that stay"):
        cf.Pipeline([cf.Stage("run", ["echo", "{sigma"])])
    with pytest.raises(DesignError, match="instead of inherit="):
        cf.Pipeline([LOOK, cf.Stage("run", ["true"], inherit={"sigma": "fix"})])


@pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec in this environment (pip: mpich)")
def test_more_than_one_core_is_more_than_one_rank(here):
    ranks = ["sh", "-c", "echo ${{PMI_SIZE}}"]
    stage = cf.Stage("run", ranks, n_cores=2, mpiexec=[str(MPIEXEC)])
    result = run(stage)
    assert (here / "pipeline/run/log.txt").read_text().split() == ["2", "2"]
    assert result.done


def test_all_cores_are_asked_for_by_minus_one(here):
    cores = len(os.sched_getaffinity(0))
    stage = cf.Stage("run", ["true"], n_cores=-1, mpiexec=["echo", "ranks"])
    run(stage, cf.Stage("own", ["echo", "{n_cores}"]))
    text = (here / "pipeline/run/log.txt").read_text()
    assert text == (f"ranks -n {cores} true\n" if cores > 1 else "")
    assert (here / "pipeline/own/log.txt").read_text() == "1\n"


@pytest.mark.parametrize("who", [signal.SIGKILL, signal.SIGINT])
def test_a_program_ends_with_whoever_started_it(here, who):
    """Everything that the program started holds the pipe open, so its end is seen as that."""
    (here / "alive").mkdir()
    fifo = here / "alive" / "pipe"
    os.mkfifo(fifo)
    code = (
        "import cropfit as cf\n"
        "script = 'sleep 1000 & exec sleep 1000'\n"
        "cf.Pipeline([cf.Stage('run', ['sh', '-c', 'exec 9>alive/pipe; ' + script], cwd='{here}')])"
        ".run()"
    )
    with start(code) as process:
        with open(fifo) as alive:
            process.send_signal(who)
            assert alive.read() == ""
        assert process.wait(120) != 0
        process.communicate()
    assert not (here / "pipeline/run/done.json").exists()


def test_a_dry_run_writes_the_files_whose_values_are_known(here):
    pipeline = cf.Pipeline(
        [
            LOOK,
            cf.Stage("run", ["cat"], inputs={"a.txt": "{id}", "b.txt": "{sigma}"}, n_cores=3),
        ]
    )
    plan = pipeline.plan({"id": "NGC 1"}, write=True)  # draws a seed, which binds nobody
    assert (here / "pipeline/run/a.txt").read_text() == "NGC 1"
    assert not (here / "pipeline/run/b.txt").exists()
    assert "b.txt: waits for sigma" in repr(plan)
    assert "run mpiexec -n 3 cat" in repr(plan)
    result = pipeline.run({"id": "NGC 1"}, n_cores_list=[1, 1], seed=7)
    assert (here / "pipeline/run/b.txt").read_text() == "0.125"
    assert result.done
