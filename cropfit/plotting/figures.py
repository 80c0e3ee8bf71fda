"""What all pictures share: the figure, its panels, and how axes are labelled.

No figure is kept by ``pyplot``, so a worker may draw a million of them.
"""

from __future__ import annotations

import contextlib
import importlib
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import MissingDependencyError
from cropfit.watched import in_notebook

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 34  # characters of a label until it goes on in the next line
MOST_COLUMNS = 4  # panels beside each other


def figure_class() -> type[Figure]:
    """Matplotlib's figure; notebooks know from here on how to show it.

    Raises
    ------
    MissingDependencyError
        Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "Pictures need matplotlib: pip install 'cropfit[plot]'."
        ) from error
    if in_notebook():
        with contextlib.suppress(ImportError):  # otherwise only pyplot's first figure does this
            importlib.import_module("matplotlib_inline.backend_inline")
    return Figure


def new_figure(width: float, height: float) -> Figure:
    """A figure of that size in inches, whose parts make room for each other."""
    return figure_class()(figsize=(width, height), layout="constrained")


def new_panels(rows: int, columns: int) -> tuple[Figure, NDArray[Any]]:
    """A figure with panels that share their axes."""
    width, height = (6.4, 4.4) if rows * columns == 1 else (3.2, 2.8)
    figure = new_figure(width * columns + 0.9 * (columns > 1), height * rows + 0.5)
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def label_of(name: str, attrs: Mapping[str, Any], width: int = WIDTH) -> str:
    """Long name and unit, in as many lines as they take."""
    text, unit = str(attrs.get("long_name") or name), attrs.get("units")
    if unit and str(unit) != "1":
        text = f"{text} [{unit}]"
    return "\n".join(textwrap.wrap(text, width)) or name


def told(value: Any) -> str:
    """A label of an axis for people: no more digits than needed."""
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value, unit="auto"))
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def is_geometric(labels: NDArray[Any]) -> bool:
    """Whether a logarithmic axis suits them: they rise by factors, over more than a decade."""
    if labels.dtype.kind not in "iuf" or len(labels) < 3 or not np.all(labels > 0):
        return False
    ordered = np.sort(labels.astype(float))
    if not np.isfinite(ordered[-1]) or ordered[-1] < 30 * ordered[0]:
        return False
    steps, factors = np.diff(ordered), np.diff(np.log(ordered))
    return bool(np.std(factors) / np.mean(factors) < 0.5 * np.std(steps) / np.mean(steps))


def outline(axes: Axes) -> tuple[float, float, float]:
    """A grey that is seen on the paper of these axes, light or dark."""
    from matplotlib.colors import to_rgb

    return (0.45,) * 3 if sum(to_rgb(axes.get_facecolor())) > 1.5 else (0.65,) * 3
