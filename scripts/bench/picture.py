"""The ratio of everybody to the bare limit, and how cost grows, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from figures import Figures

COLOURS = {"cropfit": "#c1272d", "xyzpy": "#0071bc"}
OTHERS = {
    "sqlite": "s",
    "joblib": "^",
    "dask": "v",
    "executorlib": "D",
    "xarray": "P",
    "cropfit_zarr": "X",
    "shipped": "<",
}


def draw(report: dict[str, Any], path: Path) -> None:
    """Dots on a logarithmic axis; what a mark allows cropfit is a bar."""
    from matplotlib.figure import Figure

    lines = [(row, line) for row in report["rows"].values() for line in row["lines"]]
    figure = Figure(figsize=(10, 1.6 + 0.32 * len(lines)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(1, color="black", linewidth=1)
    for place, (_, line) in enumerate(lines):
        _dots(axes, place, line)
    axes.set_xscale("log")
    axes.set_yticks(range(len(lines)), [_name(row, line) for row, line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel("time over that of the bare limit")
    axes.grid(axis="both", color="0.9")
    axes.set_axisbelow(True)
    names, handles = _unique(*axes.get_legend_handles_labels())
    figure.legend(handles, names, loc="outside upper center", ncols=6, frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """An SVG with text as text, the same whenever the figures are."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cropfit"}):
        figure.savefig(path, metadata={"Date": None})


def _name(row: Figures, line: Figures) -> str:
    return f"{row['title']}: {line['lap']}" if line["lap"] else str(row["title"])


def _dots(axes: Any, place: int, line: Figures) -> None:
    found = line["contenders"]
    for who, figures in found.items():
        if who == "bare" or figures.get("ratio") is None:
            continue
        colour, marker = COLOURS.get(who, "0.45"), OTHERS.get(who, "o")
        axes.plot(figures["ratio"], place, marker, color=colour, label=who, zorder=3, markersize=6)
    ours = found.get("cropfit", {}).get("ratio")
    margins = [mark["margin"] for mark in line["marks"] if mark["of"] == "time"]
    tightest = max((margin for margin in margins if margin), default=None)
    if ours and tightest:
        axes.plot(ours / tightest, place, "|", color="black", label="mark", markersize=14)


def _unique(handles: list[Any], names: list[str]) -> tuple[list[str], list[Any]]:
    found = dict(zip(names, handles, strict=True))
    return list(found), list(found.values())


def draw_growth(report: dict[str, Any], path: Path) -> None:
    """Seconds by size, one panel a row; dashed is the bare limit."""
    from matplotlib.figure import Figure

    rows = list(report["growth"].values())
    figure = Figure(figsize=(10, 3.0 * -(-len(rows) // 3)), layout="constrained")
    panels = figure.subplots(-(-len(rows) // 3), 3, squeeze=False).flat
    for row, axes in zip(rows, panels, strict=False):
        for k, line in enumerate(row["lines"]):
            name, colour = line["lap"] or "cropfit", f"C{k}"
            axes.loglog(row["sizes"], line["cropfit"]["seconds"], "o-", color=colour, label=name)
            axes.loglog(row["sizes"], line["bare"]["seconds"], "--", color=colour, linewidth=1)
        axes.set_title(row["title"], fontsize=8)
        axes.set_xlabel(f"n {row['by']}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=6, frameon=False)
    for axes in list(panels):
        axes.set_axis_off()
    _save(figure, path)
