"""Figures as people read them: cells, a table for the terminal, Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from figures import Figures

HEAD = ("work", "bare limit", "cropfit", "× bare", "MiB", "xyzpy", "MiB", "others", "mark")
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))
EACH = {"cases": "case", "batches": "batch", "objects": "fit"}
SCALE = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}


def duration(seconds: float) -> str:
    unit = next(name for least, name in UNITS if seconds >= least)
    return f"{figure(seconds * SCALE[unit])} {unit}"


def figure(value: float) -> str:
    """Three digits, never in powers of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cells(report: dict[str, Any]) -> Iterator[list[str]]:
    """One list a line, in the order of `HEAD`."""
    for row in report["rows"].values():
        for line in row["lines"]:
            yield line_cells(row, line)


def line_cells(row: Figures, line: Figures) -> list[str]:
    found = dict(line["contenders"])
    bare, ours, peer = (found.pop(who, {}) for who in ("bare", "cropfit", "xyzpy"))
    name = f"{row['title']}: {line['lap']}" if line["lap"] else row["title"]
    each = f" (a {EACH[row['per']]})" if row["per"] else ""
    told = ours.get("ratio")
    return [
        name + each,
        seconds(row, bare),
        seconds(row, ours),
        "" if told is None else figure(told),
        mib(ours),
        seconds(row, peer),
        mib(peer),
        ", ".join(f"{who} {seconds(row, it)}" for who, it in found.items() if it),
        "; ".join(map(mark, line["marks"])),
    ]


def seconds(row: Figures, of: Figures) -> str:
    if "error" in of:
        return "failed"
    return duration(of["seconds"] / row["divisor"]) if "seconds" in of else ""


def mib(of: Figures) -> str:
    return "" if of.get("mib") is None else f"{of['mib']:.0f}"


def mark(told: Figures) -> str:
    """The mark, and how much of it is used: 1.20 is a fifth too much."""
    if told["met"] is None:
        return f"? {told['text']}"
    used = "" if not told["margin"] else f" ({told['margin']:.2f})"
    return f"{'✓' if told['met'] else '✗'} {told['text']}{used}"


def markdown(head: tuple[str, ...], rows: list[list[str]]) -> str:
    rule = ["---", *["---:" if name != "others" and name != "mark" else "---" for name in head[1:]]]
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def show(head: tuple[str, ...], rows: list[list[str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_lines=True)
    for name in head:
        right = name not in ("work", "others", "mark")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, 150)
    console.print(table)


GROWTH_HEAD = ("work", "least", "most", "first", "last", "exponent", "bare", "verdict")


def growth_cells(report: dict[str, Any]) -> Iterator[list[str]]:
    for row in report["growth"].values():
        for line in row["lines"]:
            took, bare = line["cropfit"]["seconds"], line.get("bare", {})
            yield [
                f"{row['title']}: {line['lap']}" if line["lap"] else row["title"],
                f"{row['sizes'][0]:,}",
                f"{row['sizes'][-1]:,}",
                duration(took[0]),
                duration(took[-1]),
                f"{line['cropfit']['exponent']:.2f}",
                f"{bare['exponent']:.2f}" if bare else "",
                "above linear" if line["above_linear"] else "",
            ]
