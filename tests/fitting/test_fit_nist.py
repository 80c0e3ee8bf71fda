"""Fits of NIST's certified problems by dynesty, held against the certified answers."""

from __future__ import annotations

import numpy as np
import pytest
from nist_models import MODELS, Problem, load_problems

import cropfit as cf

PROBLEMS = load_problems()
PULL = 4.0  # standard errors of a median that chance may bring, over all problems


def model_of(problem: Problem, width: float = 15.0) -> cf.Model:
    """The problem's curve with Gaussian noise, and priors some deviations wide on both sides."""
    curve = MODELS[problem.name]
    names = [f"b{number}" for number in range(1, len(problem.certified) + 1)]

    def predict(p, data):
        return curve(data["x"], *(p[name] for name in names))

    def log_likelihood(p, data):
        residual = (data["y"] - predict(p, data)) / data["yerr"]
        return -0.5 * np.sum(residual**2, axis=-1)

    ends = zip(names, problem.certified, width * problem.deviations, strict=True)
    priors = {name: cf.Uniform(value - by, value + by) for name, value, by in ends}
    return cf.Model(log_likelihood, priors, predict=predict)


def data_of(problem: Problem) -> dict[str, object]:
    freedom = len(problem.y) - len(problem.certified)
    return {"x": problem.x, "y": problem.y, "yerr": np.sqrt(problem.rss / freedom)}


@pytest.mark.parametrize("name", ["Misra1a", "DanWood", "Chwirut2", "Gauss1"])
def test_medians_agree_with_the_certified_values(name):
    """Where the posterior is Gaussian; the error of a median of n samples is 1.25 sd / sqrt(n)."""
    problem = PROBLEMS[name]
    fit = cf.fit(model_of(problem), data_of(problem), seed=1, n_live=200, progress=False)

    assert fit.converged
    for level, value, sd in zip(
        fit.percentiles().values(), problem.certified, problem.deviations, strict=True
    ):
        error = 1.25 * sd / np.sqrt(fit.ess)
        assert abs(level[1] - value) < PULL * error + 0.1 * sd
        assert (level[2] - level[0]) / 2 == pytest.approx(sd, rel=0.25)


def test_the_evidence_agrees_with_the_gaussian_integral():
    problem = PROBLEMS["DanWood"]
    fit = cf.fit(model_of(problem), data_of(problem), seed=2, n_live=200, progress=False)
    step = problem.jacobian(problem.certified) / data_of(problem)["yerr"]
    inverse = step.T @ step
    peak = -0.5 * (len(problem.y) - len(problem.certified))
    volume = 0.5 * np.log(np.linalg.det(2 * np.pi * np.linalg.inv(inverse)))
    wanted = peak + volume - np.sum(np.log(30 * problem.deviations))
    assert fit.log_evidence == pytest.approx(wanted, abs=5 * fit.log_evidence_error)


def test_the_same_seed_gives_the_same_numbers():
    problem = PROBLEMS["Misra1a"]
    one, other = (
        cf.fit(model_of(problem), data_of(problem), seed=5, n_live=50, progress=False)
        for _ in range(2)
    )
    assert one.to_dataset().equals(other.to_dataset())
    assert "dynesty" in str(one.settings)


CATALOGUE = ["Misra1a", "Misra1c", "DanWood", "Chwirut2", "Eckerle4"]


def test_certified_problems_are_fitted_each_by_its_own_model(here):
    problems = load_problems()
    cat = cf.fit_catalogue(
        {name: data_of(problems[name]) for name in CATALOGUE},
        model_of(problems[CATALOGUE[0]]),
        settings={name: {"model": model_of(problems[name])} for name in CATALOGUE},
        run="nist",
        seed=1,
        n_live=100,
        verbosity=0,
    )
    cat.grow()
    table = cat.merge()
    ds = cat.reap()

    assert set(table.status) == {"done"}
    for name in CATALOGUE:
        problem = problems[name]
        for k, (value, sd) in enumerate(zip(problem.certified, problem.deviations, strict=True)):
            low, median, high = ds[f"b{k + 1}"].sel(object=name).values
            error = 1.25 * sd / np.sqrt(table.ess[name])  # of a median
            assert abs(median - value) < PULL * error + 0.1 * sd
            assert (high - low) / 2 == pytest.approx(sd, rel=0.35)
            assert median == table[f"b{k + 1}_50"][name]
    own = {name: len(problems[name].certified) for name in CATALOGUE}
    assert [int(ds.b3.sel(object=name).notnull().all()) for name in CATALOGUE] == [
        int(own[name] == 3) for name in CATALOGUE
    ]
