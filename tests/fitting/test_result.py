"""What a fit says of its samples, and that a file gives all of it back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from cropfit.errors import DamagedError, DesignError, ExistsError
from cropfit.fitting.result import Fit
from cropfit.fitting.summary import with_error
from cropfit.fitting.weights import effective_size, normalised, quantiles, resample


@pytest.fixture
def fit() -> Fit:
    """500 samples around (10, 200), with uneven weights."""
    rng = np.random.default_rng(2)
    samples = rng.normal([10, 200], [1, 30], (500, 2))
    weights = rng.random(500)
    chi2 = ((samples - [10, 200]) / [1, 30]) ** 2
    return Fit(
        names=("mass", "speed"),
        samples=samples,
        log_weights=np.log(weights / weights.sum()),
        log_likelihood=-0.5 * chi2.sum(axis=1),
        log_prior=-samples[:, 0],
        derived={"energy": samples[:, 0] * samples[:, 1] ** 2},
        fixed={"z": 0.02},
        units={"mass": "Msun", "speed": "km/s", "energy": "erg", "z": ""},
        labels={"speed": "v", "z": "z", "mass": "mass", "energy": "energy"},
        log_evidence=-12.5,
        log_evidence_error=0.1,
        calls=12345,
        seconds=1.25,
        converged=True,
        why="dlogz",
        sampler="dynesty",
        settings={"seed": 7, "n_live": 100, "dlogz": None, "bounds": ("multi", 0.5), "on": True},
        covariance=np.array([[1.0, 0.1], [0.1, 900.0]]),
    )


def test_a_saved_fit_is_loaded_exactly(fit, tmp_path):
    path = tmp_path / "fit.nc"
    fit.save(path)
    again = Fit.load(path)

    assert again.to_dataset().identical(fit.to_dataset())
    for name in ("samples", "log_weights", "weights", "log_likelihood", "log_prior", "covariance"):
        assert np.array_equal(getattr(again, name), getattr(fit, name)), name
    for name in ("names", "fixed", "units", "settings", "ess", "calls", "seconds", "converged"):
        assert getattr(again, name) == getattr(fit, name), name
    assert list(again.labels.items()) == list(fit.labels.items())
    assert np.array_equal(again["energy"], fit["energy"])
    assert str(again.summary()) == str(fit.summary())
    assert again.to_dict() == fit.to_dict()
    assert again.best_fit == fit.best_fit
    assert [each.name for each in tmp_path.iterdir()] == ["fit.nc"]


def test_a_file_is_not_replaced_unasked(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    with pytest.raises(ExistsError):
        fit.save(tmp_path / "fit.nc")
    fit.save(tmp_path / "fit.nc", overwrite=True)


def test_another_file_is_no_fit(tmp_path):
    xr.Dataset({"mass": 1.0}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(DamagedError, match=r"other\.nc: The Dataset holds no fit"):
        Fit.load(tmp_path / "other.nc")


def test_the_file_is_read_by_plain_xarray_with_units(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    with xr.open_dataset(tmp_path / "fit.nc") as ds:
        assert ds.mass.dims == ("sample",)
        assert ds.mass.attrs["units"] == "Msun"
        assert ds.speed.attrs["long_name"] == "v"
        assert float(ds.z) == 0.02
        assert {"log_weight", "log_likelihood", "log_prior", "energy"} <= set(ds.data_vars)


def test_percentiles_are_weighted(fit):
    levels = fit.percentiles()
    assert list(levels) == ["mass", "speed", "energy"]
    np.testing.assert_allclose(levels["mass"], [9, 10, 11], atol=0.15)
    np.testing.assert_allclose(fit.percentiles([50])["speed"], [200], atol=4)
    with pytest.raises(DesignError, match="between 0 and 100"):
        fit.percentiles([101])


def test_the_best_points_hold_fixed_and_derived_values(fit):
    best, peak = fit.best_fit, fit.max_posterior
    row = np.argmax(fit.log_likelihood)
    assert (best.mass, best.speed, best.z) == (*fit.samples[row], 0.02)
    assert best.energy == best.mass * best.speed**2
    assert peak.mass < best.mass  # the prior falls with mass
    assert list(best) == ["speed", "z", "mass", "energy"]


def test_the_posterior_is_equally_weighted_and_the_same_every_time(fit):
    draws = fit.posterior(4000)
    assert draws.sizes == {"sample": 4000}
    assert "log_weight" not in draws
    mean = np.average(fit["mass"], weights=fit.weights)
    assert float(draws.mass.mean()) == pytest.approx(mean, abs=0.02)
    assert fit.posterior(50).identical(fit.posterior(50))
    assert not fit.posterior(50).identical(fit.posterior(50, seed=1))
    assert fit.posterior().sizes["sample"] == int(fit.ess)
    with pytest.raises(DesignError, match="cannot be drawn"):
        fit.posterior(0)


def test_the_summary_prints_errors_with_two_digits_and_all_units(fit):
    text = str(fit.summary())
    lines = text.splitlines()
    assert lines[0].split() == ["parameter", "median", "-", "+", "best", "fit", "unit"]
    low, middle, high = fit.percentiles()["speed"]
    assert lines[3].split()[:4] == [
        "speed",
        f"{middle:.0f}",
        f"{middle - low:.0f}",
        f"{high - middle:.0f}",
    ]
    assert "km/s" in lines[3]
    assert "derived" in lines[4]
    assert lines[5].split() == ["z", "0.02", "fixed"]
    assert "log Z = -12.50 ± 0.10" in text
    assert "12345 calls" in text


def test_the_summary_of_a_fit_that_did_not_converge_says_so(fit):
    fit.converged, fit.why = False, "max_calls=100"
    assert "NOT CONVERGED: max_calls=100" in str(fit.summary())
    assert "not converged: max_calls=100" in repr(fit)


def test_a_notebook_gets_html_with_nothing_of_the_names_as_markup(fit):
    fit.units = {"mass": "<b>"}
    html = fit._repr_html_()
    assert html.count("<tr>") == 5
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


def test_the_dictionary_is_plain_json(fit):
    found = fit.to_dict()
    assert json.loads(json.dumps(found["parameters"]))["mass"]["unit"] == "Msun"
    assert found["parameters"]["energy"]["derived"] is True
    assert found["log_evidence"] == -12.5
    assert found["settings"]["seed"] == 7


def test_a_name_that_is_not_there_is_answered_with_those_that_are(fit):
    with pytest.raises(KeyError, match="no 'weight'; there are mass, speed, energy"):
        fit["weight"]


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((1.23456, 0.0123, 0.0234), ("1.235", "0.012", "0.023")),
        ((238.94, 2.7, 2.9), ("238.9", "2.7", "2.9")),
        ((1446.2, 66.1, 48.3), ("1446", "66", "48")),
        ((434567.0, 12345.0, 13456.0), ("435000", "12000", "13000")),
        ((5.5015e-4, 8.1e-6, 8.4e-6), ("0.0005502", "8.1e-06", "8.4e-06")),
        ((3.1415926e12, 2.2e10, 2.2e10), ("3.142e+12", "2.2e+10", "2.2e+10")),
        ((0.0, 0.5, 0.5), ("0.00", "0.50", "0.50")),
        ((1.5, 0.0, 0.0), ("1.5", "0", "0")),
        ((math.nan, math.nan, math.nan), ("nan", "nan", "nan")),
    ],
)
def test_a_number_has_as_many_digits_as_its_error_deserves(numbers, shown):
    assert with_error(*numbers) == shown


# -- weights -------------------------------------------------------------------------

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@given(values, st.floats(-1e5, 1e5))
def test_weights_sum_to_one_whatever_their_scale(logs, shift):
    weights = normalised(np.array(logs) + shift)
    assert weights.sum() == pytest.approx(1)
    assert 1 - 1e-9 <= effective_size(weights) <= len(logs) * (1 + 1e-9)


@given(values, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_equal_weights_give_hazens_quantiles(numbers, levels):
    found = quantiles(np.array(numbers), np.full(len(numbers), 0.3), levels)
    np.testing.assert_allclose(found, np.quantile(numbers, levels, method="hazen"), atol=1e-6)


@given(values)
def test_a_sample_without_weight_does_not_count(numbers):
    with_more = np.array([*numbers, 1e9])
    weights = np.array([*np.ones(len(numbers)), 0.0])
    assert np.array_equal(
        quantiles(with_more, weights, [0.1, 0.9]),
        quantiles(np.array(numbers), np.ones(len(numbers)), [0.1, 0.9]),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_a_sample_is_drawn_as_often_as_its_weight_says_but_for_rounding(seed, size):
    weights = normalised(np.random.default_rng(seed).normal(size=20))
    drawn = np.bincount(resample(weights, size, seed), minlength=20)
    assert drawn.sum() == size
    assert np.all(np.abs(drawn - size * weights) < 1 + 1e-9)
