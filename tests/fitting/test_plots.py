"""Pictures show what was fitted, and ask for what they lack."""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.figure import Figure

import cropfit as cf
from cropfit.errors import DesignError, MissingDependencyError

X = np.linspace(1, 9, 30)[::-1]  # not in order
NOISE = np.random.default_rng(8).normal(0, 0.5, 30)


def line(p, data):
    x = data[0] if isinstance(data, tuple) else data["x"]
    return p.slope * np.asarray(x) + p.height


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    mpl.use("Agg")


def fit_of(data, **options) -> cf.Fit:
    """A fit with known samples: no sampler is needed to draw."""
    priors = {"slope": cf.Uniform(0, 5, unit="mJy/s"), "height": cf.Uniform(-5, 5), "z": 1.0}
    rng = np.random.default_rng(4)
    samples = rng.normal([2, 1], [0.05, 0.2], (600, 2))
    model = cf.Model(lambda p, d: 0.0, priors, **{"predict": line, **options})
    return cf.Fit(
        names=model.names,
        samples=samples,
        log_weights=rng.normal(size=600),
        log_likelihood=-(((samples - [2, 1]) / [0.05, 0.2]) ** 2).sum(axis=1),
        log_prior=np.zeros(600),
        fixed=model.fixed,
        units=model.units,
        labels=model.labels,
        model=model,
        data=data,
    )


DATA = {"x": X, "y": 2 * X + 1 + NOISE, "yerr": 0.5}
KINDS = {
    "dict": DATA,
    "tuple": (X, DATA["y"], np.full(30, 0.5)),
    "pair": (X, DATA["y"]),
    "frame": pd.DataFrame(DATA),
    "dataset": xr.Dataset(
        {
            "y": ("x", DATA["y"], {"units": "mJy", "long_name": "flux"}),
            "yerr": ("x", np.full(30, 0.5)),
        },
        {"x": ("x", X, {"units": "s"})},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_any_kind_are_drawn_with_curve_band_and_residuals(kind, tmp_path):
    figure = fit_of(KINDS[kind]).plot_fit()
    upper, lower = figure.axes
    best = next(each for each in upper.lines if each.get_label() == "best fit")
    best_x, best_y = best.get_data()
    assert np.all(np.diff(best_x) > 0)
    np.testing.assert_allclose(best_y, 2 * best_x + 1, atol=0.3)
    assert [text.get_text() for text in upper.get_legend().get_texts()] == [
        "95 % of the posterior",
        "68 % of the posterior",
        "best fit",
        "data",
    ]
    points = lower.containers[0].lines[0].get_ydata()
    sd = 1.0 if kind == "pair" else 0.5
    np.testing.assert_allclose(points, NOISE[::-1] / sd, atol=0.7)
    figure.savefig(tmp_path / "fit.png")
    assert (tmp_path / "fit.png").stat().st_size > 5000


def test_axes_are_labelled_with_the_units_of_a_dataset():
    upper, lower = fit_of(KINDS["dataset"]).plot_fit().axes
    assert (upper.get_ylabel(), lower.get_xlabel()) == ("flux [mJy]", "x [s]")


def test_a_prediction_that_wants_all_of_the_data_is_drawn_at_the_data():
    def predict(p, data):
        return line(p, data) + 0 * data["y"]

    best = next(
        each
        for each in fit_of(DATA, predict=predict).plot_fit().axes[0].lines
        if each.get_label() == "best fit"
    )
    assert np.array_equal(best.get_xdata(), np.sort(X))


def test_several_predictors_are_drawn_by_number():
    data = {"x": np.stack([X, X**2]), "y": DATA["y"]}
    figure = fit_of(data, predict=lambda p, d: p.slope * d["x"][0] + p.height).plot_fit()
    assert figure.axes[1].get_xlabel() == "number of the observation"


def test_other_columns_and_other_kinds_of_data_are_named():
    renamed = {"t": X, "flux": DATA["y"]}
    fit = fit_of(renamed, predict=lambda p, d: p.slope * d["t"] + p.height)
    assert fit.plot_fit(x="t", y="flux").axes[1].get_xlabel() == "t"
    with pytest.raises(DesignError, match="have no 'x'; they have t, flux"):
        fit.plot_fit()
    own = fit_of(object(), predict=lambda p, d: p.slope * X + p.height)
    with pytest.raises(DesignError, match="observed="):
        own.plot_fit()
    assert own.plot_fit(observed=(X, DATA["y"])).axes


def test_a_model_without_predict_is_told_what_it_lacks():
    with pytest.raises(DesignError, match="predict=function"):
        fit_of(DATA, predict=None).plot_fit()


def test_a_loaded_fit_is_drawn_with_its_model_and_data(tmp_path):
    fit = fit_of(DATA)
    fit.save(tmp_path / "fit.nc")
    again = cf.Fit.load(tmp_path / "fit.nc")
    with pytest.raises(DesignError, match="model="):
        again.plot_fit(DATA)
    assert isinstance(again.plot_fit(DATA, model=fit.model), Figure)


def test_a_prediction_of_another_shape_is_refused():
    with pytest.raises(DesignError, match=r"predict gave shape \(3,\) where \(30,\)"):
        fit_of(DATA, predict=lambda p, d: np.zeros(3)).plot_fit()


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_a_corner_has_a_titled_panel_a_parameter_in_any_style(style, tmp_path):
    with pyplot.style.context(style):
        figure = fit_of(DATA).plot_corner()
        figure.savefig(tmp_path / "corner.png")
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title().startswith("slope = $1.998_{-0.0")
    assert figure.axes[2].get_xlabel() == "slope [mJy/s]"
    ink = mpl.colors.to_rgb(figure.axes[2].spines["left"].get_edgecolor())
    paper = mpl.colors.to_rgb(figure.get_facecolor())
    assert sum(abs(a - b) for a, b in zip(ink, paper, strict=True)) > 1


def test_a_corner_has_its_own_layout_whatever_matplotlib_is_set_to(recwarn):
    with pyplot.rc_context({"figure.constrained_layout.use": True}):
        fit_of(DATA).plot_corner()
    assert [str(each.message) for each in recwarn] == []


def test_too_few_samples_for_a_corner_are_refused():
    fit = fit_of(DATA)
    with pytest.raises(DesignError, match="600 samples of 0 parameters"):
        fit.plot_corner([])


def test_a_trace_has_a_panel_a_parameter(tmp_path):
    figure = fit_of(DATA).plot_trace()
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "log L",
        "slope [mJy/s]",
        "height",
        "weight / largest",
    ]
    assert len(fit_of(DATA).plot_trace(["height"]).axes) == 3
    figure.savefig(tmp_path / "trace.png")


def test_no_figure_is_kept_by_pyplot():
    before = pyplot.get_fignums()
    fit = fit_of(DATA)
    for draw in (fit.plot_corner, fit.plot_fit, fit.plot_trace):
        draw()
    assert pyplot.get_fignums() == before


def test_without_corner_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "corner", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cropfit\[plot\]'"):
        fit_of(DATA).plot_corner()
