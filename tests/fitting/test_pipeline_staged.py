"""A catalogue of pipelines with a crop for each stage: same numbers, and a queue that waits."""

from __future__ import annotations

import os

import numpy as np
import pytest
from queues.kinds import QUEUES
from steps import Tally

import cropfit as cf
from cropfit.errors import DesignError, NotReadyError

X = np.linspace(0, 1, 10)
PRIORS = {"slope": cf.Uniform(-9, 9), "height": cf.Uniform(-9, 9)}


def data_of(key):
    rng = np.random.default_rng(ord(key[0]))
    return {"id": key, "y": 2 * X + 1 + 0.1 * rng.normal(size=10)}


def line(p, data):
    return -0.5 * np.sum(((data["y"] - p.slope * X - p.height) / 0.1) ** 2, axis=-1)


MODEL = cf.Model(line, PRIORS)
STAGES = ["coarse", "middle", "fine"]


def pipeline(middle=lambda data, former: {"twice": 2 * former["coarse"].best_fit.slope}):
    rules = {"slope": cf.around(width=6), "height": "fix"}
    return cf.Pipeline(
        [
            cf.Stage("coarse", MODEL, sampler="maxlike", n_live=2),
            cf.Stage("middle", middle),
            cf.Stage("fine", MODEL, n_live=25, dlogz=1.0, inherit=rules),
        ]
    )


def catalogue(chain, ids=("a", "b", "c"), **options):
    given = {"run": "gal", "seed": 1, "verbosity": 0, "crop_per_stage": True, **options}
    return cf.fit_catalogue(ids, chain, data_of, **given)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_numbers_are_those_of_chains_in_one_case_and_nothing_is_left(here):
    sown = catalogue(pipeline())
    assert names(here) == [".crop-gal", ".crop-gal-coarse", ".crop-gal-middle"]
    sown.grow()
    frame = sown.merge()
    whole = catalogue(pipeline(), run="whole", crop_per_stage=False)
    whole.grow()
    same = whole.merge()
    assert frame["status"].tolist() == ["done"] * 3
    for column in ("slope_50", "height", "middle.twice", "coarse.slope", "log_evidence"):
        assert frame[column].tolist() == same[column].tolist()
    whole.delete()
    sown.reap()
    assert names(here) == ["gal.csv", "gal.nc", "whole.csv"]


def test_the_same_call_goes_on_and_objects_may_be_added(here):
    tally = Tally(here / "calls")

    def middle(data, former):
        tally.add(data["id"])
        return {"twice": 0.0}

    catalogue(pipeline(middle), seed=None).former[0].grow()
    sown = catalogue(pipeline(middle), seed=None)
    assert sown.former[0].missing_results() == []
    sown.grow()
    sown.add(["d"])
    sown.grow()
    assert tally.all() == ["a", "b", "c", "d"]
    assert sown.merge()["status"].tolist() == ["done"] * 4
    sown.delete()
    assert names(here) == ["calls", "gal.csv"]


def test_a_stage_whose_turn_has_not_come_says_what_to_grow_first(here):
    sown = catalogue(pipeline(), ids=["a"])
    cf.grow(crop="gal")
    (error,) = sown.errors()
    assert "'coarse' of this object is waiting" in error["message"]
    assert "cropfit grow gal-coarse" in error["message"]
    sown.clean()
    sown.grow()
    assert sown.merge()["status"].tolist() == ["done"]


def test_an_object_whose_stage_fails_does_not_stop_the_others_and_can_be_mended(here):
    def middle(data, former):
        if data["id"] == "b" and not os.path.exists("mended"):
            raise OSError("no such galaxy")

    sown = catalogue(pipeline(middle))
    sown.grow()
    assert sown.merge()["status"].tolist() == ["done", "failed", "done"]
    assert [error["message"].split(": ")[-1] for error in sown.former[1].errors()] == [
        "no such galaxy"
    ]
    (here / "mended").touch()
    sown.clean()
    sown.grow()
    assert sown.merge()["status"].tolist() == ["done"] * 3


def test_where_no_job_can_wait_nothing_is_submitted(here, monkeypatch):
    found = QUEUES["condor"](here / "queue")
    monkeypatch.setenv("PATH", f"{found.install()}:{os.environ['PATH']}")
    with pytest.raises(DesignError, match="HTCondor lets no job wait"):
        catalogue(pipeline()).submit("condor")
    assert found.jobs() == []


@pytest.fixture(params=["slurm", "sge"])
def queue(request, here, monkeypatch):
    found = QUEUES[request.param](here / "queue")
    monkeypatch.setenv("PATH", f"{found.install()}:{os.environ['PATH']}")
    return found


@pytest.mark.timeout(400)
def test_a_queue_is_told_of_all_stages_at_once_and_lets_each_wait_for_the_former(here, queue):
    def middle(data, former):
        if data["id"] == "b":
            raise OSError("no such galaxy")

    last = cf.Stage("fine", MODEL, sampler="maxlike", n_live=1)
    stages = [cf.Stage("coarse", lambda *_: None), cf.Stage("middle", middle), last]
    sown = catalogue(cf.Pipeline(stages), ["a", "b"])
    own = {"fine": {"time": "8:00:00", "cpus": 4}}
    ids = sown.submit(queue.name, of_stage=own, time="1:00:00")
    assert ids == ["101", "102", "103"]
    jobs = queue.jobs()
    assert [job.get("waits") for job in jobs] == [None, "each", "each"]
    assert [job.get("after") for job in jobs] == [None, [101], [102]]
    assert [(job["seconds"], job["cpus"]) for job in jobs] == [(3600, 1), (3600, 1), (28800, 4)]

    queue.run()
    assert sown.former[1].completed_results() == [1]
    assert sown.completed_results() == [1]
    again = sown.submit(queue.name)  # what is left of each stage, a job each
    one = "all" if queue.name == "sge" else "one"
    assert [job.get("waits") for job in queue.jobs()[3:]] == [None, one]
    assert sorted(sown.cancel()) == again
    with pytest.raises(DesignError, match=r"no 'fin'; stages: coarse, middle, fine"):
        sown.submit(queue.name, of_stage={"fin": {}})


def test_when_all_is_grown_nothing_is_submitted(here, queue):
    sown = catalogue(pipeline(), ids=["a"])
    sown.grow()
    with pytest.raises(NotReadyError):
        sown.submit(queue.name)
    assert queue.jobs() == []


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        (MODEL, None, "wants a Pipeline"),
        (pipeline(), {"b": {"model": MODEL}}, "'b': its model must have the stages coarse"),
    ],
)
def test_what_has_not_the_same_stages_is_refused(here, model, settings, said):
    with pytest.raises(DesignError, match=said):
        catalogue(model, settings=settings)
    assert names(here) == []
