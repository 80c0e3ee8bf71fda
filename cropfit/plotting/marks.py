"""Cases without a value, made visible: failed, not grown yet, set aside, or no number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.plotting.arrange import STATUS
from cropfit.plotting.figures import outline
from cropfit.work.diagnostics import DONE, FAILED, IGNORED, MISSING

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cropfit.plotting.rulers import Ruler

__all__ = ["HATCH", "RED", "Marks", "hatch"]

RED = "#d62728"
BLANK = {MISSING: "not grown", IGNORED: "set aside", DONE: "not a number", -1: "without a value"}
HATCH = "////"
SMALL = 7.0  # points a cell, below which crosses would hide what is around them


def hatch(axes: Axes) -> Any:
    """Hatch the paper, which is seen where no cell is drawn; gives the colour of the lines."""
    grey = outline(axes)
    axes.patch.set(hatch=HATCH, edgecolor=(*grey, 0.5), linewidth=0)
    return grey


class Marks:
    """The marks of one figure.

    Parameters
    ----------
    data : Dataset
        With ``case_status``, if it is known.
    value : str
        The output that is drawn.
    """

    def __init__(self, data: xr.Dataset, value: str) -> None:
        self._value = value
        self._counts: dict[str, int] = {}
        self._has_hatch = False
        self._sign = ""
        self._grey: Any = "0.5"
        self._count(data)

    def below(self, axes: Axes, at: NDArray[np.float64], data: xr.Dataset, x: str) -> None:
        """Cross the labels of `x` at which a case failed, at the foot of the panel."""
        if STATUS not in data or x not in data[STATUS].dims:
            return
        failed = data[STATUS] == FAILED
        failed = failed.any([dim for dim in failed.dims if dim != x])
        self._cross(axes, at[failed.values], np.full(int(failed.sum()), 0.03), foot=True)

    def points(
        self, axes: Axes, at: list[NDArray[np.float64]], data: xr.Dataset, *, on_plane: bool
    ) -> None:
        """Cross failed cases where they are, or at the foot if they have no height."""
        if STATUS not in data:
            return
        failed = data[STATUS].values == FAILED
        heights = at[1][failed] if on_plane else np.full(int(failed.sum()), 0.03)
        self._cross(axes, at[0][failed], heights, foot=not on_plane)

    def cells(self, figure: Figure, axes: Axes, along: Ruler, up: Ruler, data: xr.Dataset) -> None:
        """Cross failed cells of a map, and hatch what is blank."""
        cells = data[self._value].values.astype(float)
        axes.set_xlim(along.edges.min(), along.edges.max())
        axes.set_ylim(up.edges.min(), up.edges.max())
        if not np.isfinite(cells).all():
            self._has_hatch = True
            self._grey = hatch(axes)
        if STATUS not in data:
            return
        failed = (data[STATUS] == FAILED).broadcast_like(data[self._value])
        places = failed.transpose(*data[self._value].dims).values
        if min(_points_a_cell(figure, axes, len(along.at), len(up.at))) < SMALL:
            self._fill(axes, along, up, places)
            return
        rows, columns = np.nonzero(places)
        self._cross(axes, along.at[columns], up.at[rows])

    def legend(self, figure: Figure) -> None:
        """Say what the marks mean, and how many cases they stand for."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        if not self._counts:
            return
        handles: list[Any] = []
        labels = []
        counts = dict(self._counts)
        if failed := counts.pop("failed", 0):
            width = 1.8 if self._sign == "x" else 0
            cross = Line2D([], [], ls="none", color=RED, marker=self._sign, markeredgewidth=width)
            handles.append(cross)
            labels.append(f"{failed} failed")
        if counts:
            pattern = HATCH if self._has_hatch else ""
            handles.append(Patch(facecolor="none", linewidth=0, hatch=pattern, ec=self._grey))
            labels.append(", ".join(f"{count} {name}" for name, count in counts.items()))
        style: dict[str, Any] = {"ncols": 2, "frameon": False, "fontsize": "small"}
        if not self._sign and not self._has_hatch:
            style |= {"handlelength": 0, "handletextpad": 0}
        figure.legend(handles, labels, loc="outside lower left", **style)

    def _count(self, data: xr.Dataset) -> None:
        """How many cases there are of each kind."""
        if self._value == STATUS:
            return
        values = data[self._value]
        empty = values.copy(data=~np.isfinite(values.values.astype(float)))
        if STATUS not in data:
            blank = int(empty.sum())
            self._counts = {BLANK[-1]: blank} if blank else {}
            return
        inner = [dim for dim in empty.dims if dim not in data[STATUS].dims]
        status, empty = data[STATUS], empty.all(inner)
        found = {"failed": int((status == FAILED).sum())}
        for code in (MISSING, IGNORED, DONE):
            found[BLANK[code]] = int(((status == code) & empty).sum())
        self._counts = {name: count for name, count in found.items() if count}

    def _fill(self, axes: Axes, along: Ruler, up: Ruler, places: NDArray[np.bool_]) -> None:
        """Fill cells that are too small for a cross."""
        from matplotlib.colors import ListedColormap

        self._sign = "s" if places.any() else self._sign
        shown = np.ma.masked_equal(places.astype(np.int8), 0)
        style: dict[str, Any] = {"cmap": ListedColormap([RED]), "rasterized": True}
        axes.pcolormesh(along.edges, up.edges, shown, label="failed", **style)

    def _cross(self, axes: Axes, x: NDArray[Any], y: NDArray[Any], *, foot: bool = False) -> None:
        if not len(x):
            return
        self._sign = "x"
        axes.plot(
            x,
            y,
            linestyle="none",
            marker="x",
            markersize=7,
            markeredgewidth=1.8,
            color=RED,
            zorder=5,
            clip_on=not foot,
            label="failed",
            transform=axes.get_xaxis_transform() if foot else axes.transData,
        )


def _points_a_cell(figure: Figure, axes: Axes, columns: int, rows: int) -> tuple[float, float]:
    """About how wide and high a cell is, in points."""
    width, height = 72 * figure.get_size_inches()
    share = axes.get_position()
    return width * share.width / columns, height * share.height / rows
