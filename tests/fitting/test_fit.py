"""`fit` is reproducible, resumes after any kill, and refuses a checkpoint of another fit."""

from __future__ import annotations

import importlib
import io
import json
import math
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from steps import python, start, tree

import cropfit as cf
from cropfit.errors import (
    DamagedError,
    DesignError,
    ExistsError,
    LikelihoodError,
)
from cropfit.fitting import samplers
from cropfit.fitting.samplers import base
from cropfit.work.context import Case, Unfinished, entered

HERE = str(Path(__file__).parent)
X = np.linspace(0, 1, 20)
DATA = {"x": X, "y": 2 * X + 1, "yerr": 0.5}
PRIORS = {"slope": cf.Uniform(0, 5, unit="km/s"), "height": cf.Normal(0, 2), "z": 0.02}


def line(p, data):
    return -0.5 * np.sum(((data["y"] - p.slope * data["x"] - p.height) / data["yerr"]) ** 2, -1)


@pytest.fixture(autouse=True)
def importance(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    ours = importlib.import_module("importance").run
    theirs = samplers.load_sampler
    monkeypatch.setattr(
        samplers, "load_sampler", lambda name: ours if name == "importance" else theirs(name)
    )


def fit(model=None, data=DATA, **options) -> cf.Fit:
    return cf.fit(model or cf.Model(line, PRIORS), data, sampler="importance", **options)


def same(one: cf.Fit, other: cf.Fit) -> bool:
    return one.to_dataset().equals(other.to_dataset())


# -- what comes out ------------------------------------------------------------------


def test_a_seed_is_drawn_recorded_and_repeats_the_fit():
    first, second = fit(), fit()
    assert first.settings["seed"] != second.settings["seed"]
    assert not same(first, second)
    assert same(fit(seed=first.settings["seed"]), first)
    assert same(fit(seed=np.int64(3)), fit(seed=3))


def test_all_that_was_really_used_is_recorded():
    found = fit(seed=1, batches=4, max_calls=10_000)
    wanted = {"sampler": "importance", "n_live": 100, "batches": 4, "seed": 1, "dlogz": None}
    assert wanted.items() <= found.settings.items()
    assert found.settings["importance"] == "1.0"
    assert found.settings["cropfit"] == cf.__version__
    assert found.settings["max_calls"] == 10_000
    assert (found.calls, found.sampler, found.converged) == (400, "importance", True)
    assert found.seconds > 0


def test_the_samples_have_units_priors_and_weights():
    found = fit(seed=1)
    model = cf.Model(line, PRIORS)
    assert found.units == {"slope": "km/s"}
    assert found.fixed == {"z": 0.02}
    assert found.weights.sum() == pytest.approx(1)
    assert np.exp(found.log_weights).sum() == pytest.approx(1)
    assert np.array_equal(found.log_prior, model.log_prior(found.samples))
    levels = found.percentiles()
    assert levels["slope"][0] < 2 < levels["slope"][2]


def test_a_likelihood_that_raises_ends_the_fit_with_its_parameters():
    def likelihood(p, data):
        raise ValueError("no such line")

    with pytest.raises(LikelihoodError, match=r"no such line.* at slope=.*, height=.*z=0\.02"):
        fit(cf.Model(likelihood, PRIORS))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "1", True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(DesignError, match="seed must be an int"):
        fit(seed=seed)


def test_a_sampler_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(DesignError, match="no sampler 'mcmc'; there are dynesty, "):
        cf.fit(cf.Model(line, PRIORS), DATA, sampler="mcmc")


def test_nothing_is_printed_where_nobody_looks(capfd):
    fit(seed=1)
    assert capfd.readouterr() == ("", "")


def test_a_bar_counts_the_calls_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    fit(seed=1)
    assert "1000call" in terminal.getvalue()
    assert "dlogz=0.5" in terminal.getvalue()
    monkeypatch.setattr("sys.stderr", Terminal())
    fit(seed=1, progress=False)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


# -- derived quantities --------------------------------------------------------------


@pytest.mark.parametrize(
    "derived",
    [
        {"end": (lambda p: p.slope + p.height, "km/s"), "log": lambda p: np.log(p.slope)},
        lambda p: {"end": p.slope + p.height, "log": np.log(p.slope)},
        {"end": lambda p: float(p.slope + p.height), "log": lambda p: math.log(p.slope)},
    ],
    ids=["vectorised", "one function", "scalar"],
)
def test_derived_quantities_are_computed_for_every_sample(derived):
    found = fit(cf.Model(line, PRIORS, derived=derived), seed=1)
    np.testing.assert_allclose(found["end"], found["slope"] + found["height"], rtol=1e-14)
    np.testing.assert_allclose(found["log"], np.log(found["slope"]), rtol=1e-14)
    assert list(found.percentiles()) == ["slope", "height", "end", "log"]
    assert found.units.get("end") in ("km/s", None)


def test_derived_quantities_that_mix_the_samples_are_computed_one_by_one():
    found = fit(cf.Model(line, PRIORS, derived={"share": lambda p: p.slope / np.max(p.slope)}))
    assert np.array_equal(found["share"], np.ones(len(found)))


def test_a_derived_quantity_that_fails_for_some_samples_does_not_cost_the_others():
    derived = {"root": lambda p: math.sqrt(p.height)}
    with pytest.warns(UserWarning, match=r"derived raised for \d+ of 1000 samples"):
        found = fit(cf.Model(line, PRIORS, derived=derived), seed=1)
    assert np.array_equal(np.isnan(found["root"]), found["height"] < 0)


@pytest.mark.parametrize(
    ("derived", "says"),
    [
        ({"end": lambda p: p.no_such}, "derived raised AttributeError.*Nothing was fitted yet"),
        ({"slope": lambda p: 1.0}, "'slope' has the name of a parameter"),
        ({"end": lambda p: np.ones(3)}, "must be a number"),
        ({"log_weight": lambda p: 1.0}, "cannot be called 'log_weight'"),
    ],
)
def test_a_derived_quantity_that_cannot_be_is_refused_before_the_fit(derived, says):
    calls = []

    def likelihood(p, data):
        calls.append(p)
        return 0.0

    with pytest.raises((DesignError, LikelihoodError), match=says):
        fit(cf.Model(likelihood, PRIORS, derived=derived, vectorized=False))
    assert calls == []


# -- limits --------------------------------------------------------------------------


def test_a_fit_that_runs_out_of_calls_or_time_says_so():
    few = fit(max_calls=250)
    assert (few.converged, few.calls, few.why) == (False, 300, "max_calls=250")
    late = fit(timeout=1e-9)
    assert (late.converged, late.calls) == (False, 100)
    with pytest.raises(DesignError, match="not a positive duration"):
        fit(timeout=-1)


def test_a_fit_that_ends_before_its_first_sample_still_prints_and_saves(tmp_path, monkeypatch):
    nothing = base.Draws(
        np.empty((0, 2)), np.empty(0), np.empty(0), math.nan, math.nan, 7, False, "max_calls"
    )
    monkeypatch.setattr(samplers, "load_sampler", lambda name: lambda problem, task: nothing)
    found = fit()
    assert len(found) == 0
    assert "NOT CONVERGED: max_calls" in str(found.summary())
    assert math.isnan(found.to_dict()["parameters"]["slope"]["median"])
    with pytest.raises(DesignError, match="no samples"):
        _ = found.best_fit
    found.save(tmp_path / "fit.nc")
    assert cf.Fit.load(tmp_path / "fit.nc").calls == 7


def test_a_case_that_runs_out_of_time_is_given_back_and_goes_on_where_it_was(tmp_path):
    whole = fit(seed=1)
    with entered(Case(deadline=time.time() - 1)), pytest.raises(Unfinished):
        fit(seed=1, checkpoint=tmp_path / "fit")
    with entered(Case(asked_to_stop=lambda: True)), pytest.raises(Unfinished):
        fit(seed=1, checkpoint=tmp_path / "fit")
    assert len(np.load(tmp_path / "fit" / "sampler" / "state.npy")) == 2
    with entered(Case()):
        assert same(fit(seed=1, checkpoint=tmp_path / "fit"), whole)


# -- checkpoints ---------------------------------------------------------------------


def test_a_fit_that_was_cut_short_goes_on_to_the_same_end(tmp_path):
    whole = fit(seed=1)
    assert fit(seed=1, checkpoint=tmp_path / "fit", max_calls=300).calls == 300
    assert tree(tmp_path) == ["fit", "fit/guard.json", "fit/sampler", "fit/sampler/state.npy"]
    again = fit(checkpoint=tmp_path / "fit")  # with the seed of the checkpoint
    assert same(again, whole)
    assert again.settings["seed"] == 1


def test_a_finished_fit_is_given_at_once(tmp_path):
    first = fit(checkpoint=tmp_path / "fit")
    assert tree(tmp_path) == ["fit", "fit/fit.nc", "fit/guard.json"]
    model = cf.Model(line, PRIORS)
    again = fit(model, checkpoint=tmp_path / "fit", max_calls=1)
    assert again.to_dataset().identical(first.to_dataset())
    assert (again.model, again.data) == (model, DATA)


def steep(p, data):
    return line(p, data) - 1.0


CHANGES = {
    "the data": {"data": {**DATA, "yerr": 0.4}},
    "the likelihood": {"model": cf.Model(steep, PRIORS)},
    "the prior of 'slope'": {"model": cf.Model(line, {**PRIORS, "slope": cf.Uniform(0, 6)})},
    "the prior of 'z'": {"model": cf.Model(line, {**PRIORS, "z": 0.03})},
    "the constraint": {"model": cf.Model(line, PRIORS, constraint=lambda p: p.slope > 1)},
    r"n_live \(None there, 50 here\)": {"n_live": 50},
    r"dlogz \(None there, 0.1 here\)": {"dlogz": 0.1},
    "option batches": {"batches": 3},
    r"seed \(1 there, 2 here\)": {"seed": 2},
}


@pytest.mark.parametrize("differs", CHANGES)
@pytest.mark.parametrize("finished", [False, True])
def test_a_checkpoint_of_another_fit_is_refused_and_left_as_it_is(tmp_path, differs, finished):
    fit(seed=1, checkpoint=tmp_path / "fit", max_calls=None if finished else 200)
    before = tree(tmp_path)
    with pytest.raises(ExistsError, match=rf"What differs: {differs}.*To start anew, delete it"):
        fit(checkpoint=tmp_path / "fit", **{"seed": 1, **CHANGES[differs]})
    assert tree(tmp_path) == before
    assert fit(seed=1, checkpoint=tmp_path / "fit").calls == 1000


def test_a_folder_that_is_no_checkpoint_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExistsError, match=r"no guard.json but holds notes\.txt"):
        fit(checkpoint=tmp_path)
    assert tree(tmp_path) == ["notes.txt"]
    with pytest.raises(DesignError, match="is a file"):
        fit(checkpoint=tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError):
        fit(checkpoint=tmp_path / "gone" / "fit")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "cropfit checkpoint 9"}'])
def test_a_guard_that_cannot_be_read_is_named_with_the_way_out(tmp_path, text):
    (tmp_path / "guard.json").write_text(text)
    with pytest.raises(DamagedError, match=r"guard\.json .*delete it: rm -r"):
        fit(checkpoint=tmp_path)


def test_the_guard_says_in_plain_words_what_is_fitted(tmp_path):
    fit(seed=1, checkpoint=tmp_path / "fit")
    guard = json.loads((tmp_path / "fit" / "guard.json").read_text())
    assert guard["settings"] == {"sampler": "importance", "n_live": None, "dlogz": None, "seed": 1}
    assert {"the data", "the likelihood", "the prior of 'slope'"} <= set(guard["identity"])


KILLS = f"""
import json, os, signal, sys
sys.path.insert(0, {HERE!r})
import numpy as np, cropfit as cf, netCDF4, xarray
import importance
from cropfit.fitting import samplers
samplers.load_sampler = lambda name: importance.run
CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "shutil.rmtree")
left = 0

def hook(event, args):
    "Die at the last of `left` changes that this process makes below the current folder."
    global left
    opens = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    if left and (event in CHANGES or opens) and os.getcwd() in os.path.abspath(str(args[0])):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

def fitted(folder):
    model = cf.Model(lambda p, d: -np.sum((d - p.a) ** 2), {{"a": cf.Uniform(0, 5)}})
    fit = cf.fit(
        model, np.ones(3), sampler="importance", seed=1, checkpoint=folder, n_live=20, batches=2
    )
    return [fit.calls, fit.log_evidence, fit["a"].tolist()]

def run(folder, deadly):
    "What a process of its own tells of its fit; None if it was killed."
    global left
    out, into = os.pipe()
    child = os.fork()
    if not child:
        left = deadly
        os.write(into, json.dumps(fitted(folder)).encode())
        os._exit(0)
    os.close(into)
    with open(out, "rb") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return None if code else json.loads(said)

sys.addaudithook(hook)
wanted = fitted("whole")  # which also loads for the children what they need
for deadly in range(1, 200):
    if run(f"fit-{{deadly}}", deadly) is not None:
        break
    assert run(f"fit-{{deadly}}", 0) == wanted, deadly
    assert sorted(os.listdir(f"fit-{{deadly}}")) == ["fit.nc", "guard.json"], deadly
print(deadly - 1)
"""


def test_a_fit_killed_at_any_change_on_disk_is_finished_by_the_next(tmp_path):
    """In turn at the first, second, ... change; always the same numbers, and nothing left over."""
    kills = int(python(KILLS, cwd=tmp_path).split()[-1])
    assert kills >= 10


CROP = f"""
import os, signal, sys
sys.path.insert(0, {HERE!r})
import numpy as np, cropfit as cf
import importance
from cropfit.fitting import samplers
samplers.load_sampler = lambda name: importance.run

def mass(center):
    case = cf.current_case()

    def likelihood(p, data):
        with open(f"calls-{{center}}", "ab") as file:
            file.write(b"x")
            file.flush()
            if case.attempt == 1 and center == 2 and file.tell() == 150:
                os.kill(os.getpid(), signal.SIGKILL)
        return -((p.a - data) ** 2)

    model = cf.Model(likelihood, {{"a": cf.Uniform(0, 5)}}, vectorized=False)
    folder = os.path.join(case.checkpoint_dir, "fit")
    fit = cf.fit(model, center, sampler="importance", seed=1, checkpoint=folder, n_live=20)
    return fit.log_evidence

crop = cf.Crop(fn=mass, name="fits", var_names="log_evidence", verbosity=0)
if sys.argv[1] == "sow":
    crop.sow_combos({{"center": [1, 2, 3]}})
crop.grow()
print(crop.reap(to=False).log_evidence.values.tolist())
"""


def test_a_killed_worker_of_a_crop_loses_only_what_came_after_the_checkpoint(here):
    process = start(CROP, "sow")
    assert process.communicate(timeout=200)[0] == ""
    assert process.returncode == -signal.SIGKILL

    found = json.loads(python(CROP, "again"))

    calls = [(here / f"calls-{center}").stat().st_size for center in (1, 2, 3)]
    assert calls == [200, 150 + 200 - 140, 200]  # the seventh batch of 20 was saved, the eighth not
    whole = fit(
        cf.Model(lambda p, d: -((p.a - d) ** 2), {"a": cf.Uniform(0, 5)}), 2, seed=1, n_live=20
    )
    assert found[1] == pytest.approx(whole.log_evidence, rel=1e-12)
