"""A catalogue of pipelines: each object runs its own chain, which goes on where it was killed."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from steps import GROW, Gate, Tally, python, start

import cropfit as cf
from cropfit.errors import DesignError

X = np.linspace(0, 1, 10)
PRIORS = {"slope": cf.Uniform(-9, 9, unit="km/s"), "height": cf.Uniform(-9, 9)}


def data_of(key):
    rng = np.random.default_rng(ord(key[0]))
    return {"id": key, "y": 2 * X + 1 + 0.1 * rng.normal(size=10)}


def line(p, data):
    residual = (data["y"] - p.slope * X - p.height) / 0.1
    return -0.5 * np.sum(residual**2, axis=-1)


MODEL = cf.Model(line, PRIORS)


def pipeline(middle=lambda data, former: {"twice": 2 * former["coarse"].best_fit.slope}):
    rules = {"slope": cf.around(width=6), "height": "fix"}
    return cf.Pipeline(
        [
            cf.Stage("coarse", MODEL, sampler="maxlike", n_live=3),
            cf.Stage("middle", middle),
            cf.Stage("fine", MODEL, n_live=30, dlogz=1.0, inherit=rules),
        ]
    )


def catalogue(chain, ids=("a", "b", "c"), **options):
    return cf.fit_catalogue(
        ids, chain, data_of, **{"run": "gal", "seed": 1, "verbosity": 0, **options}
    )


def test_the_row_is_the_last_fits_and_other_stages_are_columns(here):
    sown = catalogue(pipeline())
    sown.grow(num_workers=2)
    frame = sown.merge()
    assert frame["status"].tolist() == ["done"] * 3
    assert (frame["slope_50"] - 2).abs().max() < 0.5
    assert frame["middle.twice"].tolist() == (2 * frame["coarse.slope"]).tolist()
    assert frame["height"].tolist() == frame["coarse.height"].tolist()
    assert (frame["coarse.slope_err"] > 0).all()
    by_hand = sown.fit("b")
    assert by_hand.best_fit.slope == frame["slope_best"]["b"]
    ds = sown.reap()
    assert ds["coarse.slope"].values.tolist() == frame["coarse.slope"].tolist()
    assert sorted(path.name for path in here.iterdir()) == ["gal.csv", "gal.nc"]


def test_an_object_whose_chain_fails_does_not_stop_the_others(here):
    def middle(data, former):
        if data["id"] == "b":
            raise OSError("no such galaxy")

    sown = catalogue(pipeline(middle))
    sown.grow()
    frame = sown.merge()
    assert frame["status"].tolist() == ["done", "failed", "done"]
    assert "Stage 'middle' (2 of 3) failed: OSError: no such galaxy" in frame["error"]["b"]


@pytest.mark.timeout(400)
def test_a_chain_that_was_killed_goes_on_at_the_stage_that_is_not_done(here):
    gate, tally = Gate(here / "gate"), Tally(here / "calls")

    def middle(data, former):
        tally.add(former["coarse"].seconds)
        if len(tally.all()) == 1:
            gate.stop_here()
        return {"twice": 2 * former["coarse"].best_fit.slope}

    sown = catalogue(pipeline(middle), ids=["a"])
    with start(GROW, "gal") as worker:
        gate.wait_for_arrival()
        worker.send_signal(signal.SIGKILL)
    python(GROW, "gal", timeout=300)
    seconds = tally.all()
    assert len(seconds) == 2
    assert seconds[0] == seconds[1]  # the very fit that was kept, not one like it
    assert sown.merge()["status"].tolist() == ["done"]
    assert list(here.glob(".crop-gal/*/*/checkpoint/*")) == []


def test_what_differs_for_an_object_holds_in_every_stage_that_has_it(here):
    own = {"a": {"height": 1.0}, "b": {"slope": 2.0, "slope_sigma": 0.2}, "c": {"seed": 5}}
    with pytest.raises(DesignError, match="'a': All parameters are fixed"):
        catalogue(pipeline(), settings={"a": {"height": 1.0, "slope": 2.0}})
    sown = catalogue(pipeline(), settings=own)
    sown.grow()
    frame = sown.merge()
    assert frame["height"]["a"] == 1.0
    assert np.isnan(frame["coarse.height"]["a"])
    prior = sown.fit("b").model.priors["slope"]
    assert isinstance(prior, cf.Normal)
    assert (prior.mean, prior.sd) == (2.0, 0.2)
    assert sown.fit("c").settings["seed"] != sown.fit("a").settings["seed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_live": 50}, "n_live: a pipeline's options are given to its stages"),
        ({"sampler": "maxlike"}, "sampler: "),
        ({"walks": 5}, "walks: "),
        ({"settings": {"b": {"n_live": 9}}}, "n_live of 'b'"),
        ({"settings": {"b": {"mass": 9}}}, "No stage has a parameter 'mass'"),
    ],
)
def test_options_of_a_fit_belong_to_its_stage(here, options, said):
    with pytest.raises(DesignError, match=said):
        catalogue(pipeline(), **options)
    assert list(here.iterdir()) == []


def test_a_catalogue_wants_a_fit_and_refuses_another_pipeline(here):
    with pytest.raises(DesignError, match="No stage of the pipeline is a fit"):
        catalogue(cf.Pipeline([cf.Stage("look", print)]))
    catalogue(pipeline())
    other = cf.Pipeline([*pipeline().stages, cf.Stage("more", MODEL, sampler="maxlike")])
    with pytest.raises(cf.ExistsError, match="more"):
        catalogue(other)
    assert catalogue(pipeline()).ids() == ["a", "b", "c"]
