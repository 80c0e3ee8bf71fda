"""The figures where people read them: docs/speed/ and the short table of README.md."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import tables

ROOT = Path(__file__).parents[2]
SHORT = (
    "grid",
    "trivial_cases",
    "fresh_process",
    "eight_workers",
    "looking",
    "floats",
    "arrays_in_memory",
    "arrays_to_netcdf",
    "dynesty_alone",
)
COLUMNS = 7  # of the table's head: without others and marks
MARKED = re.compile(r"(<!-- bench: .*? -->\n).*?(<!-- end of bench -->)", re.DOTALL)


def keep(report: dict[str, Any], out: Path, stem: str) -> None:
    """Copy what was written; with the rows, put the short table into the README."""
    docs = ROOT / "docs" / "speed"
    docs.mkdir(exist_ok=True)
    for ending in ("json", "md", "svg"):
        shutil.copyfile(out / f"{stem}.{ending}", docs / f"{stem}.{ending}")
    if "rows" in report:
        readme = ROOT / "README.md"
        text = readme.read_text()
        readme.write_text(MARKED.sub(lambda found: found[1] + short(report) + found[2], text))


def short(report: dict[str, Any]) -> str:
    chosen = {name: report["rows"][name] for name in SHORT if name in report["rows"]}
    lines = [line[:COLUMNS] for line in tables.cells({"rows": chosen})]
    return "\n" + tables.markdown(tables.HEAD[:COLUMNS], lines) + "\n" + where(report) + "\n"


def where(report: dict[str, Any]) -> str:
    """The machine and the day, as a sentence."""
    of, rounds = report["machine"], report["rounds"]
    return (
        f"Measured on {report['date']}: {of['cores']} cores of {of['processor']}, "
        f"{of['memory_gib']} GiB, {of['file_system']}, {of['system']}, Python {of['python']}; "
        f"{rounds} round{'s' if rounds > 1 else ''}, load {of['load']} at the start.\n"
    )
