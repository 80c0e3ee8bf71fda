"""A pipeline hands on what it found, tells from where, and goes on after any kill."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
from steps import Gate, Tally, python, start, tree

import cropfit as cf
from cropfit.errors import DesignError, ExistsError, StageError

X = np.linspace(0, 4, 30)
NOISE = np.random.default_rng(1).normal(0, 0.1, 30)
DATA = {"x": X, "y": 3 * np.exp(-X / 1.5) + NOISE, "yerr": 0.1, "label": "NGC 1"}
PRIORS = {"height": cf.Uniform(0, 10), "length": cf.LogUniform(0.1, 10), "z": 0.02}


def decay(p, data):
    return p.height * np.exp(-data["x"] / p.length)


def log_likelihood(p, data):
    return -0.5 * np.sum(((data["y"] - decay(p, data)) / data["yerr"]) ** 2, axis=-1)


MODEL = cf.Model(log_likelihood, PRIORS, predict=decay)
COARSE = cf.Stage("coarse", MODEL, sampler="maxlike", n_live=4)


def found(data, former):
    return {"z": 0.5, "height": 2.5, "height_sigma": 0.2, "what": "text", "array": [1, 2]}


def taken(result, stage):
    return {each.name: (each.how, each.stage) for each in result[stage].inherited}


def run(*stages, **options):
    return cf.Pipeline(stages).run(DATA, **{"seed": 1, **options})


# -- what is handed on -----------------------------------------------------------------


def test_by_default_fixed_values_are_updated_and_free_ones_start_there(here):
    result = run(cf.Stage("look", found), cf.Stage("fit", MODEL, sampler="maxlike", n_live=4))
    assert taken(result, "fit") == {"height": ("start", "look"), "z": ("fix", "look")}
    assert result.fit.fixed == {"z": 0.5}
    assert result.fit.settings["start"] == {"height": 2.5}
    assert result.fit.best_fit.height == pytest.approx(3, abs=0.2)


def test_values_are_fixed_narrowed_or_left_as_told(here):
    rules = {"height": cf.around(width=5), "length": "fix", "z": "ignore"}
    last = cf.Stage("fine", MODEL, n_live=40, inherit=rules)
    result = run(COARSE, last)
    best, sigma = result["coarse"].numbers["height"]
    assert taken(result, "fine") == {"height": ("around 5", "coarse"), "length": ("fix", "coarse")}
    assert result.fit.fixed == {"length": result["coarse"].numbers["length"][0], "z": 0.02}
    prior = result.fit.model.priors["height"]
    assert (prior.low, prior.high) == pytest.approx((best - 5 * sigma, best + 5 * sigma))


def test_the_last_stage_that_found_a_name_hands_it_on(here):
    only_height = MODEL.with_settings(fixed={"length": 1.4})
    fine = cf.Stage("fine", MODEL, sampler="emcee", max_steps=400)
    result = run(COARSE, cf.Stage("one", only_height, sampler="maxlike", n_live=2), fine)
    assert taken(result, "one") == {
        "height": ("start", "coarse"),
        "length": ("fix", "coarse"),
    }
    assert taken(result, "fine") == {"height": ("start", "one"), "length": ("start", "coarse")}


@pytest.mark.parametrize("best", ["max_posterior", "max_likelihood", "median"])
def test_best_says_which_values_of_a_fit_are_handed_on(here, best):
    result = run(cf.Stage("fit", MODEL, sampler="maxlike", n_live=2, best=best))
    fit = result.fit
    wanted = {
        "max_posterior": fit.max_posterior.length,
        "max_likelihood": fit.best_fit.length,
        "median": fit.percentiles()["length"][1],
    }
    assert result["fit"].numbers["length"][0] == wanted[best]


def test_nothing_is_taken_over_where_inherit_is_false(here):
    result = run(cf.Stage("look", found), cf.Stage("fit", MODEL, sampler="maxlike", inherit=False))
    assert result["fit"].inherited == []
    assert result.fit.fixed == {"z": 0.02}


def test_nested_sampling_starts_nowhere_and_says_so(here):
    result = run(COARSE, cf.Stage("fine", MODEL, n_live=30, dlogz=1.0))
    assert result["fine"].inherited == []
    assert result["fine"].notes == [
        "dynesty starts nowhere, so not used as a start: height, length"
    ]


def test_a_prior_that_is_narrowed_keeps_its_shape(here):
    model = MODEL.with_settings(priors={"height": cf.Normal(3, 1, low=0)})
    rules = {"height": cf.around(2), "length": "fix"}
    result = run(
        cf.Stage("look", lambda *_: {"height": 3.1, "height_sigma": 0.1, "length": 1.5}),
        cf.Stage("fit", model, n_live=30, inherit=rules),
    )
    prior = result.fit.model.priors["height"]
    assert isinstance(prior, cf.Normal)
    assert (prior.mean, prior.sd) == (3, 1)
    assert (prior.low, prior.high) == pytest.approx((2.9, 3.3))


# -- what matches nothing is refused before anything runs ------------------------------


@pytest.mark.parametrize(
    ("inherit", "said"),
    [
        ({"hight": "fix"}, "no such parameter"),
        ({"z": "fix"}, "which no stage before it finds"),
        ({"height": "freeze"}, "none of 'fix'"),
        ({"height": "start"}, "starts nowhere"),
        ({"height": "fix", "length": "fix"}, "nothing is left to fit"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused_before_anything_runs(here, inherit, said):
    with pytest.raises(DesignError, match=said):
        cf.Pipeline([COARSE, cf.Stage("fine", MODEL, inherit=inherit)])
    assert tree(here) == []


def test_a_conditional_prior_cannot_be_narrowed():
    priors = {"length": cf.Conditional(lambda p: cf.Uniform(0.1, p.height))}
    stage = cf.Stage("b", MODEL.with_settings(priors=priors), inherit={"length": cf.around()})
    with pytest.raises(DesignError, match="cannot be narrowed"):
        cf.Pipeline([COARSE, stage])


def test_what_a_function_finds_is_checked_before_where_it_says_so(here):
    look = cf.Stage("look", found, gives=["height", "z"])
    fine = cf.Stage("fine", MODEL, inherit={"length": "fix"})
    with pytest.raises(DesignError, match="which no stage before it finds"):
        cf.Pipeline([look, fine])
    with pytest.raises(StageError, match="which no stage before it finds"):
        run(cf.Stage("look", found), fine)
    with pytest.raises(StageError, match="found no number 'mass'"):
        run(cf.Stage("look", found, gives=["mass"]), folder="other")


@pytest.mark.parametrize(
    "stages",
    [[], [COARSE, COARSE], ["coarse"]],
)
def test_a_pipeline_is_a_list_of_stages_with_names_of_their_own(stages):
    with pytest.raises(DesignError):
        cf.Pipeline(stages)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("a/b", MODEL), {}),
        (("a", 3), {}),
        (("a", MODEL), {"sampler": "none"}),
        (("a", MODEL), {"n_cores": 0}),
        (("a", MODEL), {"best": "mean"}),
        (("a", MODEL), {"checkpoint": "x"}),
        (("a", found), {"sampler": "maxlike"}),
        (("a", []), {}),
        (("a", ["true"]), {"readr": "x"}),
        (("a", ["true"]), {"inputs": {"../x": ""}}),
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(arguments, options):
    with pytest.raises(DesignError):
        cf.Stage(*arguments, **options)


# -- failures --------------------------------------------------------------------------


def test_a_stage_that_fails_ends_the_chain_and_says_which(here):
    tally = Tally(here / "calls")

    def fails(data, former):
        raise OSError("no such galaxy")

    def later(data, former):
        tally.add("later")

    with pytest.raises(
        StageError, match=r"Stage 'bad' \(2 of 3\) failed: OSError: no such"
    ) as info:
        run(COARSE, cf.Stage("bad", fails), cf.Stage("later", later))
    assert tally.all() == []
    again = pickle.loads(pickle.dumps(info.value))
    assert (str(again), again.stage, again.exit_code) == (str(info.value), "bad", None)


def test_what_failed_may_be_mended_and_what_was_done_is_kept(here):
    def fails(data, former):
        raise OSError

    with pytest.raises(StageError):
        run(COARSE, cf.Stage("second", fails))
    result = run(COARSE, cf.Stage("second", found))
    assert result["coarse"].resumed
    assert result["second"].value["what"] == "text"
    assert not (here / "pipeline" / "second" / "failed.json").exists()


# -- what is kept ----------------------------------------------------------------------


def test_a_finished_run_is_read_and_nothing_computed(here):
    tally = Tally(here / "calls")

    def counts(data, former):
        tally.add(former["coarse"].best_fit.height)
        return {"area": 2.0}

    stages = [COARSE, cf.Stage("counts", counts)]
    first, second = run(*stages), run(*stages)
    assert len(tally.all()) == 1
    assert not first["coarse"].resumed
    assert second["coarse"].resumed
    assert second.done
    assert second["coarse"].numbers == first["coarse"].numbers
    assert second["counts"].value == {"area": 2.0}
    assert second.fit.to_dataset().equals(first.fit.to_dataset())
    assert second.fit.model is MODEL


@pytest.mark.parametrize("what", ["data", "model", "option", "rule", "seed"])
def test_a_folder_of_another_pipeline_is_refused_with_what_differs(here, what):
    run(COARSE)
    other = {
        "data": lambda: cf.Pipeline([COARSE]).run({**DATA, "yerr": 0.2}),
        "model": lambda: run(
            cf.Stage("coarse", MODEL.with_settings(fixed={"z": 1}), sampler="maxlike", n_live=4)
        ),
        "option": lambda: run(cf.Stage("coarse", MODEL, sampler="maxlike", n_live=5)),
        "rule": lambda: run(cf.Stage("coarse", MODEL, sampler="maxlike", n_live=4, inherit=False)),
        "seed": lambda: run(COARSE, seed=2),
    }[what]
    before = tree(here)
    said = {"data": "the data", "model": "prior of 'z'", "option": "n_live", "rule": "inherit"}
    with pytest.raises(ExistsError, match=said.get(what, "seed 1, not 2")):
        other()
    assert tree(here) == before


def test_a_folder_of_something_else_is_refused(here):
    (here / "pipeline").mkdir()
    (here / "pipeline" / "thesis.tex").write_text("x")
    with pytest.raises(ExistsError, match="no folder of a pipeline"):
        run(COARSE)


def test_the_same_seed_gives_the_same_numbers_and_stages_have_their_own(here):
    second = cf.Stage("again", MODEL, sampler="maxlike", n_live=4, inherit=False)
    first, other = run(COARSE, second, folder="a"), run(COARSE, second, folder="b")
    assert first.fit.to_dataset().equals(other.fit.to_dataset())
    assert first["coarse"].fit.settings["seed"] != first["again"].fit.settings["seed"]


# -- kills -----------------------------------------------------------------------------

CHAIN = """
import os
import numpy as np, cropfit as cf
from steps import Tally

def here(stage):
    Tally("calls").add(stage)
    if os.environ["STOP"] == stage:
        open("gate/arrived", "w").close()
        open("gate/go").close()

def likelihood(p, data):
    return -0.5 * np.sum((data - p.a - p.b * X) ** 2, axis=-1)

def middle(data, former):
    here("middle")
    return {"c": former["coarse"].best_fit.a}

X = np.linspace(0, 1, 10)
MODEL = cf.Model(likelihood, {"a": cf.Uniform(-5, 5), "b": cf.Uniform(-5, 5)})
PROGRAM = "echo program >> calls; [ '$STOP' != program ] || {{ echo > gate/arrived; cat gate/go; }}"
pipeline = cf.Pipeline([
    cf.Stage("coarse", MODEL, sampler="maxlike", n_live=2),
    cf.Stage("middle", middle),
    cf.Stage("program", ["sh", "-c", PROGRAM], cwd="{here}"),
    cf.Stage("fine", MODEL, sampler="maxlike", n_live=2),
])
"""
RUN = """
import chain
result = chain.pipeline.run(1 + 2 * chain.X, folder="run", seed=1)
print([each.seconds for each in result.stages[:3]], [each.resumed for each in result.stages])
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("stage", ["middle", "program"])
def test_a_run_killed_in_a_function_or_program_goes_on_there(here, monkeypatch, stage):
    """In samplers: test_pipeline_nist.py."""
    (here / "chain.py").write_text(CHAIN)
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[1]}:{Path(cf.__file__).parents[1]}")
    gate, tally = Gate(here / "gate"), Tally(here / "calls")
    monkeypatch.setenv("STOP", stage)
    with start(RUN) as process:
        gate.wait_for_arrival()
        process.send_signal(signal.SIGKILL)
    stages = ["coarse", "middle", "program", "fine"]
    done = stages[: stages.index(stage)]
    assert sorted(p.parent.name for p in here.glob("run/*/done.json")) == sorted(done)
    before = tally.all()

    monkeypatch.setenv("STOP", "")
    resumed = python(RUN, timeout=300).splitlines()[-1].rpartition("[")[2]

    assert resumed == ", ".join(str(each in done) for each in stages) + "]"
    again = ["middle", "program"] if stage == "middle" else ["program"]
    assert tally.all() == [*before, *again]
    assert sorted(p.parent.name for p in here.glob("run/*/done.json")) == sorted(stages)


# -- what is shown ---------------------------------------------------------------------


ONE_RUN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import cropfit as cf
from steps import Gate
gate = Gate.__new__(Gate)
gate.folder = sys.argv[1]
def found(data, former):
    if sys.argv[2] == "stop":
        gate.stop_here()
cf.Pipeline([cf.Stage("look", found)]).run(seed=1)
"""


def test_a_folder_is_run_by_one_process_at_a_time_and_taken_over_from_a_dead_one(here):
    gate = Gate(here / "gate")
    first = start(ONE_RUN, gate.folder, "stop")
    gate.wait_for_arrival()
    before = tree(here)
    told = python(ONE_RUN, gate.folder, "go", ok=False)
    assert f"pipeline is being written by process {first.pid} on" in told
    assert tree(here) == before

    first.kill()
    first.wait(timeout=200)
    assert python(ONE_RUN, gate.folder, "go") == ""
    assert (here / "pipeline" / "look" / "done.json").exists()
    assert [name for name in os.listdir(here) if "lock" in name] == []


def test_the_result_tells_stages_states_times_and_values_handed_on(here):
    result = run(COARSE, cf.Stage("fine", MODEL, sampler="emcee", max_steps=250))
    text, page = repr(result), result._repr_html_()
    assert text.splitlines()[0].startswith("<Pipeline pipeline: 2 of 2 stages done")
    height = result["coarse"].numbers["height"][0]
    assert f"height={height:.6g} (start, coarse)" in text
    assert "fine: not converged: max_steps=250" in text
    assert f"height = {height:.4g} (start)" in page
    assert page.count("<b>") == 3
    waiting = cf.Pipeline([COARSE])._repr_html_()
    assert "waiting" in waiting
    assert " in " not in waiting  # no folder yet
    with pytest.raises(KeyError, match="there are coarse, fine"):
        result["best"]


def test_a_plan_tells_what_is_done_and_runs_nothing(here):
    def fails(data, former):
        raise OSError("gone")

    pipeline = cf.Pipeline([COARSE, cf.Stage("bad", fails), cf.Stage("end", found)])
    assert [each.state for each in pipeline.plan(DATA).stages] == ["waiting"] * 3
    assert tree(here) == []
    with pytest.raises(StageError):
        pipeline.run(DATA)
    plan = pipeline.plan(DATA)
    assert [each.state for each in plan.stages] == ["done", "failed", "waiting"]
    assert "OSError: gone" in repr(plan)


def test_pictures_are_saved_beside_each_fit_also_of_one_that_was_read(here):
    run(COARSE, cf.Stage("look", found))
    fine = cf.Stage("fine", MODEL, n_live=30, inherit={"length": "fix", "height": cf.around(9)})
    for _ in range(2):
        result = run(COARSE, cf.Stage("look", found), fine, plot_result=True)
        for name in ("coarse", "fine"):
            picture = Path(result[name].picture)
            assert picture == here / "pipeline" / name / "fit.png"
            assert picture.read_bytes().startswith(b"\x89PNG")
            picture.unlink()
        assert result["look"].picture == ""


def test_the_number_of_cores_is_given_to_each_stage(here):
    with pytest.raises(DesignError, match="2 numbers for 1 stages"):
        run(COARSE, n_cores_list=[1, 1])
    result = run(cf.Stage("fit", MODEL, sampler="maxlike", n_live=2), n_cores_list=[2])
    assert result.done
