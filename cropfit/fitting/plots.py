"""Pictures of a fit, in whatever style matplotlib is set to, light or dark.

Figures belong to the caller alone: none is kept by ``pyplot``, so a worker may draw a
million of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError, MissingDependencyError
from cropfit.plotting.figures import figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cropfit.fitting.model import Model
    from cropfit.fitting.result import Fit

__all__ = ["plot_corner", "plot_fit", "plot_trace"]

DENSE = 400  # points of a smooth curve
BANDS = ((2.5, 97.5, 0.2), (16.0, 84.0, 0.35))  # percentiles, opacity


def plot_corner(fit: Fit, names: Sequence[str] | None = None, **options: Any) -> Figure:
    """Draw the posterior of every parameter and of every pair.

    Parameters
    ----------
    fit : Fit
    names : sequence of str, optional
        Parameters and derived quantities; by default all that vary.
    **options
        As of ``corner.corner``.

    Raises
    ------
    MissingDependencyError
        The package corner is not installed.
    """
    figure_type = figure_class()
    try:
        import corner
    except ImportError as error:
        raise MissingDependencyError(
            "plot_corner needs the package corner: pip install 'cropfit[plot]'."
        ) from error
    from matplotlib import rc_context, rcParams

    chosen = _varying(fit) if names is None else list(names)
    if not chosen or len(fit) <= len(chosen):
        raise DesignError(
            f"{len(fit)} samples of {len(chosen)} parameters that vary make no corner plot."
        )
    columns = np.column_stack([fit[name] for name in chosen])
    with rc_context({"figure.constrained_layout.use": False, "figure.autolayout": False}):
        figure = figure_type(figsize=(1.2 + 2.0 * len(chosen),) * 2)  # corner arranges the panels
    given = {
        "labels": [_label(fit, name) for name in chosen],
        "weights": fit.weights,
        "quantiles": [0.16, 0.5, 0.84],
        "show_titles": True,
        "title_fmt": None,
        "titles": [_title(fit, name) for name in chosen],
        "color": rcParams["axes.prop_cycle"].by_key()["color"][0],
        "hist_kwargs": {"linewidth": 1.5},
        "range": [_range(fit, name) for name in chosen],
        "smooth": 1.0,
        "plot_datapoints": False,
        "fill_contours": True,
        "levels": (0.393, 0.865),
        "fig": figure,
    }
    corner.corner(columns, **{**given, **options})
    return figure


def plot_fit(
    fit: Fit,
    data: Any = None,
    *,
    model: Model | None = None,
    x: str = "x",
    y: str = "y",
    yerr: str = "yerr",
    observed: Any = None,
    n_curves: int = 200,
) -> Figure:
    """Draw the data, the best fit, the band in which the model lies, and the residuals.

    Parameters
    ----------
    fit : Fit
    data, model : optional
        What was fitted, for a fit that was loaded from a file.
    x, y, yerr : str
        Names of the columns in data that are a mapping, a DataFrame or a Dataset.
    observed : tuple, optional
        ``(x, y)`` or ``(x, y, yerr)`` where the data are of another kind.
    n_curves : int
        Draws of the posterior from which the bands of 68 and 95 % are made.

    Raises
    ------
    DesignError
        The model has no ``predict``, or no observed values can be found.
    """
    figure_type = figure_class()
    model = fit.model if model is None else model
    data = fit.data if data is None else data
    if model is None or model.predict is None:
        raise DesignError(
            "plot_fit needs Model(..., predict=function of (params, data)); give the model of a "
            "fit that was loaded as plot_fit(data, model=...)."
        )
    seen = _observed(data if observed is None else observed, (x, y, yerr))
    curves = _curves(fit, model, data, seen, x, n_curves)
    figure = figure_type(figsize=(7, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _draw_curves(upper, lower, seen, curves)
    _draw_data(upper, lower, seen, curves.at_data)
    upper.legend(frameon=False)
    upper.set_ylabel(seen.labels[1])
    lower.set_xlabel(seen.labels[0])
    lower.set_ylabel("residual" + (" / σ" if seen.yerr is not None else ""))
    return figure


def plot_trace(fit: Fit, names: Sequence[str] | None = None) -> Figure:
    """Draw likelihood and parameters in the order in which they were sampled, by weight.

    Parameters
    ----------
    fit : Fit
    names : sequence of str, optional
        Parameters and derived quantities; by default all that vary.
    """
    figure_type = figure_class()
    chosen = _varying(fit) if names is None else list(names)
    rows = len(chosen) + 1
    figure = figure_type(figsize=(7, 1.2 + 1.3 * rows), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    finite = np.isfinite(fit.log_likelihood)
    steps = np.arange(len(fit))
    axes[0].plot(steps[finite], fit.log_likelihood[finite], linewidth=1)
    axes[0].set_ylabel("log L")
    bulk = fit.log_likelihood[finite & (fit.weights > 0)]
    if len(bulk):
        axes[0].set_ylim(*_widened(np.percentile(bulk, 5), bulk.max(), 0.1))
    share = fit.weights / max(fit.weights.max(), np.finfo(float).tiny)
    order = np.argsort(share)
    for axis, name in zip(axes[1:], chosen, strict=True):
        drawn = axis.scatter(
            steps[order], fit[name][order], c=share[order], s=3, cmap="viridis", rasterized=True
        )
        axis.axhline(fit.best_fit[name], linestyle="--", linewidth=1, color="C1")
        axis.set_ylabel(_label(fit, name))
    axes[-1].set_xlabel("sample")
    if len(chosen):
        figure.colorbar(drawn, ax=list(axes[1:]), label="weight / largest", pad=0.01)
    figure.align_ylabels(axes)
    return figure


# -- what is drawn -------------------------------------------------------------------


@dataclass(frozen=True)
class _Observed:
    """One-dimensional data in the order of x."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    yerr: NDArray[np.float64] | None
    labels: tuple[str, str] = ("x", "y")
    order: Any = None
    smooth: bool = True


@dataclass(frozen=True)
class _Curves:
    """The best fit, and draws of the posterior, where the curve is drawn and at the data."""

    x: NDArray[np.float64]
    best: NDArray[np.float64]
    draws: NDArray[np.float64]
    at_data: NDArray[np.float64]


def _observed(data: Any, names: tuple[str, str, str]) -> _Observed:
    labels = names[:2]
    if isinstance(data, Mapping) or hasattr(data, "columns") or hasattr(data, "data_vars"):
        missing = [name for name in names[:2] if name not in data]
        if missing:
            raise DesignError(
                f"The data have no {missing[0]!r}; they have {', '.join(map(str, data))}. Name the "
                "columns: plot_fit(x=..., y=..., yerr=...), or give observed=(x, y, yerr)."
            )
        values = [data[name] for name in names if name in data]
        labels = (_axis_label(data, names[0]), _axis_label(data, names[1]))
    elif isinstance(data, tuple | list) and len(data) in (2, 3):
        values, labels = list(data), ("x", "y")
    else:
        raise DesignError(
            f"No observed values are known of data of type {type(data).__name__}: give "
            "plot_fit(observed=(x, y, yerr))."
        )
    arrays = [np.asarray(value, np.float64) for value in values]
    y = arrays[1].ravel()
    flat = arrays[0].shape == y.shape
    x = arrays[0] if flat else np.arange(y.size, dtype=float)  # several predictors: by number
    yerr = np.broadcast_to(arrays[2], y.shape) if len(arrays) > 2 else None
    order = np.argsort(x, kind="stable")
    seen = _Observed(x[order], y[order], yerr, (labels[0], labels[1]), order, flat)
    if not flat:
        seen = replace(seen, labels=("number of the observation", labels[1]))
    return seen if yerr is None else replace(seen, yerr=yerr[order])


def _curves(fit: Fit, model: Model, data: Any, seen: _Observed, x: str, n_curves: int) -> _Curves:
    """Predictions along a dense x where the data allow it, else at the data's own."""
    best = _given(model, fit, int(np.argmax(fit.log_likelihood)))
    at_data = _predict(model, best, data, seen.y.shape)[seen.order]
    dense = np.linspace(seen.x[0], seen.x[-1], DENSE)
    fine = _with_x(data, x, dense) if seen.smooth else None
    line = None
    if fine is not None:
        try:
            line = _predict(model, best, fine, dense.shape)
        except Exception:
            fine = None  # predict wants more of the data than their x
    order = slice(None) if fine is not None else seen.order
    where = dense if fine is not None else seen.x
    drawn = [
        _predict(model, _given(model, fit, row), data if fine is None else fine, where.shape)[order]
        for row in fit.draws(n_curves)
    ]
    return _Curves(where, at_data if line is None else line, np.array(drawn), at_data)


def _given(model: Model, fit: Fit, row: int) -> Any:
    theta = fit.samples[row]
    return theta if model.as_array else model.params(theta)


def _predict(model: Model, params: Any, data: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    predict = model.predict
    found = np.asarray(predict(params, data) if predict else None, np.float64)
    if found.shape != shape:
        raise DesignError(f"predict gave shape {found.shape} where {shape} was due.")
    return found


def _with_x(data: Any, name: str, x: NDArray[np.float64]) -> Any:
    """The data with another x alone; None if they are of a kind where that is not known."""
    if isinstance(data, Mapping) and name in data:
        return {**{key: each for key, each in data.items() if np.ndim(each) == 0}, name: x}
    if isinstance(data, tuple):
        return (x, *(np.full_like(x, np.nan) for _ in data[1:]))
    return None


def _draw_curves(upper: Axes, lower: Axes, seen: _Observed, curves: _Curves) -> None:
    middle = np.interp(curves.x, seen.x, np.ones(len(seen.x)))
    scale = middle if seen.yerr is None else np.interp(curves.x, seen.x, seen.yerr)
    for low, high, opacity in BANDS:
        edges = np.percentile(curves.draws, (low, high), axis=0)
        label = f"{high - low:.0f} % of the posterior"
        upper.fill_between(curves.x, *edges, color="C1", alpha=opacity, lw=0, label=label)
        lower.fill_between(
            curves.x, *((edges - curves.best) / scale), color="C1", alpha=opacity, lw=0
        )
    upper.plot(curves.x, curves.best, color="C1", linewidth=1.5, zorder=4, label="best fit")
    lower.axhline(0, color="C1", linewidth=1.5, zorder=4)


def _draw_data(upper: Axes, lower: Axes, seen: _Observed, best: NDArray[np.float64]) -> None:
    crowded = len(seen.x) > 80
    style: dict[str, Any] = {"fmt": "o", "color": "C0", "elinewidth": 0.5 if crowded else 1}
    style["markersize"] = 2 if crowded else 3.5
    upper.errorbar(seen.x, seen.y, seen.yerr, label="data", zorder=3, **style)
    left = seen.y - best
    if seen.yerr is None:
        lower.errorbar(seen.x, left, None, **style)
    else:
        lower.errorbar(seen.x, left / seen.yerr, np.ones_like(left), **style)


def _axis_label(data: Any, name: str) -> str:
    attrs = getattr(data[name], "attrs", {})
    label, unit = attrs.get("long_name", name), attrs.get("units")
    return f"{label} [{unit}]" if unit else str(label)


def _label(fit: Fit, name: str) -> str:
    unit = fit.units.get(name)
    return fit.labels.get(name, name) + (f" [{unit}]" if unit and unit != "1" else "")


def _varying(fit: Fit) -> list[str]:
    names = [*fit.names, *fit.derived]
    return [n for n in names if np.isfinite(fit[n]).all() and np.ptp(fit[n]) > 0]


def _widened(low: float, high: float, by: float) -> tuple[float, float]:
    margin = by * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _range(fit: Fit, name: str) -> tuple[float, float]:
    """Where nearly all of the weight is, so that early samples do not squeeze the picture."""
    from cropfit.fitting.weights import quantiles

    low, high = quantiles(fit[name], fit.weights, [0.001, 0.999])
    return _widened(low, high, 0.12)


def _title(fit: Fit, name: str) -> str:
    from cropfit.fitting.summary import with_error

    low, middle, high = fit.percentiles()[name]
    value, minus, plus = with_error(middle, middle - low, high - middle)
    return f"{fit.labels.get(name, name)} = ${value}_{{-{minus}}}^{{+{plus}}}$"
