"""Optimiser, walkers and nested sampling in a chain on real data, killed in each of the three."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from nist_models import load_problems
from steps import Gate, Tally, python, start, tree

import cropfit as cf

pytestmark = pytest.mark.timeout(400)
PATIENCE = 300  # seconds; a run takes two, and a busy machine long
NAME = "Misra1a"
STAGES = ["optimum", "walkers", "nested"]
STOPS = {"optimum": 10, "walkers": 150, "nested": 150}  # the call at which a stage is killed
CHAIN = f"""
import os
import count
import numpy as np, cropfit as cf
from cropfit.fitting.samplers import keeper
from nist_models import MODELS, load_problems
from steps import Tally

STOP = os.environ.get("STOP")
if STOP:
    keeper.SHARE = 1e9  # save whenever there is something new, whatever it costs
PROBLEM = load_problems()["{NAME}"]
PARAMETERS = ["b1", "b2"]

def predict(p, data):
    return MODELS["{NAME}"](data["x"], p.b1, p.b2)

def likelihood(stage, p, data):
    count.calls[stage] += 1
    if count.calls[stage] == 1:
        Tally("begun").add(stage)
    if os.environ.get("STOP") == stage and count.calls[stage] == {STOPS!r}[stage]:
        open("gate/arrived", "w").close()
        open("gate/go").close()
    return -0.5 * np.sum(((data["y"] - predict(p, data)) / data["yerr"]) ** 2, axis=-1)

def optimum(p, data):
    return likelihood("optimum", p, data)

def walkers(p, data):
    return likelihood("walkers", p, data)

def nested(p, data):
    return likelihood("nested", p, data)

ends = zip(PARAMETERS, PROBLEM.certified, 15 * PROBLEM.deviations)
def every(stage):
    return 0.0 if STOP == stage else 60.0

PRIORS = {{name: cf.Uniform(value - by, value + by) for name, value, by in ends}}
yerr = np.sqrt(PROBLEM.rss / (len(PROBLEM.y) - len(PARAMETERS)))
DATA = {{"x": PROBLEM.x, "y": PROBLEM.y, "yerr": yerr}}
pipeline = cf.Pipeline([
    cf.Stage("optimum", cf.Model(optimum, PRIORS, predict=predict), sampler="maxlike", n_live=3),
    cf.Stage("walkers", cf.Model(walkers, PRIORS, predict=predict), sampler="emcee",
             n_live=16, max_steps=400, checkpoint_every=every("walkers")),
    cf.Stage("nested", cf.Model(nested, PRIORS, predict=predict), n_live=80,
             checkpoint_every=every("nested"),
             inherit={{name: cf.around(width=8) for name in PARAMETERS}}),
], name="nist")
"""
COUNT = "import collections; calls = collections.Counter()"  # what changes is not the model's
RUN = """
import chain
result = chain.pipeline.run(chain.DATA, seed=1)
print(chain.count.calls["nested"], [repr(stage.numbers) for stage in result.stages])
"""


@pytest.fixture(scope="module")
def path():
    folders = [Path(__file__).parents[1], Path(cf.__file__).parents[1]]
    return ":".join(map(str, [*folders, folders[1] / "scripts" / "demo"]))


def set_up(folder):
    folder.mkdir(exist_ok=True)
    (folder / "chain.py").write_text(CHAIN)
    (folder / "count.py").write_text(COUNT)


@pytest.fixture(scope="module")
def in_one_life(tmp_path_factory, path):
    """What a run finds that nobody disturbs, and its calls of the last likelihood."""
    folder = tmp_path_factory.mktemp("whole")
    set_up(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        calls, numbers = python(RUN, cwd=folder, timeout=PATIENCE).split(maxsplit=1)
    return folder / "nist", int(calls), numbers


@pytest.mark.parametrize("stage", STAGES)
def test_a_chain_killed_in_any_sampler_ends_as_if_it_had_not_been(
    here, monkeypatch, path, in_one_life, stage
):
    set_up(here)
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("STOP", stage)
    gate, begun = Gate(here / "gate"), Tally(here / "begun")
    with start(RUN) as process:
        gate.wait_for_arrival()
        process.send_signal(signal.SIGKILL)
    done = STAGES[: STAGES.index(stage)]
    assert sorted(p.parent.name for p in here.glob("nist/*/done.json")) == sorted(done)
    assert begun.all() == [*done, stage]

    monkeypatch.delenv("STOP")
    calls, numbers = python(RUN, timeout=PATIENCE).split(maxsplit=1)

    _, whole_calls, wanted = in_one_life
    assert numbers == wanted
    assert begun.all() == [*done, stage, *STAGES[STAGES.index(stage) :]]  # and none before it
    for name in STAGES:
        assert tree(here / "nist" / name) == ["done.json", "fit.nc", "guard.json"]
    if stage == "nested":  # from the sampler's checkpoint on
        assert int(calls) < whole_calls - STOPS["nested"] // 2


def test_what_the_chain_finds_is_what_nist_certifies(in_one_life):
    problem = load_problems()[NAME]
    folder = in_one_life[0]
    best = cf.Fit.load(folder / "optimum" / "fit.nc")
    found = [best.best_fit[name] for name in ("b1", "b2")]
    assert np.abs(found - problem.certified).max() < 0.01 * problem.deviations.max()
    for stage in ("walkers", "nested"):
        fit = cf.Fit.load(folder / stage / "fit.nc")
        for name, value, sd in zip(
            ("b1", "b2"), problem.certified, problem.deviations, strict=True
        ):
            low, median, high = fit.percentiles()[name]
            assert abs(median - value) < 0.5 * sd
            assert (high - low) / 2 == pytest.approx(sd, rel=0.35)
