"""Coverage: right posteriors stay in the band, wrong ones are seen to be wrong."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.typing import NDArray

import cropfit as cf
from cropfit.plotting.coverage import central_levels

SIZE = 300


@pytest.fixture(autouse=True)
def headless() -> None:
    mpl.use("Agg")


def catalogue(width: float = 1.0) -> tuple[xr.Dataset, dict[int, dict[str, float]]]:
    """Posteriors of a normal with known noise, and the truths; `width` of 1 is right."""
    rng = np.random.default_rng(11)
    truth = rng.normal(0, 5, SIZE)
    seen = truth + rng.normal(0, 1, SIZE)
    draws = seen[:, None] + width * rng.normal(0, 1, (SIZE, 400))
    ds = xr.Dataset({"z_sample": (("object", "sample"), draws)}, {"object": range(SIZE)})
    return ds, {key: {"z": float(value)} for key, value in enumerate(truth)}


def fraction_within(levels: NDArray[np.float64], p: float) -> float:
    return float(np.mean(levels <= p))


@pytest.mark.parametrize(
    ("width", "low", "high"), [(1.0, 0.6, 0.76), (0.5, 0.3, 0.48), (2.0, 0.9, 1.0)]
)
def test_the_fraction_within_68_percent_tells_whether_errors_are_right(
    width: float, low: float, high: float
) -> None:
    levels = central_levels(*catalogue(width))["z"]

    assert len(levels) == SIZE
    assert low <= fraction_within(levels, 0.68) <= high


def test_the_line_is_the_fraction_at_each_probability_and_right_ones_stay_in_the_band() -> None:
    ds, truths = catalogue()
    (axes,) = cf.plot_coverage(ds, truths).axes

    line = next(each for each in axes.lines if each.get_label() == f"z ({SIZE})")
    x, y = line.get_xdata(), line.get_ydata()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    levels = central_levels(ds, truths)["z"]
    for place in (10, 100, 290):
        assert y[place] == pytest.approx(fraction_within(levels, x[place]))
    band = axes.collections[0].get_paths()[0].vertices  # of 95 %
    at_half = band[np.isclose(band[:, 0], 0.5), 1]
    assert at_half.min() == pytest.approx(0.443, abs=0.01)  # 300 throws of a coin
    assert at_half.max() == pytest.approx(0.557, abs=0.01)
    assert at_half.min() <= fraction_within(levels, 0.5) <= at_half.max()
    assert axes.get_ylabel() == "fraction of truths within it"


def fit_of(samples: Any, weights: Any) -> cf.Fit:
    values = np.asarray(samples, float)[:, None]
    zeros = np.zeros(len(values))
    return cf.Fit(
        names=("z",),
        samples=values,
        log_weights=np.log(weights),
        log_likelihood=zeros,
        log_prior=zeros,
    )


def test_weights_count() -> None:
    fit = fit_of([1, 2, 3, 4], [0.7, 0.1, 0.1, 0.1])

    assert central_levels(fit, {"z": 1.5})["z"] == pytest.approx([0.4])
    assert central_levels(fit, {"z": 9})["z"] == pytest.approx([1.0])


def test_fits_and_truths_come_by_id_or_in_order() -> None:
    one, two = fit_of([0, 1, 2, 3], np.ones(4)), fit_of([5, 6, 7, 8], np.ones(4))
    wanted = pytest.approx([0.5, 0.5])

    assert central_levels([one, two], [{"z": 2.5}, {"z": 5.5}])["z"] == wanted
    by_id = {"b": {"z": 5.5}, "a": {"z": 2.5}, "c": {"z": 0}}
    assert central_levels({"a": one, "b": two}, by_id)["z"] == wanted
    frame = pd.DataFrame({"z": [5.5, 2.5], "name": ["x", "y"]}, index=["b", "a"])
    assert central_levels({"a": one, "b": two}, frame)["z"] == wanted
    assert len(central_levels({"a": one, "b": two}, {"a": {"z": 1}})["z"]) == 1


def test_what_cannot_be_compared_is_told() -> None:
    fit = fit_of([0, 1], np.ones(2))
    with pytest.raises(cf.DesignError, match=r"No truth belongs to any of 1 .*\['z'\] of 0"):
        cf.plot_coverage([fit], [{"mass": 1.0}])
    with pytest.raises(cf.DesignError, match="2 truths are given for 1 posteriors"):
        cf.plot_coverage([fit], [{"z": 1.0}, {"z": 2.0}])
    with pytest.raises(cf.DesignError, match="n_posterior=500"):
        cf.plot_coverage(xr.Dataset({"z": ("object", [1.0])}, {"object": [1]}), {1: {"z": 1.0}})
    with pytest.raises(cf.DesignError, match="not list"):
        cf.plot_coverage([1, 2], [{"z": 1.0}] * 2)
