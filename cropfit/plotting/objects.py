"""A catalogue at a glance: any column over the objects, or against any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError
from cropfit.plotting.colours import colours_of
from cropfit.plotting.figures import figure_class, label_of, new_figure, told
from cropfit.plotting.marks import RED

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["is_catalogue", "plot_objects", "to_table"]

OBJECT, QUANTILE = "object", "quantile"
ENDINGS = {0.16: "_16", 0.5: "_50", 0.84: "_84"}
EVIDENCE, LIKELIHOOD = "log_evidence", "max_log_likelihood"
MOST_ROWS = 8  # columns in the overview
MOST_NAMES = 40  # objects that are named along the axis
LONG_NAMES = {
    EVIDENCE: "log evidence",
    LIKELIHOOD: "largest log likelihood",
    "ess": "effective samples",
    "calls": "calls of the likelihood",
}
NOT_TOLD = ("status", "error", "notes")


def is_catalogue(ds: xr.Dataset) -> bool:
    """Whether a Dataset is what a catalogue's reap gives."""
    return {OBJECT, QUANTILE} <= set(ds.dims)


def to_table(ds: xr.Dataset) -> pd.DataFrame:
    """The columns of `Catalogue.merge` from the Dataset that a reap gives."""
    import pandas as pd

    columns: dict[str, Any] = {}
    units: dict[str, str] = {}
    for name, each in ds.data_vars.items():
        made = {}
        if each.dims == (OBJECT,):
            made[str(name)] = each.values
        elif each.dims == (OBJECT, QUANTILE):
            made = {f"{name}{end}": each.sel(quantile=q).values for q, end in ENDINGS.items()}
        columns |= made
        if "units" in each.attrs:
            units |= dict.fromkeys(made, str(each.attrs["units"]))
    frame = pd.DataFrame(columns, index=pd.Index(ds[OBJECT].values, name="id"))
    frame.attrs["units"] = units
    return frame


def plot_objects(
    table: pd.DataFrame,
    what: str | None = None,
    *,
    x: str | None = None,
    hue: str | None = None,
    options: Mapping[str, Any] = {},
) -> Figure:
    """Draw columns of a catalogue; see `Catalogue.plot`."""
    figure_class()
    columns = [_column(table, name) for name in _chosen(table, what, x)]
    if what is not None and x is None and columns[0].is_text:
        return _counts(columns[0])
    along = None if x is None else _column(table, x)
    colour = None if hue is None else _column(table, hue)
    height = 4.4 if len(columns) == 1 else 1.0 + 1.5 * len(columns)
    figure = new_figure(6.4 if along is not None else 7.2, height)
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for axes, column in zip(panels, columns, strict=True):
        _draw(axes, column, along, colour, options)
        if along is None:
            _mark_failed(axes, table)
    _label_below(panels[-1], table, along)
    if colour is not None:
        colours_of(np.unique(colour.known), colour.label).explain(figure, list(panels))
    figure.align_ylabels(panels)
    _tell_states(figure, table)
    return figure


# -- columns -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Column:
    """One quantity of all objects.

    Attributes
    ----------
    label : str
        With its unit.
    values : array
        Numbers or text.
    bars : (2, n) array or None
        How far the error bars go down and up.
    """

    label: str
    values: NDArray[Any]
    bars: NDArray[np.float64] | None

    @property
    def is_text(self) -> bool:
        """Whether these are words."""
        return self.values.dtype.kind not in "iuf"

    @property
    def known(self) -> NDArray[Any]:
        """What there is."""
        return self.values[self.is_known]

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether an object has it."""
        found = self.values != "" if self.is_text else np.isfinite(self.values)
        return np.asarray(found, np.bool_)

    def places(self) -> NDArray[np.float64]:
        """Where the objects stand along an axis; NaN for those that have none."""
        if not self.is_text:
            return self.values.astype(float)
        found = np.searchsorted(np.unique(self.known), self.values).astype(float)
        return np.where(self.is_known, found, np.nan)


def _chosen(table: pd.DataFrame, what: str | None, x: str | None) -> list[str]:
    """The column that was asked for; evidence and parameters where none was."""
    if what is not None:
        return [what]
    best = EVIDENCE if table[EVIDENCE].notna().any() else LIKELIHOOD
    if x is not None:
        return [best]
    return [best, *_parameters(table)][:MOST_ROWS]


def _parameters(table: pd.DataFrame) -> list[str]:
    return [str(name)[:-3] for name in table.columns if str(name).endswith("_50")]


def _column(table: pd.DataFrame, name: str) -> Column:
    units = table.attrs.get("units", {})
    if f"{name}_50" in table:
        low, middle, high = (_numbers(table, f"{name}{end}") for end in ENDINGS.values())
        unit = {"units": units.get(f"{name}_50")}
        return Column(label_of(name, unit), middle, np.stack([middle - low, high - middle]))
    if name not in table:
        others = [n for n in map(str, table.columns) if n not in NOT_TOLD and not _is_part(n)]
        names = ", ".join(map(repr, [*_parameters(table), *others, "status"]))
        raise DesignError(f"The catalogue has no column {name!r}; it has {names}.")
    label = label_of(LONG_NAMES.get(name, name), {"units": units.get(name)})
    if table[name].dropna().map(lambda each: isinstance(each, str)).any():
        return Column(label, table[name].fillna("").astype(str).to_numpy(str), None)
    error = _numbers(table, f"{name}_err") if f"{name}_err" in table else None
    bars = None if error is None else np.stack([error, error])
    return Column(label, _numbers(table, name), bars)


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].to_numpy(float, na_value=np.nan), np.float64)


def _is_part(name: str) -> bool:
    return name.endswith(("_16", "_50", "_84", "_best"))


# -- drawing -----------------------------------------------------------------------------


def _draw(
    axes: Axes,
    column: Column,
    along: Column | None,
    colour: Column | None,
    options: Mapping[str, Any],
) -> None:
    """Points with the bars of their percentiles."""
    y = column.places()
    x = np.arange(len(y), dtype=float) if along is None else along.places()
    crowded = len(y) > 80
    bars: dict[str, Any] = {"fmt": "none", "ecolor": "C0" if colour is None else "0.55"}
    bars["elinewidth"] = 0.5 if crowded else 1
    axes.errorbar(x, y, column.bars, None if along is None else along.bars, **bars)
    style: dict[str, Any] = {"s": 5 if crowded else 16, "zorder": 3, "color": "C0"}
    shown = np.isfinite(x) & np.isfinite(y)
    if colour is not None:
        shown &= colour.is_known
        style.pop("color")
        style |= colours_of(np.unique(colour.known), colour.label).paint(colour.values[shown])
    axes.scatter(x[shown], y[shown], **{**style, **options})
    axes.set_ylabel(column.label)
    if column.is_text:
        names = np.unique(column.known)
        axes.set_yticks(range(len(names)), names.tolist())


def _mark_failed(axes: Axes, table: pd.DataFrame) -> None:
    """Cross objects whose fit failed, at the foot of the panel."""
    failed = np.flatnonzero(table["status"].to_numpy(str) == "failed")
    if not len(failed):
        return
    axes.plot(
        failed,
        np.full(len(failed), 0.04),
        linestyle="none",
        marker="x",
        markersize=5,
        markeredgewidth=1.5,
        color=RED,
        clip_on=False,
        label="failed",
        transform=axes.get_xaxis_transform(),
    )


def _label_below(axes: Axes, table: pd.DataFrame, along: Column | None) -> None:
    if along is not None:
        axes.set_xlabel(along.label)
        if along.is_text:
            names = np.unique(along.known)
            axes.set_xticks(range(len(names)), names.tolist())
    elif len(table) <= MOST_NAMES:
        words = [told(key) for key in table.index]
        is_long = sum(map(len, words)) > 60
        turned: dict[str, Any] = {"rotation": 90} if is_long else {}
        axes.set_xticks(range(len(table)), words, **turned)
    else:
        axes.set_xlabel("number of the object")


def _tell_states(figure: Figure, table: pd.DataFrame) -> None:
    """How many objects are not done, and why."""
    from matplotlib.lines import Line2D

    counts = table["status"].value_counts()
    words = [f"{counts[state]} {state}" for state in counts.index if state != "done"]
    if words:
        cross = Line2D([], [], linestyle="none", marker="x", color=RED, markeredgewidth=1.5)
        blank = Line2D([], [], linestyle="none")
        handles = [cross if word.endswith(" failed") else blank for word in words]
        style: dict[str, Any] = {"ncols": len(words), "frameon": False, "fontsize": "small"}
        figure.legend(handles, words, loc="outside lower left", **style)


def _counts(column: Column) -> Figure:
    """How many objects there are of each word."""
    names, counts = np.unique(column.known, return_counts=True)
    figure = new_figure(6.4, 0.8 + 0.4 * len(names))
    axes = figure.subplots()
    axes.bar_label(axes.barh(names.tolist(), counts), padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("number of objects")
    axes.set_ylabel(column.label)
    return figure
