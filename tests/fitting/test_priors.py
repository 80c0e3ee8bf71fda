"""Priors are what they say, far out in their tails too, and nonsense is refused."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

import cropfit as cf
from cropfit.errors import DesignError

numbers = st.floats(-1e3, 1e3, allow_nan=False)
widths = st.floats(1e-2, 1e6)
units = st.lists(st.floats(0, 1), min_size=2, max_size=20)

uniforms = st.builds(lambda low, width: cf.Uniform(low, low + width), numbers, widths)
log_uniforms = st.builds(
    lambda low, factor: cf.LogUniform(low, low * factor), widths, st.floats(1.001, 1e9)
)


@st.composite
def normals(draw: st.DrawFn) -> cf.Normal:
    """Cut off anywhere within 30 standard deviations, on either side, or not at all."""
    mean, sd = draw(numbers), draw(widths)
    low, high = draw(st.floats(-30, 30)), draw(st.floats(0.01, 40))
    low_end = draw(st.sampled_from([-math.inf, mean + low * sd]))
    high_end = draw(st.sampled_from([math.inf, mean + (low + high) * sd]))
    return cf.Normal(mean, sd, low_end, high_end)


log_normals = st.builds(cf.LogNormal, st.floats(-5, 5), st.floats(0.1, 2))
simple = st.one_of(uniforms, log_uniforms, st.builds(cf.Normal, numbers, widths))
priors = st.one_of(uniforms, log_uniforms, normals(), log_normals)


@given(priors, units)
def test_a_transform_is_monotone_and_stays_inside_the_support(prior, points):
    u = np.sort(points)
    x = prior.transform(u)
    low, high = prior.support
    size = np.maximum(np.abs(x[1:]), np.abs(x[:-1]))
    assert np.all(np.isfinite(x))
    assert np.all((x >= low) & (x <= high))
    assert np.all(np.diff(x) >= -1e-9 * (size + 1e-300))


@given(priors, units)
def test_a_transform_of_many_is_that_of_each(prior, points):
    u = np.array(points)
    together = prior.transform(u)
    assert together.shape == u.shape
    assert np.array_equal(together, [prior.transform(each) for each in u])
    assert np.array_equal(prior.transform(u[:, None]), together[:, None])


@given(st.lists(simple, min_size=1, max_size=7), st.integers(0, 2**32 - 1))
def test_a_model_of_simple_priors_transforms_as_each_of_them_to_the_bit(mix, seed):
    model = cf.Model(lambda p, _: 0.0, {f"p{i}": prior for i, prior in enumerate(mix)})
    u = np.random.default_rng(seed).random((33, len(mix)))
    alone = np.column_stack([prior.transform(u[:, i]) for i, prior in enumerate(mix)])
    assert np.array_equal(model.transform(u), alone)
    assert np.array_equal([model.transform(point) for point in u], alone)


@given(priors)
def test_a_density_is_the_slope_of_the_transform(prior):
    """du/dx by differences in the bulk, which also says that it integrates to one."""
    u = np.linspace(0.05, 0.95, 19)
    step = 1e-4
    slope = 2 * step / (prior.transform(u + step) - prior.transform(u - step))
    np.testing.assert_allclose(np.exp(prior.log_density(prior.transform(u))), slope, rtol=5e-3)


@given(priors)
def test_a_density_is_zero_outside_of_the_support(prior):
    low, high = prior.support
    outside = np.array([np.nextafter(low, -math.inf), np.nextafter(high, math.inf)])
    outside = outside[np.isfinite(outside)]
    assert np.all(np.isneginf(prior.log_density(outside)))


@pytest.mark.parametrize(
    ("prior", "same"),
    [
        (cf.Uniform(-2, 5), stats.uniform(-2, 7)),
        (cf.LogUniform(1e-3, 1e3), stats.loguniform(1e-3, 1e3)),
        (cf.Normal(10, 2), stats.norm(10, 2)),
        (cf.Normal(10, 2, low=9, high=14), stats.truncnorm(-0.5, 2, 10, 2)),
        (cf.Normal(0, 1, low=30), stats.truncnorm(30, math.inf)),
        (cf.Normal(0, 1, high=-12), stats.truncnorm(-math.inf, -12)),
        (cf.LogNormal(0.5, 0.3), stats.lognorm(0.3, scale=math.exp(0.5))),
        (cf.Distribution(stats.gamma(2, scale=3)), stats.gamma(2, scale=3)),
    ],
)
def test_a_prior_agrees_with_scipy(prior, same):
    u = np.array([1e-12, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-6])
    x = prior.transform(u)
    np.testing.assert_allclose(x, same.ppf(u), rtol=1e-10)
    np.testing.assert_allclose(prior.log_density(x), same.logpdf(x), rtol=1e-9)


@pytest.mark.parametrize(
    "prior",
    [
        cf.LogNormal(0, 1, low=0.5, high=4),
        cf.LogNormal(0, 1, low=3),
        cf.Normal(0, 1, low=8, high=9),
        cf.Normal(3, 2, low=-1, high=2),
    ],
)
def test_a_truncated_density_integrates_to_one(prior):
    low, high = prior.support
    total, _ = integrate.quad(lambda x: math.exp(prior.log_density(x)), low, min(high, 200))
    assert total == pytest.approx(1, rel=1e-6)


def test_the_far_tail_of_a_normal_keeps_its_shape():
    """Beyond 37 standard deviations the CDF itself underflows; its logarithm does not."""
    x = cf.Normal(0, 1, low=50).transform(np.array([0.0, 0.5, 0.9]))
    # far out the excess over the cut is exponential with rate 50
    np.testing.assert_allclose(x - 50, [0, math.log(2) / 50, math.log(10) / 50], atol=1e-4)
    mirrored = cf.Normal(0, 1, high=-50).transform(np.array([1.0, 0.5, 0.1]))
    np.testing.assert_allclose(mirrored, -x, rtol=1e-14)


def test_the_ends_of_the_unit_interval_are_finite_everywhere():
    open_ended = [cf.Normal(0, 1), cf.LogNormal(0, 1), cf.Distribution(stats.cauchy())]
    for prior in open_ended:
        assert np.all(np.isfinite(prior.transform(np.array([0.0, 1.0]))))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: cf.Uniform(1, 1), "low must be below high"),
        (lambda: cf.Uniform(2, 1), "low must be below high"),
        (lambda: cf.Uniform(0, math.nan), "high is NaN"),
        (lambda: cf.Uniform(0, math.inf), "must be finite"),
        (lambda: cf.Uniform(-1e308, 1e308), "must be finite"),
        (lambda: cf.Uniform("0", 1), "low must be a number"),
        (lambda: cf.Uniform(None, 1), "low must be a number"),
        (lambda: cf.LogUniform(0, 1), "low must be above 0"),
        (lambda: cf.LogUniform(-1, 1), "low must be above 0"),
        (lambda: cf.Normal(0, 0), "sd finite and above 0"),
        (lambda: cf.Normal(math.inf, 1), "mean must be finite"),
        (lambda: cf.Normal(0, 1, low=2, high=1), "low must be below high"),
        (lambda: cf.LogNormal(0, 1, low=-1), "low must not be below 0"),
        (lambda: cf.Uniform(0, 1, boundary="open"), "boundary must be"),
        (lambda: cf.Normal(0, 1, boundary="periodic"), "needs two finite ends"),
        (lambda: cf.Uniform(0, 1, unit=3), "unit must be text"),
        (lambda: cf.Fixed(math.nan), "one finite number"),
        (lambda: cf.Distribution(stats.norm), "no frozen distribution"),
        (lambda: cf.Distribution(stats.norm(0, -1)), "make no distribution"),
        (lambda: cf.Conditional(3), "must be a function"),
    ],
)
def test_what_makes_no_prior_is_refused_with_the_reason(make, says):
    with pytest.raises(DesignError, match=says):
        make()


@pytest.mark.parametrize(
    ("prior", "shown"),
    [
        (cf.Uniform(0, 300, unit="km/s"), "Uniform(0, 300, unit='km/s')"),
        (cf.Uniform(np.float64(0.5), 3), "Uniform(0.5, 3)"),
        (cf.Fixed(0.02), "Fixed(0.02)"),
        (cf.Distribution(stats.gamma(2, scale=3)), "Distribution(gamma(2, scale=3))"),
    ],
)
def test_a_prior_reads_as_it_was_written(prior, shown):
    assert repr(prior) == shown


@pytest.mark.parametrize(
    "prior", [cf.Uniform(0, 1, label="x"), cf.Normal(0, 1, 0), cf.Distribution(stats.norm(3))]
)
def test_a_pickled_prior_equals_itself_and_no_other(prior):
    again = pickle.loads(pickle.dumps(prior))
    assert again == prior
    assert hash(again) == hash(prior)
    assert again != cf.Uniform(0, 2)


def test_a_prior_cannot_be_changed():
    with pytest.raises(AttributeError):
        cf.Uniform(0, 1).low = 3  # type: ignore[misc]
