"""From what was arranged to a figure: lines, maps, points and histograms, in panels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError
from cropfit.plotting.arrange import MOST_PANELS, Arranged
from cropfit.plotting.colours import colours_of
from cropfit.plotting.figures import MOST_COLUMNS, label_of, new_panels, told
from cropfit.plotting.marks import Marks
from cropfit.plotting.rulers import rule, rule_points

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Panel", "draw", "name_axes", "panels_of"]


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes, and what is drawn in it."""

    axes: Axes
    data: xr.Dataset


def draw(what: Arranged, options: Mapping[str, Any]) -> Figure:
    """Draw it; `options` are of the matplotlib function that draws."""
    figure, panels = panels_of(what)
    marks = Marks(what.data, what.value)
    paint: dict[str, Callable[..., None]] = {
        "line": _lines,
        "map": _map,
        "points": _points,
        "hist": _hist,
    }
    paint[what.kind](figure, panels, what, marks, dict(options))
    marks.legend(figure)
    if what.title:
        figure.suptitle(what.title, fontsize="medium")
    return figure


# -- panels ------------------------------------------------------------------------------


def panels_of(what: Arranged) -> tuple[Figure, list[Panel]]:
    """Panels for each label of col and row; of col alone they go on in the next line."""
    cols, rows = (_labels(what, name) for name in (what.roles.col, what.roles.row))
    total = len(cols) * len(rows)
    if total > MOST_PANELS:
        raise DesignError(f"{total} panels are more than {MOST_PANELS}: leave some labels out.")
    wraps = what.roles.row is None and len(cols) > MOST_COLUMNS
    wide = min(MOST_COLUMNS, -(-len(cols) // 2)) if wraps else len(cols)
    figure, axes = new_panels(-(-total // wide), wide)
    found = []
    for place, (row, col) in enumerate((r, c) for r in range(len(rows)) for c in range(len(cols))):
        pieces = [
            f"{name} = {told(labels[at])}"
            for name, labels, at in ((what.roles.row, rows, row), (what.roles.col, cols, col))
            if name is not None
        ]
        at = axes.flat[place]
        at.set_title("\n".join(pieces), fontsize="medium")
        found.append(Panel(at, _part(what, row, col, rows, cols)))
    for spare in axes.flat[total:]:
        spare.set_axis_off()
    for place in range(max(0, total - wide), total):
        axes.flat[place].tick_params(labelbottom=True)
    return figure, found


def _labels(what: Arranged, name: str | None) -> NDArray[Any]:
    if name is None:
        return np.array([""])
    values: NDArray[Any] = what.data[name].values
    return values if name in what.data.dims else np.unique(values)


def _part(what: Arranged, row: int, col: int, rows: NDArray[Any], cols: NDArray[Any]) -> xr.Dataset:
    """The part of the data that belongs to a panel."""
    data = what.data
    for name, labels, at in ((what.roles.row, rows, row), (what.roles.col, cols, col)):
        if name is not None and name in data.dims:
            data = data.isel({name: at})
        elif name is not None:
            data = data.isel(cell=data[name].values == labels[at])
    return data


def _edge(panels: list[Panel], side: str) -> Iterator[Axes]:
    """The panels that have none to their left, or below them."""
    for panel in panels:
        spec: Any = panel.axes.get_subplotspec()
        is_left = side == "left" and spec.is_first_col()
        columns = spec.get_gridspec().ncols
        is_last = side == "bottom" and spec.num1 + columns >= len(panels)
        if is_left or is_last:
            yield panel.axes


def name_axes(panels: list[Panel], x: str, y: str) -> None:
    """Label what is along the edges of the figure."""
    for axes in _edge(panels, "left"):
        axes.set_ylabel(y)
    for axes in _edge(panels, "bottom"):
        axes.set_xlabel(x)


def _label(data: xr.Dataset, name: str) -> str:
    return label_of(name, data[name].attrs)


# -- what is in them ---------------------------------------------------------------------


def _lines(
    figure: Figure, panels: list[Panel], what: Arranged, marks: Marks, options: dict[str, Any]
) -> None:
    """A line for each label of hue; what is no number breaks it, what failed is marked below."""
    x, hue = str(what.roles.x), what.roles.hue
    ruler = rule(what.data[x].values)
    labels = np.array([""]) if hue is None else what.data[hue].values
    colours = colours_of(labels, _label(what.data, hue) if hue else "")
    dense = len(ruler.at) > 60
    style = {"marker": "" if dense else "o", "markersize": 3.5, "linewidth": 1.5}
    if ruler.ticks:
        style |= {"linestyle": "none", "markersize": 6}
    for panel in panels:
        ruler.set_on(panel.axes, "x")
        for place in range(len(labels)):
            one = panel.data if hue is None else panel.data.isel({hue: place})
            style["color"] = colours.of(place)
            panel.axes.plot(ruler.at, one[what.value].values, **{**style, **options})
        if ruler.ticks:
            panel.axes.set_xlim(-0.5, len(ruler.at) - 0.5)  # labels without a value, too
        marks.below(panel.axes, ruler.at, panel.data, x)
    name_axes(panels, _label(what.data, x), _label(what.data, what.value))
    colours.explain(figure, [panel.axes for panel in panels])


def _map(
    figure: Figure, panels: list[Panel], what: Arranged, marks: Marks, options: dict[str, Any]
) -> None:
    """One output as colour; failed cells are crossed out, cells without a value left blank."""
    from matplotlib.colors import Normalize

    x, y = str(what.roles.x), str(what.roles.y)
    along, up = (rule(what.data[name].values, cells=True) for name in (x, y))
    values = what.data[what.value].values
    known = values[np.isfinite(values.astype(float))]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    ends = options.pop("vmin", low), options.pop("vmax", high)
    style = {"norm": Normalize(*ends), "cmap": "viridis", "rasterized": True, **options}
    for panel in panels:
        along.set_on(panel.axes, "x")
        up.set_on(panel.axes, "y")
        cells = panel.data[what.value].transpose(y, x).values.astype(float)
        drawn = panel.axes.pcolormesh(along.edges, up.edges, np.ma.masked_invalid(cells), **style)
        marks.cells(figure, panel.axes, along, up, panel.data.transpose(y, x, ...))
    name_axes(panels, _label(what.data, x), _label(what.data, y))
    label = _label(what.data, what.value)
    figure.colorbar(drawn, ax=[panel.axes for panel in panels], label=label, pad=0.02)


def _points(
    figure: Figure, panels: list[Panel], what: Arranged, marks: Marks, options: dict[str, Any]
) -> None:
    """One point a case; the colour is hue, or the output where y is a parameter."""
    x, y = str(what.roles.x), what.roles.y or what.value
    hue = what.value if what.roles.y is not None else what.roles.hue
    rulers = [rule_points(what.data[name].values) for name in (x, y)]
    if y == what.value:
        rulers[1] = replace(rulers[1], scale="linear")
    colours = None if hue is None else colours_of(np.unique(what.data[hue]), _label(what.data, hue))
    size = 24 if what.data.sizes["cell"] < 500 else 6
    for panel in panels:
        rulers[0].set_on(panel.axes, "x")
        rulers[1].set_on(panel.axes, "y")
        known = _is_known(panel.data[what.value])
        if hue is not None:
            known &= _is_known(panel.data[hue])
        at = [r.place(panel.data[n].values) for n, r in zip((x, y), rulers, strict=True)]
        style: dict[str, Any] = {"s": size, "linewidths": 0, "color": "C0"}
        if colours is not None and hue is not None:
            style = {"s": size, "linewidths": 0, **colours.paint(panel.data[hue].values[known])}
        panel.axes.scatter(at[0][known], at[1][known], **{**style, **options})
        marks.points(panel.axes, at, panel.data, on_plane=what.roles.y is not None)
    name_axes(panels, _label(what.data, x), _label(what.data, y))
    if colours is not None:
        colours.explain(figure, [panel.axes for panel in panels])


def _is_known(column: xr.DataArray) -> NDArray[np.bool_]:
    is_number = column.dtype.kind in "iuf"
    return np.isfinite(column.values) if is_number else np.ones(column.shape, bool)


def _hist(
    figure: Figure, panels: list[Panel], what: Arranged, marks: Marks, options: dict[str, Any]
) -> None:
    """How many cases there are of each value; the same bins in all panels."""
    values = what.data[what.value].values.astype(float)
    known = values[np.isfinite(values)]
    if not known.size:
        raise DesignError(f"{what.value!r} has no value yet.")
    bins = options.pop("bins", None)
    edges = np.histogram_bin_edges(known, "auto" if bins is None else bins)
    for panel in panels:
        cells = panel.data[what.value].values.astype(float)
        panel.axes.hist(cells[np.isfinite(cells)], edges.tolist(), **options)
    name_axes(panels, _label(what.data, what.value), "number of cases")
