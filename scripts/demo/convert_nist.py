"""Turn a folder of NIST StRD nonlinear regression files (.dat) into this demo's CSV files.

    python scripts/demo/convert_nist.py FOLDER

The .dat files are those of https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml. Numbers keep
every digit that NIST gives; what changes is only the layout: comments that name each certified
value, then one row an observation, predictors first.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
PARAMETER = re.compile(r"\s*(b\d+) =\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s*$")


def section(lines: list[str], title: str) -> list[str]:
    """The text after ``title:`` up to the next title, stripped, without empty lines."""
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{title}:"))
    text = [lines[first].split(":", 1)[1].strip()]
    for line in lines[first + 1 :]:
        if line[:1].strip():
            break
        text.append(line.strip())
    return [line for line in text if line]


def model_formula(lines: list[str]) -> str:
    """The model as NIST writes it, on one line, without the error term."""
    text = " ".join(line for line in section(lines, "Model")[2:] if not line.startswith("pi ="))
    formula = re.split("starting values", text, flags=re.IGNORECASE)[0]
    return re.sub(r"\s+", " ", formula).strip().removesuffix("+ e").strip()


def convert(path: Path) -> str:
    """The CSV text of one .dat file."""
    lines = path.read_text(encoding="ascii").splitlines()
    parameters = [match.groups() for line in lines if (match := PARAMETER.match(line))]
    (rss,) = section(lines, "Residual Sum of Squares")
    (count,) = section(lines, "Number of Observations")
    difficulty = next(
        word
        for line in lines
        if (word := line.split(" Level")[0].strip()) in ("Lower", "Average", "Higher")
    )
    start = max(i for i, line in enumerate(lines) if line.startswith("Data:"))
    columns = lines[start].split()[1:]
    rows = [[repr(float(word)) for word in line.split()] for line in lines[start + 1 :] if line]
    if len(rows) != int(count) or any(len(row) != len(columns) for row in rows):
        raise ValueError(f"{path}: {len(rows)} rows of {columns}, {count} observations expected")
    return "\n".join(
        [
            f"# {path.stem}: a problem of NIST's Statistical Reference Datasets (StRD), nonlinear",
            "# regression; NIST/ITL, public domain, https://www.itl.nist.gov/div898/strd/",
            f"# reference: {re.sub(r' +', ' ', ' '.join(section(lines, 'Reference')))}",
            f"# difficulty: {difficulty}",
            f"# model: {model_formula(lines)}",
            "# parameter, start 1, start 2, certified, certified standard deviation",
            *(f"# {', '.join(parameter)}" for parameter in parameters),
            f"# certified residual sum of squares: {rss}",
            ",".join([*columns[1:], columns[0]]),
            *(",".join([*row[1:], row[0]]) for row in rows),
            "",
        ]
    )


def main() -> None:
    """Convert every .dat file of the folder named on the command line."""
    for path in sorted(Path(sys.argv[1]).glob("*.dat")):
        (HERE / "nist" / f"{path.stem}.csv").write_text(convert(path), encoding="ascii")


if __name__ == "__main__":
    main()
