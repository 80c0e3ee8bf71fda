"""What colours stand for: a legend of few labels, or a bar of many numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.plotting.figures import is_geometric, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

__all__ = ["Colours", "colours_of"]

FEW = 10  # labels that are all told in a legend
CYCLE = 10  # colours of matplotlib's cycle that are safe to name


@dataclass(frozen=True, eq=False)
class Colours:
    """The colour of each label.

    Attributes
    ----------
    labels : array
        Distinct.
    title : str
        What they are labels of.
    norm, cmap : optional
        From numbers to colours; None for words.
    """

    labels: NDArray[Any]
    title: str
    norm: Normalize | None
    cmap: Colormap | None

    def of(self, place: int) -> Any:
        """The colour of the label in that place."""
        if self.norm is None or self.cmap is None:
            return f"C{place % CYCLE}"
        return self.cmap(self._heights(self.labels[place : place + 1])[0])

    def paint(self, values: NDArray[Any]) -> dict[str, Any]:
        """Colours of points, as ``scatter`` takes them."""
        if self.norm is not None:
            return {"c": self._heights(values), "vmin": 0, "vmax": 1, "cmap": self.cmap}
        place = {told(label): at for at, label in enumerate(self.labels.tolist())}
        return {"color": [self.of(place[told(value)]) for value in values.tolist()]}

    def _heights(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Where values stand from 0 to 1; few labels are as far apart as can be."""
        if len(self.labels) <= FEW:
            order = np.sort(self.labels)
            return np.searchsorted(order, values) / max(1, len(order) - 1)
        return np.asarray(self.norm(values.astype(float)) if self.norm else values, float)

    def explain(self, figure: Figure, axes: Sequence[Axes]) -> None:
        """Add a legend, or a colour bar where there are many labels."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.lines import Line2D

        if not self.title:
            return
        if len(self.labels) > FEW and self.norm is not None:
            shown = ScalarMappable(self.norm, self.cmap)
            figure.colorbar(shown, ax=list(axes), label=self.title, pad=0.02)
            return
        first = self.labels.tolist()[: 2 * FEW]
        lines = [Line2D([], [], color=self.of(at), linewidth=4) for at in range(len(first))]
        words = [told(label) for label in first]
        if len(self.labels) > len(first):
            lines.append(Line2D([], [], linestyle="none"))
            words.append(f"… {len(self.labels) - len(first)} more")
        figure.legend(
            lines, words, title=self.title, loc="outside right upper", frameon=False, handlelength=1
        )


def colours_of(labels: NDArray[Any], title: str) -> Colours:
    """Colours for labels: an ordered scale for numbers, the cycle for words and pairs."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    if labels.dtype.kind not in "iuf":
        return Colours(labels, title, None, None)
    labels = labels[np.isfinite(labels.astype(float))]
    if len(labels) < 2:
        return Colours(labels, title, None, None)
    kind = LogNorm if is_geometric(labels) else Normalize
    norm = kind(float(labels.min()), float(labels.max()))
    dark = sum(mpl.colors.to_rgb(mpl.rcParams["axes.facecolor"])) < 1.5
    low, high = (0.15, 1.0) if dark else (0.0, 0.92)  # leave out what vanishes on the paper
    return Colours(
        labels, title, norm, ListedColormap(mpl.colormaps["viridis"](np.linspace(low, high, 256)))
    )
