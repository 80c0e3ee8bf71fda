"""The demo's data, models and graders against what NIST certifies."""

from __future__ import annotations

import numpy as np
import pytest
from nist_models import CERTIFIED_DIGITS, MODELS, Problem, fit, load_problems

PROBLEMS = load_problems()
# Its residuals (1e-13) are smaller than what rounding the parameters to 11 digits makes (1e-11).
BELOW_ROUNDING = {"Lanczos1"}


@pytest.fixture(params=sorted(MODELS))
def problem(request: pytest.FixtureRequest) -> Problem:
    return PROBLEMS[request.param]


def test_every_model_has_its_data_and_every_data_set_its_model():
    assert list(PROBLEMS) == sorted(MODELS)
    assert len(PROBLEMS) == 27


def test_the_certified_parameters_give_the_certified_sum_of_squares(problem):
    """To at least 8 digits, so that data, model and certified values belong together."""
    computed = problem.sum_of_squares(problem.certified)
    if problem.name in BELOW_ROUNDING:
        rounding = problem.jacobian(problem.certified) * problem.certified * 10.0**-CERTIFIED_DIGITS
        assert computed < np.sum(np.abs(rounding)) ** 2
        computed = fit(problem, start=2, optimiser="lm")[1]
        assert computed == pytest.approx(problem.rss, rel=0.1)
    else:
        assert computed == pytest.approx(problem.rss, rel=1e-8)


def test_the_jacobian_gives_the_certified_standard_deviations(problem):
    slopes = problem.jacobian(problem.certified)
    scale = np.linalg.norm(slopes, axis=0)  # or the normal equations are singular to rounding
    variance = problem.rss / (problem.y.size - problem.certified.size)
    _, r = np.linalg.qr(slopes / scale)
    deviations = np.linalg.norm(np.linalg.inv(r), axis=1) / scale * np.sqrt(variance)
    assert deviations == pytest.approx(problem.deviations, rel=1e-6)


def test_the_certified_parameters_are_graded_with_all_digits(problem):
    assert problem.digits(problem.certified) == CERTIFIED_DIGITS


def test_the_worst_parameter_decides_the_grade():
    problem = PROBLEMS["ENSO"]
    guess = problem.certified.copy()
    guess[3] *= 1 + 1e-4
    guess[5] *= 1 + 1e-6
    assert problem.digits(guess) == pytest.approx(4)
    assert problem.digits(-problem.certified) == 0


@pytest.mark.parametrize("optimiser", ["lm", "trf", "nelder-mead"])
def test_each_optimiser_solves_an_easy_problem_from_the_near_start(optimiser):
    digits, rss, evaluations = fit(PROBLEMS["Misra1a"], start=2, optimiser=optimiser)
    assert digits > 6
    assert rss == pytest.approx(PROBLEMS["Misra1a"].rss, rel=1e-8)
    assert evaluations > 10


def test_overflow_only_turns_an_optimiser_back():
    """MGH10's far start overflows the exponential on the way."""
    with np.errstate(all="raise"):
        assert np.isfinite(PROBLEMS["MGH10"].residuals(np.array([2.0, 4e9, 25.0]))).all()
