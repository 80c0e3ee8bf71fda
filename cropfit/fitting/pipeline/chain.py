"""What CosmoSIS wrote, as a fit.

The first line of its text output names the columns: ``section--name`` of what was varied,
then what was derived, then prior, likelihood, posterior and weights. Other lines with a
``#`` tell of the run.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DamagedError, NotFoundError
from cropfit.fitting.result import Fit

__all__ = ["read_chain", "short_names"]

SPLIT = "--"
_TOLD = re.compile(r"#\s*([A-Za-z_]\w*)\s*=\s*(.*)")


def read_chain(path: str, fixed: Mapping[str, float]) -> Fit:
    """The fit that is in a text file of CosmoSIS; its names are ``section--name``.

    Parameters
    ----------
    path : str
    fixed : mapping
        Name → value of what was not varied.

    Raises
    ------
    NotFoundError
        There is no such file.
    DamagedError
        It has no header, no ``post``, no rows, or rows of another length.
    """
    header, told, rows = _read(path)
    table = np.array(rows, float).reshape(len(rows), len(header))
    columns = dict(zip(header, table.T, strict=True))
    if "post" not in columns or not rows:
        raise DamagedError(f"{path} has {len(rows)} rows and the columns {', '.join(header)}.")
    described = [name for name in header if SPLIT in name]
    varied = int(told.get("n_varied", len(described)))
    names, derived = described[:varied], described[varied:]
    prior = columns.get("prior", np.zeros(len(rows)))
    like = columns.get("like", columns["post"] - prior)
    return Fit(
        names=tuple(names),
        samples=np.stack([columns[name] for name in names], axis=1),
        log_weights=_log_weights(columns),
        log_likelihood=like,
        log_prior=prior,
        derived={name: columns[name] for name in derived},
        fixed={name: value for name, value in fixed.items() if name not in described},
        labels={name: name for name in (*names, *fixed, *derived)},
        log_evidence=_number(told, "log_z"),
        log_evidence_error=_number(told, "log_z_error"),
        calls=int(_number(told, "evaluations", len(rows))),
        sampler=f"cosmosis {told.get('sampler', '')}".strip(),
        settings={name: value for name, value in told.items() if name not in ("timestamp", "uuid")},
        why="" if told.get("complete", "1") == "1" else "CosmoSIS says that it is not complete",
        converged=told.get("complete", "1") == "1",
    )


def _read(path: str) -> tuple[list[str], dict[str, str], list[list[str]]]:
    told: dict[str, str] = {}
    rows: list[list[str]] = []
    try:
        with open(path, encoding="utf-8") as file:
            first = file.readline()
            header = [name.lower() for name in first.lstrip("#").split()]
            if not first.startswith("#") or not header:
                raise DamagedError(f"{path} does not begin with the names of columns.")
            for number, line in enumerate(file, 2):
                if line.startswith("#"):
                    if found := _TOLD.match(line):
                        told[found[1]] = found[2]
                elif line.strip():
                    rows.append(line.split())
                    if len(rows[-1]) != len(header):
                        raise DamagedError(
                            f"{path}, line {number} has {len(rows[-1])} numbers for "
                            f"{len(header)} columns."
                        )
    except FileNotFoundError as error:
        raise NotFoundError(f"CosmoSIS wrote no {path}") from error
    return header, {name: value.strip() for name, value in told.items()}, rows


def _log_weights(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    if "log_weight" in columns:
        return columns["log_weight"]
    weights = columns.get("weight", np.ones(len(columns["post"])))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights))


def _number(told: Mapping[str, str], name: str, default: float = math.nan) -> float:
    try:
        return float(told[name])
    except (KeyError, ValueError):
        return default


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Name without its section → the whole one, where only one section has it."""
    whole = [name for name in names if SPLIT in name]
    times = Counter(name.partition(SPLIT)[2] for name in whole)
    short: dict[str, Any] = {name.partition(SPLIT)[2]: name for name in whole}
    return {name: each for name, each in short.items() if times[name] == 1}
