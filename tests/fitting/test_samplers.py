"""What every sampler must do, whichever library it drives."""

from __future__ import annotations

import importlib.util
import math
import sys
import time
import warnings

import nist_models
import numpy as np
import pytest

import cropfit as cf
from cropfit.errors import CropError, DesignError, LikelihoodError
from cropfit.fitting.pools import likelihood_pool
from cropfit.fitting.problem import Problem
from cropfit.fitting.samplers import SAMPLERS, load_sampler
from cropfit.fitting.samplers.base import Draws, Task
from cropfit.fitting.samplers.simplex import descend
from cropfit.fitting.weights import effective_size, normalised

NESTED = {
    "dynesty": {},
    "dynesty rwalk": {"sample": "rwalk"},
    "dynesty-dynamic": {"n_effective": 300},
    "nautilus": {"n_eff": 500},
    "nessai": {},
    "ultranest": {},
}
LIVE = 150
WIDTH = 0.05


def library(name: str) -> str:
    return {"dynesty-dynamic": "dynesty", "maxlike": "numpy"}.get(name, name)


def nested(*names: str) -> list[object]:
    """The nested samplers of those names, or all; skipped where their library is missing."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(library(name.split()[0])) is None,
                reason=f"{library(name.split()[0])} is not installed",
            ),
        )
        for name in names or NESTED
    ]


def sample(name: str, problem: Problem, **terms: object) -> Draws:
    terms = {"n_live": LIVE, "seed": 1, **terms}
    terms["options"] = {**NESTED.get(name, {}), **terms.get("options", {})}
    return load_sampler(name.partition(" ")[0])(problem, Task(**terms))


def bell(x: np.ndarray, _: object) -> np.ndarray:
    return -0.5 * np.sum((x / WIDTH) ** 2, axis=-1)


def gaussian(n_dim: int = 3, **options: object) -> Problem:
    priors = {f"x{i}": cf.Uniform(-1, 1) for i in range(n_dim)}
    return cf.Model(bell, priors, as_array=True, **options).bind(None)


def evidence_of_gaussian(n_dim: int = 3) -> float:
    return n_dim * math.log(WIDTH * math.sqrt(2 * math.pi) / 2)


def banana(p: object, _: object) -> object:
    return -((1 - p.x) ** 2) - 100 * (p.y - p.x**2) ** 2


def nist(name: str, width: float = 10.0) -> tuple[Problem, nist_models.Problem]:
    """A certified problem under uniform priors; its posterior is about normal."""
    known = nist_models.load_problems()[name]
    sigma = math.sqrt(known.rss / (known.y.size - known.certified.size))

    def log_likelihood(p: object, _: object) -> object:
        values = nist_models.MODELS[name](known.x, *(p[each] for each in p))
        return -0.5 * np.sum(((known.y - values) / sigma) ** 2, axis=-1)

    pairs = zip(known.certified, known.deviations, strict=True)
    priors = {f"b{i}": cf.Uniform(c - width * d, c + width * d) for i, (c, d) in enumerate(pairs)}
    return cf.Model(log_likelihood, priors).bind(None), known


def moments(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    weights = normalised(draws.log_weights)
    mean = weights @ draws.samples
    return mean, np.sqrt(weights @ (draws.samples - mean) ** 2)


def same(one: Draws, other: Draws) -> bool:
    return (
        np.array_equal(one.samples, other.samples)
        and np.array_equal(one.log_weights, other.log_weights)
        and np.array_equal(one.log_likelihood, other.log_likelihood)
        and (one.log_evidence == other.log_evidence or math.isnan(one.log_evidence))
    )


# -- all that give an evidence ---------------------------------------------------------


@pytest.mark.parametrize("name", nested())
def test_the_evidence_and_width_of_a_gaussian_come_out(name):
    draws = sample(name, gaussian())

    error = 5 * max(draws.log_evidence_error, 0.05)
    assert abs(draws.log_evidence - evidence_of_gaussian()) < error
    mean, deviation = moments(draws)
    assert np.all(np.abs(mean) < 0.02)
    assert np.all(np.abs(deviation / WIDTH - 1) < 0.35)
    assert draws.converged, draws.why
    assert draws.calls > len(draws.samples) / 2
    assert np.allclose(draws.log_likelihood, bell(draws.samples, None))


@pytest.mark.parametrize("name", nested("dynesty", "dynesty rwalk", "dynesty-dynamic"))
def test_the_evidence_of_a_bent_valley_comes_out(name):
    model = cf.Model(banana, {"x": cf.Uniform(-5, 5), "y": cf.Uniform(-5, 5)})
    draws = sample(name, model.bind(None))
    assert abs(draws.log_evidence + 5.804) < 5 * draws.log_evidence_error


def test_leaps_save_calls_and_change_no_evidence():
    problem = gaussian()
    leaping = sample("dynesty", problem)
    walking = sample("dynesty", problem, options={"leaps": False})
    assert leaping.calls < walking.calls / 1.5
    for draws in (leaping, walking):
        off = draws.log_evidence - evidence_of_gaussian()
        assert abs(off) < 5 * draws.log_evidence_error


@pytest.mark.parametrize("name", nested("dynesty", "dynesty rwalk", "dynesty-dynamic"))
def test_impossible_regions_count_with_their_volume(name):
    """Half of the prior has no likelihood at all, which costs log(2) of evidence."""

    def half(p: object, data: object) -> object:
        return np.where(p.x0 > 0, -0.5 * ((p.x0 / WIDTH) ** 2 + (p.x1 / WIDTH) ** 2), -np.inf)

    model = cf.Model(half, {"x0": cf.Uniform(-1, 1), "x1": cf.Uniform(-1, 1)})
    draws = sample(name, model.bind(None))
    expected = evidence_of_gaussian(2) - math.log(2)
    assert abs(draws.log_evidence - expected) < 5 * draws.log_evidence_error
    weighty = normalised(draws.log_weights) > 1e-9
    assert np.all(draws.samples[weighty, 0] > 0)


@pytest.mark.parametrize("name", nested("dynesty", "dynesty rwalk", "dynesty-dynamic"))
def test_a_periodic_peak_at_the_seam_is_one_peak(name):
    def wrapped(p: object, data: object) -> object:
        return 50 * (np.cos(np.radians(p.angle)) - 1) - 0.5 * (p.y / WIDTH) ** 2

    angle = cf.Uniform(0, 360, boundary="periodic")
    problem = cf.Model(wrapped, {"angle": angle, "y": cf.Uniform(-1, 1)}).bind(None)
    draws = sample(name, problem)

    low = normalised(draws.log_weights)[draws.samples[:, 0] < 180].sum()
    assert 0.3 < low < 0.7
    expected = evidence_of_gaussian(1) + math.log(np.i0(50)) - 50
    assert abs(draws.log_evidence - expected) < 5 * draws.log_evidence_error


@pytest.mark.parametrize("name", nested("dynesty", "dynesty rwalk", "dynesty-dynamic"))
@pytest.mark.parametrize("boundary", ["reflective", None])
def test_a_peak_at_a_reflective_edge_is_found(name, boundary):
    """Also where all parameters are reflective, which dynesty alone cannot do."""
    priors = {f"x{i}": cf.Uniform(0, 1, boundary="reflective") for i in range(2)}
    priors["x1"] = cf.Uniform(0, 1, boundary=boundary)
    draws = sample(name, cf.Model(bell, priors, as_array=True).bind(None))
    expected = 2 * math.log(WIDTH * math.sqrt(math.pi / 2))
    assert abs(draws.log_evidence - expected) < 5 * draws.log_evidence_error


# -- all of them -----------------------------------------------------------------------

EVERY = [*(name for name in NESTED if name not in ("nautilus", "nessai", "ultranest"))]
EVERY += ["maxlike", "emcee"]


def terms_of(name: str) -> dict[str, object]:
    return {"n_live": {"maxlike": 4, "emcee": 32}.get(name, 60)}


@pytest.mark.parametrize("name", nested(*EVERY))
def test_medians_and_deviations_of_a_certified_problem_come_out(name):
    problem, known = nist("Misra1a")
    draws = sample(name, problem, n_live={"maxlike": 4, "emcee": 32}.get(name, LIVE))
    mean, deviation = moments(draws)
    assert np.all(np.abs(mean - known.certified) < 0.4 * known.deviations)
    assert np.all(np.abs(deviation / known.deviations - 1) < 0.35)
    assert draws.converged, draws.why


@pytest.mark.parametrize("name", nested(*EVERY))
def test_a_seed_gives_the_same_numbers_again_and_another_gives_others(name):
    problem = gaussian(2)
    draws = sample(name, problem, **terms_of(name))
    assert same(draws, sample(name, problem, **terms_of(name)))
    assert not same(draws, sample(name, problem, **{**terms_of(name), "seed": 2}))


@pytest.mark.parametrize("name", nested(*EVERY))
def test_a_limit_of_calls_ends_early_and_is_told(name):
    draws = sample(name, gaussian(2), max_calls=400, **terms_of(name))
    assert not draws.converged
    assert draws.why == "max_calls"
    assert 400 <= draws.calls < 1500
    assert len(draws.samples) == len(draws.log_weights) == len(draws.log_likelihood)


@pytest.mark.parametrize("name", nested(*EVERY))
def test_a_deadline_that_has_passed_ends_at_once_without_samples(name):
    draws = sample(name, gaussian(2), deadline=time.time() - 1, **terms_of(name))
    assert (draws.converged, draws.why) == (False, "deadline")
    assert draws.samples.shape[1] == 2


@pytest.mark.parametrize("name", nested(*EVERY))
def test_asking_to_stop_ends_between_two_steps(name):
    asked = iter(range(10**9))
    draws = sample(name, gaussian(2), should_stop=lambda: next(asked) > 20, **terms_of(name))
    assert (draws.converged, draws.why) == (False, "asked to stop")


@pytest.mark.parametrize("name", nested(*EVERY))
def test_what_a_likelihood_raises_reaches_the_user_with_the_parameters(name, capfd):
    def fragile(p: object, data: object) -> float:
        if p.x > 0.5:
            raise ZeroDivisionError("no such star")
        return float(-(p.x**2))

    problem = cf.Model(fragile, {"x": cf.Uniform(-1, 1), "y": cf.Uniform(0, 1)}).bind(None)
    with pytest.raises(LikelihoodError, match=r"no such star.*x=0\.[5-9].*y=0\."):
        sample(name, problem, **terms_of(name))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", nested(*EVERY))
def test_a_likelihood_that_is_zero_everywhere_is_an_error(name):
    model = cf.Model(lambda p, data: -np.inf, {"x": cf.Uniform(0, 1), "y": cf.Uniform(0, 1)})
    with pytest.raises(LikelihoodError):
        sample(name, model.bind(None), **terms_of(name))


@pytest.mark.parametrize("name", nested(*EVERY))
def test_an_option_that_the_sampler_lacks_is_refused_with_those_it_has(name):
    with pytest.raises(DesignError, match="no option 'colour'; it has"):
        sample(name, gaussian(2), options={"colour": "green"})


@pytest.mark.parametrize("name", nested(*EVERY))
def test_nothing_is_printed_and_no_warning_shown(name, capfd, recwarn):
    sample(name, gaussian(2), **terms_of(name))
    assert capfd.readouterr() == ("", "")
    assert [str(each.message) for each in recwarn] == []


@pytest.mark.parametrize("name", nested("dynesty", "maxlike", "emcee"))
def test_the_numbers_are_the_same_alone_pooled_and_one_by_one(name):
    problem, single = gaussian(2), gaussian(2, vectorized=False)
    assert (problem.vectorized, single.vectorized) == (True, False)
    alone = sample(name, problem, **terms_of(name))
    assert same(alone, sample(name, single, **terms_of(name)))
    with likelihood_pool(problem, n_pool=2) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the pool makes this slower")
        assert same(alone, sample(name, problem, pool=pool, **terms_of(name)))


def test_dynestys_own_methods_give_the_same_with_a_pool_as_with_its_queue_alone():
    problem = gaussian(2)
    with likelihood_pool(problem, n_pool=2) as pool:
        pooled = sample("dynesty rwalk", problem, pool=pool, n_live=60)
    assert pooled.settings["queue_size"] == 16
    alone = sample("dynesty rwalk", problem, options={"queue_size": 16}, n_live=60)
    assert same(pooled, alone)


def test_dynestys_own_methods_give_bare_dynestys_numbers():
    from dynesty import NestedSampler

    problem = gaussian(2)
    draws = sample("dynesty rwalk", problem, n_live=60, options={"walks": 10})
    bare = NestedSampler(
        problem.log_likelihood,
        problem.transform,
        problem.n_dim,
        nlive=60,
        sample="rwalk",
        walks=10,
        rstate=np.random.default_rng(1),
    )
    bare.run_nested(print_progress=False)
    assert np.array_equal(draws.samples, bare.results["samples"])
    assert draws.log_evidence == bare.results["logz"][-1]


def test_walkers_evidences_scatter_as_claimed_about_the_truth():
    """Over many seeds, as no single run could show a bias."""
    seeds = range(20)
    found = [sample("dynesty", gaussian(4), n_live=100, seed=seed) for seed in seeds]
    evidences = np.array([draws.log_evidence for draws in found])
    claimed = np.mean([draws.log_evidence_error for draws in found])
    off = evidences - evidence_of_gaussian(4)
    assert abs(off.mean()) < 4 * claimed / math.sqrt(len(found))
    assert 0.3 * claimed < off.std() < 1.5 * claimed


@pytest.mark.parametrize("levels", [2, 5])
def test_plateaus_of_the_likelihood_have_their_share_of_the_evidence(levels):
    """Steps of equal likelihood, each over a known part of the prior."""

    def stairs(p: object, data: object) -> object:
        return 3.0 * np.floor(levels * p.x)

    draws = sample("dynesty", cf.Model(stairs, {"x": cf.Uniform(0, 1)}).bind(None), n_live=500)
    expected = np.log(np.mean(np.exp(3.0 * np.arange(levels))))
    assert abs(draws.log_evidence - expected) < 0.3


@pytest.mark.parametrize("name", ["Thurber", "MGH09", "Gauss2"])
def test_the_maximum_of_a_certified_problem_has_seven_digits(name):
    problem, known = nist(name, width=15.0)
    draws = sample("maxlike", problem, n_live=8)
    assert known.digits(draws.samples[0]) > 6.5
    assert draws.log_likelihood[0] == draws.log_likelihood.max()
    assert draws.covariance.shape == (problem.n_dim, problem.n_dim)


def test_the_starts_of_a_climb_share_calls_of_a_vectorized_likelihood():
    sizes = []

    def hill(x: np.ndarray, _: object) -> np.ndarray:
        sizes.append(len(np.atleast_2d(x)))
        return bell(x, _)

    priors = {f"x{i}": cf.Uniform(-1, 1) for i in range(4)}
    draws = sample("maxlike", cf.Model(hill, priors, as_array=True).bind(None), n_live=8)
    assert draws.calls > 4 * len(sizes)
    assert draws.why == "8 of 8 starts ended at the maximum"


@pytest.mark.parametrize("n_dim", [1, 2, 5])
def test_a_simplex_goes_its_way_whatever_others_do(n_dim):
    def depths(points: np.ndarray) -> np.ndarray:
        away = points - np.linspace(0.4, 0.6, n_dim)
        depth = np.sum(np.abs(away) ** 1.5 * 3.0 ** np.arange(n_dim), axis=-1)
        return np.where(points[:, 0] > 0.65, np.inf, 1e4 * depth)

    starts = np.random.default_rng(2).uniform(0.35, 0.65, (6, n_dim))
    points, found = descend(depths, starts, 0.1)
    assert np.array_equal(found, depths(points))
    assert np.allclose(points, np.linspace(0.4, 0.6, n_dim), atol=1e-4)
    for start, point in zip(starts, points, strict=True):
        alone, _ = descend(depths, start[None], 0.1)
        assert np.allclose(alone[0], point, rtol=0, atol=1e-7)


def test_a_maximum_at_the_edge_of_the_prior_is_told_and_has_no_covariance():
    def slope(p: object, data: object) -> object:
        return p.x * 3.0 - 0.5 * p.y**2

    problem = cf.Model(slope, {"x": cf.Uniform(0, 1), "y": cf.Uniform(-1, 1)}).bind(None)
    draws = sample("maxlike", problem, n_live=4)
    assert draws.covariance is None
    assert (draws.converged, len(draws.samples)) == (False, 1)
    assert np.allclose(draws.samples[0], [1, 0], atol=1e-3)


def test_too_few_live_points_are_refused():
    with pytest.raises(DesignError, match="n_live=6 is too few for 3 parameters"):
        sample("dynesty", gaussian(3), n_live=6)
    with pytest.raises(DesignError, match="n_live=7 walkers"):
        sample("emcee", gaussian(3), n_live=7)


def test_settings_tell_all_options_that_were_used():
    settings = sample("dynesty", gaussian(2), n_live=60).settings
    assert settings["n_live"] == 60
    assert {"sample", "walkers", "walks", "bound", "dlogz", "dynesty"} <= set(settings)
    settings = sample("emcee", gaussian(2), n_live=32).settings
    assert {"burn", "thin", "steps", "autocorrelation_time", "moves"} <= set(settings)


def test_effective_samples_are_more_than_a_handful():
    draws = sample("dynesty", gaussian(2))
    assert effective_size(normalised(draws.log_weights)) > 100


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "maxlike"])
def test_a_sampler_without_its_library_tells_how_to_get_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, library(name), None)
    with pytest.raises(CropError, match=r"pip install 'cropfit\["):
        load_sampler(name)(gaussian(2), Task())
