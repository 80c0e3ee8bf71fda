"""A pipeline as a table of text, as a diagram for notebooks, and its fits as pictures."""

from __future__ import annotations

import html
import os
from typing import TYPE_CHECKING

from cropfit.errors import MissingDependencyError
from cropfit.fitting.pipeline.result import DONE, FAILED, PipelineResult, StageResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cropfit.fitting.result import Fit

__all__ = ["draw", "to_html", "to_text"]

HEADER = ("stage", "kind", "state", "seconds", "takes over")
COLOURS = {DONE: "#2e7d32", FAILED: "#c62828"}
_BOX = (
    "display:inline-block;vertical-align:top;border:1px solid currentColor;border-left:4px solid "
    "{colour};border-radius:4px;padding:.4em .8em;margin:.2em 0"
)
_ARROW = (
    '<span style="display:inline-block;padding:.9em .6em;text-align:center">{label}<br>→</span>'
)


def to_text(result: PipelineResult) -> str:
    """The table of all stages, and what was noted."""
    rows = [HEADER, *(_cells(each) for each in result.stages)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.rjust(width) if column == 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    notes = [f"{each.name}: {note}" for each in result.stages for note in each.notes]
    done = sum(each.state == DONE for each in result.stages)
    head = f"<Pipeline {result.name}: {done} of {len(result)} stages done, in {result.folder}>"
    return "\n".join([head, *lines, *notes])


def _cells(each: StageResult) -> tuple[str, ...]:
    seconds = f"{each.seconds:.3g}" if each.state == DONE else ""
    return each.name, each.kind, each.state, seconds, "; ".join(_taken(each))


def _taken(each: StageResult) -> list[str]:
    return [f"{i.name}={i.value:.6g} ({i.how}, {i.stage})" for i in each.inherited]


def to_html(result: PipelineResult) -> str:
    """Boxes and arrows: stages with states and times, and what is handed on between them."""
    parts = []
    for place, each in enumerate(result.stages):
        if place:
            values = [f"{i.name} = {i.value:.4g} ({i.how})" for i in each.inherited]
            parts.append(_ARROW.format(label="<br>".join(map(html.escape, values)) or "&nbsp;"))
        parts.append(_box(each))
    head = f"<b>{html.escape(result.name)}</b> in {html.escape(result.folder)}"
    return f'<div style="font-family:sans-serif;font-size:90%"><p>{head}</p>{"".join(parts)}</div>'


def _box(each: StageResult) -> str:
    state = each.state + (f", {each.seconds:.3g} s" if each.state == DONE else "")
    lines = [f"<b>{html.escape(each.name)}</b>", html.escape(each.kind), html.escape(state)]
    lines += [f"<i>{html.escape(note.splitlines()[0])}</i>" for note in each.notes if note]
    style = _BOX.format(colour=COLOURS.get(each.state, "#9e9e9e"))
    return f'<div style="{style}">{"<br>".join(lines)}</div>'


def draw(found: Fit, folder: str) -> tuple[str, str]:
    """Save the best fit over the data, or the corner plot of a model that predicts nothing.

    Returns
    -------
    path : str
        Of the picture; "" if there is none.
    note : str
        Why not.
    """
    predicts = found.model is not None and found.model.predict is not None
    path = os.path.join(folder, "fit.png" if predicts else "corner.png")
    try:
        _save(found.plot_fit() if predicts else found.plot_corner(), path)
    except MissingDependencyError:
        raise
    except Exception as error:  # a picture is not worth a fit
        return "", f"no picture: {type(error).__name__}: {str(error).splitlines()[0]}"
    return path, ""


def _save(figure: Figure, path: str) -> None:
    from cropfit.disk.owner import Owner
    from cropfit.disk.publish import DRAFT

    draft = f"{path}.{Owner.here()}{DRAFT}"
    try:
        figure.savefig(draft, format="png", dpi=120)
        os.replace(draft, path)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
