"""One contender of one row in this process: python child.py ROW CONTENDER PHASE SIZE.

Phase "prepare" makes its folder ready; "run" and "cold" measure, the former after a small run
in a folder of its own, so that no import is counted. The last line printed is JSON.
"""

from __future__ import annotations

import json
import os
import sys
import warnings

from contest import Row
from meter import Meter
from rows import ROWS


def prepare(row: Row, who: str) -> None:
    make = getattr(type(row), f"prepare_{who}", None)
    if make is not None:
        make(row)


def warm_up(row: Row, who: str) -> None:
    here = os.getcwd()
    os.makedirs("warm", exist_ok=True)
    os.chdir("warm")
    small = type(row)(row.sizes.named("quick"))
    if not os.path.exists("ready"):
        prepare(small, who)
        with open("ready", "w"):
            pass
    getattr(small, who)(Meter())
    os.chdir(here)


def main() -> None:
    name, who, phase, size = sys.argv[1:]
    warnings.simplefilter("ignore")
    row, meter = ROWS[name](json.loads(size)), Meter()
    if phase == "prepare":
        prepare(row, who)
    else:
        if phase == "run":
            warm_up(row, who)
        getattr(row, who)(meter)
    print("\n" + json.dumps({"laps": meter.laps, "notes": meter.notes}))


if __name__ == "__main__":
    main()
