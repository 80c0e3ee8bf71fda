"""A model turns the unit cube into parameters by name, and is never changed."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import cloudpickle
import numpy as np
import pytest
from scipy import stats

import cropfit as cf
from cropfit.errors import DesignError
from cropfit.fitting.params import Params


def nothing(params, data):
    return 0.0


@pytest.fixture
def model() -> cf.Model:
    return cf.Model(
        nothing,
        priors={
            "fast": cf.Uniform(0, 300, unit="km/s"),
            "z": 0.02,
            "n": cf.LogUniform(1e-3, 1e3),
            "slow": cf.Conditional(lambda p: cf.Uniform(p.z, p.fast), unit="km/s"),
            "d": cf.Normal(10, 2, low=0),
            "k": stats.gamma(2, scale=3),
            "angle": cf.Uniform(0, 360, unit="deg", boundary="periodic"),
            "tilt": cf.Uniform(0, 90, boundary="reflective"),
        },
    )


def cube(model: cf.Model, n: int = 50) -> np.ndarray:
    return np.random.default_rng(1).random((n, model.n_dim))


def test_the_free_parameters_keep_their_order_and_the_fixed_stand_apart(model):
    assert model.names == ("fast", "n", "slow", "d", "k", "angle", "tilt")
    assert model.fixed == {"z": 0.02}
    assert model.units == {"fast": "km/s", "slow": "km/s", "angle": "deg"}
    problem = model.bind(None)
    assert (problem.periodic, problem.reflective) == ([5], [6])


def test_many_points_are_transformed_as_each_alone_to_the_bit(model):
    u = cube(model)
    together = model.transform(u)
    assert np.array_equal(together, [model.transform(each) for each in u])
    assert np.array_equal(model.transform(u.reshape(5, 10, -1)), together.reshape(5, 10, -1))


def test_each_column_is_the_transform_of_its_own_prior(model):
    u = cube(model)
    theta = model.transform(u)
    for name in ("fast", "n", "d", "k", "angle", "tilt"):
        column = model.names.index(name)
        assert np.array_equal(theta[:, column], model.priors[name].transform(u[:, column]))


def test_a_conditional_prior_sees_the_earlier_parameters(model):
    u = cube(model)
    theta = model.transform(u)
    fast, slow = theta[:, 0], theta[:, 2]
    assert np.array_equal(slow, np.minimum(0.02 + u[:, 2] * (fast - 0.02), fast))
    density = model.log_prior(theta) - cf.Model(
        nothing, {n: p for n, p in model.priors.items() if n != "slow"}
    ).log_prior(np.delete(theta, 2, axis=1))
    np.testing.assert_allclose(density, -np.log(fast - 0.02), rtol=1e-9)


@pytest.mark.parametrize(
    "prior",
    [
        lambda p: cf.Uniform(0, p.a),
        lambda p: cf.Normal(p.a, 1 + p.a, low=0),
        lambda p: cf.Uniform(0, p.a) if p.a > 1 else cf.LogUniform(0.1, 1),  # one at a time
        lambda p: cf.Uniform(0, np.max(p.a)),  # which mixes the points of a call
        lambda p: stats.norm(p.a, 1),
    ],
)
def test_a_conditional_prior_of_many_points_is_that_of_each(prior):
    model = cf.Model(nothing, {"a": cf.Uniform(0.5, 2), "b": cf.Conditional(prior)})
    u = cube(model)
    theta = model.transform(u)
    assert np.array_equal(theta, [model.transform(each) for each in u])
    assert np.array_equal(model.log_prior(theta), [model.log_prior(each) for each in theta])


def test_a_conditional_prior_cannot_look_ahead():
    model = cf.Model(
        nothing, {"a": cf.Conditional(lambda p: cf.Uniform(0, p.b)), "b": cf.Uniform(0, 1)}
    )
    with pytest.raises(AttributeError, match="no parameter 'b'"):
        model.transform(np.array([0.5, 0.5]))


def test_the_log_prior_is_the_sum_of_the_densities_and_minus_infinity_outside(model):
    theta = model.transform(cube(model))
    assert np.all(np.isfinite(model.log_prior(theta)))
    theta[3, 0] = 301
    theta[7, 4] = -1
    assert np.flatnonzero(np.isneginf(model.log_prior(theta))).tolist() == [3, 7]
    assert model.log_prior(theta[0]).shape == ()


def test_settings_make_a_copy_and_never_leak(model):
    before = repr(model)
    other = model.with_settings(
        fixed={"fast": 220.0}, priors={"z": cf.Normal(0.5, 0.1, low=0), "d": stats.norm(3)}
    )
    assert repr(model) == before
    assert other.names == ("z", "n", "slow", "d", "k", "angle", "tilt")
    assert other.fixed == {"fast": 220.0}
    assert other.units["fast"] == "km/s"
    assert other.priors["d"] == cf.Distribution(stats.norm(3))
    assert np.all(other.transform(cube(other))[:, 2] <= 220)


def test_the_priors_of_a_model_cannot_be_changed_under_it(model):
    with pytest.raises(TypeError):
        model.priors["d"] = cf.Uniform(0, 1)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fixed": {"speed": 1}}, "no parameter 'speed'; it has fast"),
        ({"fixed": {"z": 1}, "priors": {"z": cf.Uniform(0, 1)}}, "is fixed and has a prior"),
        ({"fixed": {"z": cf.Uniform(0, 1)}}, "give a number"),
        ({"fixed": {"z": math.nan}}, "one finite number"),
        ({"fixed": {"z": "0.1"}}, "prior of 'z' is '0.1'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model, settings, says):
    with pytest.raises(DesignError, match=says):
        model.with_settings(**settings)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((None, {"a": cf.Uniform(0, 1)}), "log_likelihood must be a function"),
        ((nothing, [cf.Uniform(0, 1)]), "must be a mapping"),
        ((nothing, {"a": 1.0}), "nothing to fit"),
        ((nothing, {}), "nothing to fit"),
        ((nothing, {"a": "0 to 1"}), "prior of 'a' is '0 to 1'"),
        ((nothing, {"a": lambda p: cf.Uniform(0, 1)}), "Did you mean Conditional"),
        ((nothing, {"a": True, "b": cf.Uniform(0, 1)}), "prior of 'a' is True"),
        ((nothing, {"a": stats.norm}), "prior of 'a'"),
        ((nothing, {"keys": cf.Uniform(0, 1)}), "cannot be called 'keys'"),
        ((nothing, {"log_weight": cf.Uniform(0, 1)}), "cannot be called 'log_weight'"),
        ((nothing, {"": cf.Uniform(0, 1)}), "cannot be the name"),
        ((nothing, {"M/L": cf.Uniform(0, 1)}), "holds a '/'"),
    ],
)
def test_what_makes_no_model_is_refused(arguments, says):
    with pytest.raises(DesignError, match=says):
        cf.Model(*arguments)


def test_points_of_another_number_of_parameters_are_refused(model):
    with pytest.raises(DesignError, match=r"shape \(3,\) were given to a model of 7"):
        model.transform(np.zeros(3))


def test_a_pickled_model_transforms_alike(model):
    again = cloudpickle.loads(cloudpickle.dumps(model))
    assert np.array_equal(again.transform(cube(model)), model.transform(cube(model)))
    assert repr(again).replace("at 0x", "") == repr(model).replace("at 0x", "")


def test_importing_a_model_loads_neither_scipy_nor_a_sampler():
    code = "import sys, cropfit; cropfit.Model; cropfit.Uniform(0, 1).transform(0.5); " + (
        "print({'scipy', 'dynesty', 'xarray', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- the view of the parameters ------------------------------------------------------


@pytest.fixture
def view(model) -> Params:
    return model.params(np.arange(1.0, 8.0))


def test_parameters_are_read_by_attribute_and_by_name(view):
    assert view.fast == view["fast"] == 1.0
    assert view.z == 0.02
    assert list(view) == ["fast", "z", "n", "slow", "d", "k", "angle", "tilt"]
    assert dict(view) == {**view}
    assert len(view) == 8
    assert "n" in view
    assert "m" not in view
    assert view.units["fast"] == "km/s"


def test_numbers_follow_numpys_rules_where_python_would_raise(view):
    """So that one point and many points go the same way."""
    with np.errstate(divide="ignore", invalid="ignore"):
        assert view.fast / np.float64(0) == math.inf
        assert math.isnan((view.fast - 2) ** 0.5)


def test_parameters_cannot_be_changed(view):
    with pytest.raises(AttributeError, match="cannot be set"):
        view.fast = 3
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del view.fast
    with pytest.raises(TypeError):
        view["fast"] = 3
    assert view.fast == 1.0


def test_a_name_that_is_not_there_is_answered_with_those_that_are(view):
    with pytest.raises(AttributeError, match="no parameter 'speed'; there are fast, z"):
        _ = view.speed
    with pytest.raises(KeyError, match="no parameter 'speed'"):
        view["speed"]
    assert not hasattr(view, "speed")


def test_tab_completion_offers_the_parameters(view):
    assert {"fast", "z", "tilt", "units"} <= set(dir(view))


def test_parameters_print_with_their_units(view):
    assert repr(view).startswith("Params(fast=1 km/s, z=0.02, n=2, slow=3 km/s")


def test_pickled_parameters_are_the_same(view):
    again = pickle.loads(pickle.dumps(view))
    assert again == view
    assert again.units == view.units
    assert repr(again) == repr(view)


def test_names_that_are_no_identifiers_are_read_as_keys():
    model = cf.Model(nothing, {"log(M)": cf.Uniform(0, 1), "class": cf.Uniform(0, 1)})
    view = model.params(np.array([0.25, 0.5]))
    assert (view["log(M)"], view["class"]) == (0.25, 0.5)


def test_the_array_of_a_point_is_not_kept_alive_by_its_view(model):
    theta = np.arange(1.0, 8.0)
    view = model.params(theta)
    theta[:] = 0
    assert view.fast == 1.0
