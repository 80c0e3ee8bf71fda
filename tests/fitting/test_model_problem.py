"""A likelihood gives a number below infinity or an error that holds the parameters."""

from __future__ import annotations

import math
import pickle

import cloudpickle
import numpy as np
import pytest

import cropfit as cf
from cropfit.errors import LikelihoodError

X = np.linspace(0, 1, 20)
DATA = {"x": X, "y": 2 * np.exp(-X), "yerr": 0.1}
PRIORS = {"a": cf.Uniform(0, 5), "b": cf.LogUniform(0.1, 10), "z": 0.02}


def decay(p, data, axis=-1):
    return -0.5 * np.sum(((data["y"] - p.a * np.exp(-p.b * data["x"])) / 0.1) ** 2, axis=axis)


def draws(model: cf.Model, n: int) -> np.ndarray:
    return model.transform(np.random.default_rng(5).random((n, model.n_dim)))


@pytest.mark.parametrize(
    ("likelihood", "shape"),
    [
        (lambda p, d: -(p.a**2) - p.b**2, "flat"),
        (decay, "column"),
        (lambda p, d: decay(p, d, axis=None), "scalar"),
        (lambda p, d: -math.sqrt(p.a), "scalar"),  # raises for arrays
        (lambda p, d: -p.a if p.a > p.b else -p.b, "scalar"),  # ambiguous for arrays
        (lambda p, d: 0.0, "scalar"),  # right for all, but no array
        (lambda p, d: -p.a - np.sum(p.b), "scalar"),  # mixes the points
        (lambda p, d: p.a / np.max(p.a), "scalar"),
        (lambda p, d: np.sort(p.a) if np.ndim(p.a) else p.a, "scalar"),  # at wrong points
        (lambda p, d: np.cumsum(p.a)[: p.a.size] if np.ndim(p.a) else p.a, "scalar"),
    ],
)
def test_a_likelihood_is_vectorised_if_each_point_has_what_it_has_alone(likelihood, shape):
    problem = cf.Model(likelihood, PRIORS).bind(DATA)
    assert problem.layout.shape == shape
    assert problem.vectorized == (shape != "scalar")
    thetas = draws(problem.model, 31)
    together = problem.log_likelihoods(thetas)
    assert together.shape == (31,)
    np.testing.assert_allclose(
        together, [problem.log_likelihood(theta) for theta in thetas], rtol=1e-12
    )


@pytest.mark.parametrize("points", [2, 13, 20])
def test_data_as_long_as_the_batch_do_not_pass_for_vectorisation(points):
    """Arrays of one shape broadcast, but along the wrong axis."""
    data = {"x": np.linspace(0, 1, points), "y": np.ones(points)}
    sums = cf.Model(lambda p, d: -np.sum((d["y"] - p.a * d["x"]) ** 2), {"a": cf.Uniform(0, 1)})
    assert not sums.bind(data).vectorized
    elements = cf.Model(lambda p, d: -((d["y"] - p.a * d["x"]) ** 2), {"a": cf.Uniform(0, 1)})
    assert not elements.bind(data).vectorized


def test_a_likelihood_of_a_plain_array_is_tried_too():
    model = cf.Model(lambda t, d: -np.sum(t**2, axis=-1), PRIORS, as_array=True)
    problem = model.bind(None)
    assert problem.layout.shape == "array"
    thetas = draws(model, 7)
    np.testing.assert_allclose(problem.log_likelihoods(thetas), -np.sum(thetas**2, axis=1))
    assert problem.log_likelihood(thetas[0]) == -np.sum(thetas[0] ** 2)


def test_the_array_that_a_likelihood_gets_cannot_be_written_to():
    def spoil(theta, data):
        theta *= 0
        return 0.0

    problem = cf.Model(spoil, PRIORS, as_array=True, vectorized=False).bind(None)
    theta = np.array([1.0, 2.0])
    with pytest.raises(LikelihoodError, match="read-only"):
        problem.log_likelihood(theta)
    assert theta.tolist() == [1.0, 2.0]


def test_a_declared_likelihood_is_called_with_arrays_only():
    shapes = []

    def likelihood(p, data):
        shapes.append(np.shape(p.a))
        return np.array([-float(a) for a in p.a])  # which fails for a number

    problem = cf.Model(likelihood, PRIORS, vectorized=True).bind(None)
    assert problem.log_likelihood(np.array([3.0, 1.0])) == -3.0
    assert {len(shape) for shape in shapes} == {1}


@pytest.mark.parametrize(
    ("likelihood", "says"),
    [
        (lambda p, d: np.sum(p.a), r"gave shape \(\)"),
        (lambda p, d: -p.a / np.max(p.a), "other values for 2 points"),
        (lambda p, d: -p.a / p.a[0], "that alone has"),
        (lambda p, d: math.sqrt(p.a), "raised TypeError"),
        (lambda p, d: None, "raised TypeError"),
    ],
)
def test_a_wrong_declaration_is_refused_before_the_fit(likelihood, says):
    with pytest.raises(LikelihoodError, match=f"vectorized=True was declared.*{says}"):
        cf.Model(likelihood, PRIORS, vectorized=True).bind(None)


def test_a_likelihood_that_is_declared_scalar_is_never_tried():
    calls = []
    cf.Model(lambda p, d: calls.append(p) or 0.0, PRIORS, vectorized=False).bind(None)
    assert calls == []


def test_a_likelihood_that_fails_with_arrays_later_is_caught_in_the_act():
    """It looked vectorised until a point came that changes all others."""

    def likelihood(p, data):
        return np.full(np.shape(p.a), -1e9) if np.any(np.asarray(p.a) > 4.9999) else -(p.a**2)

    problem = cf.Model(likelihood, PRIORS).bind(None)
    assert problem.vectorized
    thetas = np.array([[1.0, 1.0], [2.0, 1.0], [5.0, 1.0]])
    with pytest.raises(LikelihoodError, match=r"among 3 and -4.*for it alone, at a=2\.0"):
        problem.log_likelihoods(thetas)


def test_a_constraint_keeps_the_likelihood_from_being_called():
    seen = []

    def likelihood(p, data):
        seen.append((p.a, p.b))
        return -(p.a**2)

    model = cf.Model(likelihood, PRIORS, constraint=lambda p: p.a < p.b)
    problem = model.bind(None)
    assert problem.vectorized
    thetas = draws(model, 40)
    allowed = thetas[:, 0] < thetas[:, 1]
    found = problem.log_likelihoods(thetas)
    assert np.array_equal(np.isfinite(found), allowed)
    assert 0 < allowed.sum() < 40
    assert problem.log_likelihood(np.array([2.0, 1.0])) == -math.inf
    assert all(np.all(np.asarray(a) < np.asarray(b)) for a, b in seen)


def test_a_constraint_of_one_point_at_a_time_works_with_a_vectorised_likelihood():
    model = cf.Model(lambda p, d: -(p.a**2), PRIORS, constraint=lambda p: bool(p.a < p.b))
    problem = model.bind(None)
    assert (problem.vectorized, problem.layout.constraint) == (True, False)
    thetas = draws(model, 10)
    assert np.array_equal(np.isfinite(problem.log_likelihoods(thetas)), thetas[:, 0] < thetas[:, 1])


def raises(p, data):
    raise RuntimeError("no such orbit")


@pytest.mark.parametrize(
    ("likelihood", "says"),
    [
        (raises, r"raises raised RuntimeError: no such orbit, in raises, .*test_model_problem"),
        (lambda p, d: np.nan, "gave nan"),
        (lambda p, d: math.inf, "gave inf"),
        (lambda p, d: None, "gave None .is a return missing"),
        (lambda p, d: np.zeros(3), r"gave an array of shape \(3,\)"),
        (lambda p, d: np.zeros(1), r"gave an array of shape \(1,\)"),
        (lambda p, d: "-1", "gave '-1'"),
        (lambda p, d: 1j, "gave 1j"),
    ],
)
def test_what_is_no_number_is_an_error_with_the_parameters_in_it(likelihood, says):
    problem = cf.Model(likelihood, PRIORS).bind(None)
    theta = np.array([1.5, 2.5])
    with pytest.raises(LikelihoodError, match=rf"{says}.* at a=1\.5, b=2\.5, z=0\.02 .fixed") as e:
        problem.log_likelihood(theta)
    with pytest.raises(LikelihoodError, match=r"at a=1\.5, b=2\.5"):
        problem.log_likelihoods(theta[None])
    assert str(pickle.loads(pickle.dumps(e.value))) == str(e.value)


def test_a_vectorised_likelihood_names_the_point_that_went_wrong():
    def likelihood(p, data):
        return np.where(p.a > 4.99, np.nan, -p.a)

    problem = cf.Model(likelihood, PRIORS).bind(None)
    assert problem.vectorized
    with pytest.raises(LikelihoodError, match=r"gave nan at a=4\.995, b=3\.0"):
        problem.log_likelihoods(np.array([[1.0, 1.0], [4.995, 3.0], [2.0, 2.0]]))


@pytest.mark.parametrize("value", [-math.inf, 3, np.float32(2.5), np.array(-1.0), True])
def test_any_real_number_below_infinity_will_do(value):
    problem = cf.Model(lambda p, d: value, PRIORS).bind(None)
    assert problem.log_likelihood(np.array([1.0, 1.0])) == float(value)


def test_a_keyboard_interrupt_is_none_of_its_errors():
    def likelihood(p, data):
        raise KeyboardInterrupt

    problem = cf.Model(likelihood, PRIORS, vectorized=False).bind(None)
    with pytest.raises(KeyboardInterrupt):
        problem.log_likelihood(np.array([1.0, 1.0]))


def test_a_pickled_problem_is_not_probed_again(tmp_path):
    counted = tmp_path / "calls"
    counted.touch()

    def likelihood(p, data):
        with counted.open("a") as file:
            file.write("x")
        return decay(p, data)

    problem = cf.Model(likelihood, PRIORS).bind(DATA)
    before = counted.stat().st_size
    again = cloudpickle.loads(cloudpickle.dumps(problem))

    assert counted.stat().st_size == before
    assert again.layout == problem.layout
    thetas = draws(problem.model, 3)
    assert np.array_equal(again.log_likelihoods(thetas), problem.log_likelihoods(thetas))
