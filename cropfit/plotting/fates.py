"""What became of each case, as colours: done, failed with which error, or still to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.plotting.arrange import STATUS, Arranged
from cropfit.plotting.draw import Panel, name_axes, panels_of
from cropfit.plotting.figures import label_of, outline
from cropfit.plotting.marks import HATCH, RED, hatch
from cropfit.plotting.rulers import Ruler, rule, rule_points
from cropfit.work.diagnostics import DONE, FAILED, IGNORED, MISSING

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["Fates", "draw_fates", "with_fates"]

ERROR = "case_error"
WORDS = {DONE: "done", IGNORED: "set aside", MISSING: "not grown"}
COLOURS = {"done": "#5b9bd5", "set aside": "#b0b0b0", "not grown": "none"}
REDS = (RED, "#ff9d3b", "#9467bd", "#e377c2", "#8c564b", "#bcbd22")
OTHER = "other errors"


@dataclass(frozen=True, eq=False)
class Fates:
    """Cases sorted by what became of them.

    Attributes
    ----------
    data : Dataset
        ``fate`` is the place in `words` of each case.
    words : list of str
        Kinds of ends, with the most frequent errors first.
    counts : list of int
        Cases of each.
    """

    data: xr.Dataset
    words: list[str]
    counts: list[int]

    @property
    def colours(self) -> list[str]:
        """One for each of `words`."""
        reds = iter(REDS)
        return [COLOURS[word] if word in COLOURS else next(reds) for word in self.words]

    def share(self) -> xr.Dataset:
        """The share of cases that failed among those that were tried."""
        status = self.data[STATUS]
        share = (status == FAILED).where(status.isin([DONE, FAILED]))
        share.attrs = {"long_name": "share of cases that failed"}
        return share.astype(float).to_dataset(name="share")


def with_fates(ds: xr.Dataset) -> Fates:
    """Sort cases by status and, where it is known, by the type of the error."""
    status = ds[STATUS].values
    words = np.full(status.shape, "failed", object)
    if ERROR in ds:
        told = ds[ERROR].values.astype(object)
        words = np.where(told == "", "failed", told)
    for code, word in WORDS.items():
        words[status == code] = word
    errors = Counter(word for word in words[status == FAILED].tolist())
    kept = [word for word, _ in errors.most_common()]
    if len(kept) > len(REDS):
        kept = kept[: len(REDS) - 1]
        words[(status == FAILED) & ~np.isin(words.astype(str), kept)] = OTHER
        kept.append(OTHER)
    order = ["done", *kept, "set aside", "not grown"]
    counts = [int((words == word).sum()) for word in order]
    there = [(word, count) for word, count in zip(order, counts, strict=True) if count]
    place = {word: at for at, (word, _) in enumerate(there)}
    fate = ds[STATUS].copy(data=np.vectorize(place.get, otypes=[np.int64])(words))
    fate.attrs = {"long_name": "what became of the case"}
    data = ds[[STATUS]].assign(fate=fate)
    return Fates(data, [word for word, _ in there], [count for _, count in there])


def draw_fates(what: Arranged, fates: Fates, options: Mapping[str, Any]) -> Figure:
    """Cells of a grid, or points of scattered cases, each in the colour of its end."""
    from matplotlib.patches import Patch

    figure, panels = panels_of(what)
    (_points if what.kind == "points" else _cells)(panels, what, fates, dict(options))
    grey = outline(panels[0].axes)
    blank: dict[str, Any] = {"hatch": HATCH, "edgecolor": grey, "linewidth": 0}
    handles = [
        Patch(facecolor=colour, **(blank if colour == "none" else {})) for colour in fates.colours
    ]
    labels = [f"{word} ({count})" for word, count in zip(fates.words, fates.counts, strict=True)]
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    if what.roles.y is None and len(panels) == 1 and what.kind == "line":
        figure.set_figheight(2.4)
    if what.title:
        figure.suptitle(what.title, fontsize="medium")
    return figure


def _cells(panels: list[Panel], what: Arranged, fates: Fates, options: dict[str, Any]) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    x, y = what.roles.x, what.roles.y
    along = _ruler(what, x)
    up = _ruler(what, y)
    blank = fates.words.index("not grown") if "not grown" in fates.words else -1
    norm = BoundaryNorm(np.arange(len(fates.words) + 1) - 0.5, len(fates.words))
    style: dict[str, Any] = {
        "cmap": ListedColormap(fates.colours),
        "norm": norm,
        "rasterized": True,
        **options,
    }
    if len(along.at) * len(up.at) <= 2500:
        style = {"edgecolor": panels[0].axes.get_facecolor(), "linewidth": 0.6, **style}
    for panel in panels:
        along.set_on(panel.axes, "x")
        up.set_on(panel.axes, "y")
        cells: NDArray[Any] = panel.data["fate"].transpose(y, x, missing_dims="ignore").values
        shown = np.ma.masked_equal(cells, blank).reshape(len(up.at), -1)
        panel.axes.pcolormesh(along.edges, up.edges, shown, **style)
        hatch(panel.axes)
        if y is None:
            panel.axes.set_yticks([])
            panel.axes.set_box_aspect(0.15)
    name_axes(panels, _label(what, x), _label(what, y))


def _ruler(what: Arranged, name: str | None) -> Ruler:
    if name is None:
        return Ruler(np.zeros(1), ticks=("",))
    return rule(what.data[name].values, cells=True)


def _label(what: Arranged, name: str | None) -> str:
    return "" if name is None else label_of(name, what.data[name].attrs)


def _points(panels: list[Panel], what: Arranged, fates: Fates, options: dict[str, Any]) -> None:
    """Failed cases are drawn last, so that no crowd hides them."""
    x, y = str(what.roles.x), what.roles.y
    along = rule_points(what.data[x].values)
    up = _ruler(what, None) if y is None else rule_points(what.data[y].values)
    late = sorted(range(len(fates.words)), key=lambda at: fates.words[at] not in COLOURS)
    for panel in panels:
        along.set_on(panel.axes, "x")
        up.set_on(panel.axes, "y")
        kinds = panel.data["fate"].values
        across = along.place(panel.data[x].values)
        heights = np.zeros(len(kinds)) if y is None else up.place(panel.data[y].values)
        for kind in late:
            mine, colour = kinds == kind, fates.colours[kind]
            edge = "0.5" if colour == "none" else "none"
            style = {"s": 24, "facecolors": colour, "edgecolors": edge, "linewidths": 0.8}
            panel.axes.scatter(across[mine], heights[mine], **{**style, **options})
    name_axes(panels, _label(what, x), _label(what, y))
