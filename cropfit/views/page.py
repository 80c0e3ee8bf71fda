"""A crop as a piece of HTML, for notebooks: it inherits the page's colours, light or dark."""

from __future__ import annotations

from html import escape

from cropfit.views.glance import Glance
from cropfit.wording import extent, number_of
from cropfit.work.care import span
from cropfit.work.failures import tell

COLORS = {
    "grown": "#2a9d4a",
    "failed": "#d1383d",
    "growing": "#3b82d6",
    "ignored": "#9a9a9a",
    "sown": "transparent",
}
_BOX = "font-family:sans-serif;font-size:13px;line-height:1.5;max-width:46em"
_BAR = (
    "display:flex;height:14px;border:1px solid #8888;border-radius:4px;overflow:hidden;"
    "background:#8882;margin:4px 0"
)
_TABLE = "margin:4px 0;color:inherit;font-size:inherit;border-spacing:12px 0;margin-left:-12px"
_FAINT = "opacity:.7"


def to_html(glance: Glance) -> str:
    """State, rate, remaining time, parameters and the last errors of a crop."""
    seen = glance.status
    parts = [
        f"<div><b>{escape(seen.name)}</b> <span style='{_FAINT}'>"
        f"{extent(seen.num_cases, seen.num_batches)} &middot; {escape(seen.location)}</span></div>",
        _bar(glance),
        _legend(glance),
        _axes(glance),
        _workers(glance),
        _errors(glance),
    ]
    return f"<div style='{_BOX}'>{''.join(parts)}</div>"


def _counts(glance: Glance) -> dict[str, int]:
    return {state: int(getattr(glance.status, state)) for state in COLORS}


def _bar(glance: Glance) -> str:
    total = max(glance.status.num_batches, 1)
    pieces = "".join(
        f"<div title='{n:,} {state}' "
        f"style='width:{100 * n / total:.3f}%;background:{COLORS[state]}'></div>"
        for state, n in _counts(glance).items()
        if n
    )
    return f"<div role='img' aria-label='{_told(glance)}' style='{_BAR}'>{pieces}</div>"


def _told(glance: Glance) -> str:
    return ", ".join(f"{n} {state}" for state, n in _counts(glance).items() if n)


def _legend(glance: Glance) -> str:
    seen = glance.status
    told = [f"{100 * seen.grown / max(seen.num_batches, 1):.0f} %"]
    for state, count in _counts(glance).items():
        if count:
            dot = (
                f"display:inline-block;width:.7em;height:.7em;border:1px solid #8888;"
                f"border-radius:50%;background:{COLORS[state]}"
            )
            told.append(f"<span style='{dot}'></span> {count:,} {state}")
    if glance.rate and not glance.finished:
        told.append(f"{glance.rate:.3g} batches/s")
    if glance.eta is not None and not glance.finished:
        told.append(f"about {span(glance.eta)} left")
    return f"<div>{' &nbsp; '.join(told)}</div>"


def _axes(glance: Glance) -> str:
    rows = "".join(
        f"<tr><td style='text-align:left'><code>{escape(name)}</code></td>"
        f"<td style='text-align:right'>{number:,}</td>"
        f"<td style='text-align:left'>{escape(_range(first, last))}</td></tr>"
        for name, number, first, last in glance.axes
    )
    return f"<table style='{_TABLE}'>{rows}</table>" if rows else ""


def _range(first: str, last: str) -> str:
    return first if first == last else f"{first} … {last}"


def _workers(glance: Glance) -> str:
    alive = [hand for hand in glance.hands if not hand.dead]
    dead = [hand for hand in glance.hands if hand.dead]
    told = []
    if alive:
        hosts = len({hand.host for hand in alive})
        told.append(f"{number_of(len(alive), 'worker')} on {number_of(hosts, 'host')}")
    if dead:
        left = number_of(len(dead), "batch of dead workers")
        batches = ", ".join(str(hand.batch) for hand in dead[:5])
        told.append(f"{left} ({batches}); any worker takes them up")
    return f"<div style='{_FAINT}'>{'; '.join(told)}</div>" if told else ""


def _errors(glance: Glance) -> str:
    rows = "".join(
        f"<details><summary><code>{escape(tell(failure))}</code></summary>"
        "<pre style='font-size:11px;overflow-x:auto'>"
        f"{escape(failure['traceback'])}</pre></details>"
        for failure in glance.errors
    )
    if not rows:
        return ""
    color = COLORS["failed"]
    return (
        f"<div style='border-left:3px solid {color};padding-left:8px;margin-top:4px'>"
        f"{rows}<span style='{_FAINT}'>all: <code>crop.errors()</code>, again: "
        "<code>crop.retry()</code></span></div>"
    )
