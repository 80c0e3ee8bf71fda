"""A pipeline as a table of text, as a diagram for notebooks, and its fits as pictures."""

from __future__ import annotations

import html
import os
from typing import TYPE_CHECKING

from cropfit.errors import MissingDependencyError
from cropfit.fitting.pipeline.result import DONE, FAILED, PipelineResult, StageResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cropfit.fitting.pipeline.inherit import Inherited
    from cropfit.fitting.result import Fit

__all__ = ["draw", "to_html", "to_text"]

HEADER = ("stage", "kind", "state", "seconds", "takes over")
COLOURS = {DONE: "#2e7d32", FAILED: "#c62828"}
_ROW = "display:flex;flex-wrap:wrap;align-items:center;row-gap:.4em"
_BOX = (
    "border:1px solid currentColor;border-left:4px solid {colour};border-radius:4px;"
    "padding:.4em .8em;max-width:20em"
)
_ARROW = (
    '<div style="padding:0 .6em;text-align:center;line-height:1.2">{label}'
    '<div style="font-size:140%">→</div></div>'
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
    seconds = _clock(each.seconds) if each.state == DONE else ""
    return each.name, each.kind, each.state, seconds, "; ".join(_taken(each))


def _taken(each: StageResult) -> list[str]:
    return [f"{i.name}={i.value:.6g} ({i.how}, {i.stage})" for i in each.inherited]


def to_html(result: PipelineResult) -> str:
    """Boxes and arrows: stages with states and times, and what is handed on between them.

    Colours are the page's own, so that it is read on light and dark ones.
    """
    parts: list[str] = []
    for place, each in enumerate(result.stages):
        if place:
            before = result.stages[place - 1].name
            values = "<br>".join(html.escape(_handed(i, before)) for i in each.inherited)
            parts.append(_ARROW.format(label=values))
        parts.append(_box(each))
    where = f" in {html.escape(result.folder)}" if result.folder else ""
    head = f"<p><b>{html.escape(result.name)}</b>{where}</p>"
    row = f'<div style="{_ROW}">{"".join(parts)}</div>'
    return f'<div style="font-family:sans-serif;font-size:90%">{head}{row}</div>'


def _handed(one: Inherited, before: str) -> str:
    """A value on its arrow; told from where, if not from the stage just before."""
    source = "" if one.stage == before else f", from {one.stage}"
    return f"{one.name} = {one.value:.4g} ({one.how}{source})"


def _clock(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds >= 0.1 else f"{seconds:.1g}"


def _box(each: StageResult) -> str:
    state = each.state + (f", {_clock(each.seconds)} s" if each.state == DONE else "")
    lines = [f"<b>{html.escape(each.name)}</b>", html.escape(each.kind), html.escape(state)]
    lines += [f"<i>{html.escape(first_line(note))}</i>" for note in each.notes if note]
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
        return "", f"no picture: {type(error).__name__}: {first_line(str(error))}"
    return path, ""


def first_line(text: str) -> str:
    """The first line of a message, which may have none."""
    return next(iter(text.strip().splitlines()), "")


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
