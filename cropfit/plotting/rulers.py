"""Where labels stand along an axis: numbers by their size, dates by time, the rest in order."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cropfit.plotting.figures import is_geometric, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Ruler", "rule", "rule_points"]

MOST_TICKS = 30  # labels that are all written out
FEW, FEWEST = 12, 6  # cells that have a tick each, at uneven distances and at even ones
LINE = 54  # characters of ticks that find room below one panel
UNEVEN = 3  # times as far from one label to the next as between two others
LONGEST_TICK = 24  # characters of one


@dataclass(frozen=True, eq=False)
class Ruler:
    """The positions of labels along one axis.

    Attributes
    ----------
    at : (n,) array
        Where each stands.
    scale : {"linear", "log"}
        Of the axis.
    ticks : tuple of str
        What is written at the positions; none for numbers, which matplotlib writes.
    is_time : bool
        Whether positions are matplotlib's dates.
    """

    at: NDArray[np.float64]
    scale: Literal["linear", "log"] = "linear"
    ticks: tuple[str, ...] = ()
    is_time: bool = False

    @property
    def edges(self) -> NDArray[np.float64]:
        """Borders of cells around the positions, half way to the next, (n + 1,)."""
        at = np.log(self.at) if self.scale == "log" else self.at
        if len(at) == 1:
            found = np.array([at[0] - 0.5, at[0] + 0.5])
        else:
            middle = (at[1:] + at[:-1]) / 2
            found = np.concatenate(
                [[at[0] - (at[1] - at[0]) / 2], middle, [at[-1] + (at[-1] - at[-2]) / 2]]
            )
        return np.exp(found) if self.scale == "log" else found

    def place(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Where values stand that may come more than once."""
        if self.ticks:
            order = {tick: float(at) for tick, at in zip(self.ticks, self.at, strict=True)}
            return np.array([order[told(value)] for value in values.tolist()])
        if self.is_time:
            return _days(values)
        return values.astype(float)

    def set_on(self, axes: Axes, direction: Literal["x", "y"]) -> None:
        """Make an axis fit."""
        axis = axes.xaxis if direction == "x" else axes.yaxis
        if self.scale == "log":
            (axes.set_xscale if direction == "x" else axes.set_yscale)("log")
        if self.is_time:
            _write_dates(axis)
        if self.ticks:
            step = -(-len(self.ticks) // MOST_TICKS)
            words = [_shortened(tick) for tick in self.ticks[::step]]
            axis.set_ticks(self.at[::step], words)
            axis.set_ticks([], minor=True)
            if direction == "x" and sum(map(len, words)) > LINE // _columns(axes):
                axes.tick_params(axis="x", labelrotation=45)
                for label in axes.get_xticklabels():
                    label.set(horizontalalignment="right", rotation_mode="anchor")


def rule(labels: NDArray[Any], *, cells: bool = False) -> Ruler:
    """The positions of labels: by value, or in order for what has no size.

    With `cells`, few numbers at very uneven distances stand in order, too: as cells that are
    wide for one label and thin for another they would tell little.
    """
    if cells and len(labels) <= FEW and labels.dtype.kind in "iuf":
        steps = np.abs(np.diff(labels.astype(float)))
        if len(steps) > 1 and steps.max() > UNEVEN * steps.min() and not is_geometric(labels):
            labels = np.array([told(label) for label in labels.tolist()])
        elif len(labels) <= FEWEST:
            return replace(rule(labels), ticks=tuple(told(label) for label in labels.tolist()))
    if labels.dtype.kind == "M":
        return Ruler(_days(labels), is_time=True)
    if labels.dtype.kind in "iuf" and np.isfinite(labels.astype(float)).all():
        return Ruler(labels.astype(float), "log" if is_geometric(labels) else "linear")
    words = tuple(told(label) for label in labels.tolist())
    return Ruler(np.arange(len(labels), dtype=float), ticks=words)


def rule_points(values: NDArray[Any]) -> Ruler:
    """The same for values that come in any order, more than once, or are missing."""
    if values.dtype.kind in "iuf":
        values = values[np.isfinite(values.astype(float))]
    elif values.dtype.kind not in "M":
        values = np.array([told(value) for value in values.tolist()])
    return rule(np.unique(values))


def _columns(axes: Axes) -> int:
    """How many panels stand beside each other."""
    spec = axes.get_subplotspec()
    return 1 if spec is None else spec.get_gridspec().ncols


def _write_dates(axis: Any) -> None:
    plain: Any = importlib.import_module("matplotlib.dates")
    where = plain.AutoDateLocator(maxticks=8)
    axis.set_major_locator(where)
    axis.set_major_formatter(plain.ConciseDateFormatter(where))


def _days(dates: NDArray[Any]) -> NDArray[np.float64]:
    """Dates as matplotlib counts them."""
    plain: Any = importlib.import_module("matplotlib.dates")
    return np.asarray(plain.date2num(dates), np.float64)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TICK else f"{text[: LONGEST_TICK - 1]}…"
