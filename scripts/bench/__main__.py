"""What cropfit's bookkeeping costs, beside the bare limit, xyzpy and the obvious alternatives.

    python scripts/bench [--quick | --full] [--rounds N] [--growth] [--rows NAME ...]
                         [--out FOLDER] [--keep]

Every figure is the median of a few rounds, all contenders in turns, each in a fresh process.
Memory is the peak over what was held before. Writes speed.json, speed.md and pictures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import growth
import keep
import machine
import picture
import tables
from figures import summarize
from rows import ROWS
from turns import Ground, Match

FORMAT = 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", dest="sizes", action="store_const", const="quick")
    sizes.add_argument("--full", dest="sizes", action="store_const", const="full")
    parser.set_defaults(sizes="normal")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true", help="how cost grows, instead")
    parser.add_argument("--most", type=int, default=10**7, help="largest size of --growth")
    parser.add_argument("--without", nargs="+", default=[], metavar="CONTENDER")
    parser.add_argument("--disk", type=Path, help="where to run; default: the temporary folder")
    parser.add_argument("--out", type=Path, default=Path("bench-output"))
    parser.add_argument("--keep", action="store_true", help="put the figures into docs and README")
    return parser.parse_args()


def say(text: str) -> None:
    """What is being done, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(wanted: argparse.Namespace, ground: Ground, name: str) -> dict[str, Any]:
    """All rounds of one row."""
    begun = time.monotonic()
    kind = ROWS[name]
    row = kind(kind.sizes.named(wanted.sizes))
    who = [each for each in kind.contenders() if each not in wanted.without]
    rounds = 1 if kind.once else wanted.rounds
    found = Match(ground, name, row.size, who).play(rounds, say)
    return {
        "title": row.describe(),
        "limit": row.limit,
        "place": row.place,
        "size": row.size,
        "per": row.per,
        "divisor": row.size[row.per] if row.per else 1,
        "took": round(time.monotonic() - begun, 1),
        "lines": summarize(row, found),
    }


def main() -> None:
    wanted, begun = arguments(), time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made goes then, too
    stem = "growth" if wanted.growth else "speed"
    with Ground(wanted.disk) as ground:
        report = {
            "format": FORMAT,
            "date": datetime.date.today().isoformat(),
            "machine": machine.describe(ground.disk),
            "sizes": wanted.sizes,
            "rounds": wanted.rounds,
        }
        names = wanted.rows or list(ROWS)
        if wanted.growth:
            report["growth"] = grow(wanted, ground, names)
        else:
            report["rows"] = {name: measure(wanted, ground, name) for name in names}
        say("")
        report["minutes"] = round((time.monotonic() - begun) / 60, 1)
        wanted.out.mkdir(parents=True, exist_ok=True)
        (wanted.out / f"{stem}.json").write_text(json.dumps(report, indent=1) + "\n")
        show(report, wanted.out / f"{stem}.svg")
        if wanted.keep:
            keep.keep(report, wanted.out, stem)
        say("removing what was made ...")  # seconds to minutes
    say("")


def grow(wanted: argparse.Namespace, ground: Ground, names: list[str]) -> dict[str, Any]:
    """Every row that tells how it grows, at all its sizes."""
    names = [name for name in names if ROWS[name].grows]
    return {name: growth.measure(ground, name, wanted.most, wanted.rounds, say) for name in names}


def show(report: dict[str, Any], path: Path) -> None:
    """On the terminal, as Markdown, and as a picture."""
    if "growth" in report:
        head, cells = tables.GROWTH_HEAD, list(tables.growth_cells(report))
        picture.draw_growth(report, path)
    else:
        head, cells = tables.HEAD, list(tables.cells(report))
        picture.draw(report, path)
    told = keep.where(report) + "\n" + tables.markdown(head, cells)
    path.with_suffix(".md").write_text(told)
    tables.show(head, cells, f"{report['date']}, {report['minutes']} min; {path.parent}/")


if __name__ == "__main__":
    main()
