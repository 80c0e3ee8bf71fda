"""Reads and writes the files of CosmoSIS, as far as pipelines see them; its sampler is a grid.

The contract in test_pipeline_cosmosis.py holds for it and for the real one.
"""

from __future__ import annotations

import argparse
import configparser
import importlib.util
import itertools
from collections.abc import Iterable
from typing import Any


def read(path: str, overrides: Iterable[str]) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    with open(path) as file:
        parser.read_file(file)
    for each in overrides:
        name, _, value = each.partition("=")
        section, _, option = name.partition(".")
        if section not in parser:
            parser.add_section(section)
        parser.set(section, option, value)
    return parser


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("inifile")
    arguments.add_argument("--mpi", action="store_true")
    arguments.add_argument("-p", nargs="*", default=[])
    arguments.add_argument("-v", nargs="*", default=[])
    given = arguments.parse_args()
    ini = read(given.inifile, given.p)
    values = read(ini["pipeline"]["values"], given.v)
    module = ini["pipeline"]["modules"].split()[0]
    spec = importlib.util.spec_from_file_location(module, ini[module]["file"])
    code: Any = importlib.util.module_from_spec(spec) if spec else None
    if spec and spec.loader:
        spec.loader.exec_module(code)
    options = {(module, "noise"): float(ini[module]["noise"])}
    config = code.setup(options)
    specs = {
        (s, n): [*map(float, t.split())] for s in values.sections() for n, t in values[s].items()
    }
    varied = [name for name, spec in specs.items() if len(spec) == 3]
    grid = [[lo + (hi - lo) * k / 100 for k in range(101)] for lo, _, hi in map(specs.get, varied)]
    rows = []
    for point in itertools.product(*grid):
        block: dict[Any, float] = {name: spec[0] for name, spec in specs.items()}
        block.update(zip(varied, point, strict=True))
        code.execute(block, config)
        like = block["likelihoods", "line_like"]
        rows.append([*point, -1.0, like, like - 1.0])
    best = max(rows, key=lambda row: row[-1])
    with open(ini["output"]["filename"], "w") as file:
        print(
            "#" + "\t".join([*("--".join(v) for v in varied), "prior", "like", "post"]), file=file
        )
        print(f"#sampler=grid\n#n_varied={len(varied)}", file=file)
        for row in [best] if ini["runtime"]["sampler"] == "maxlike" else rows:
            print(*row, sep="\t", file=file)
        print("#complete=1", file=file)


if __name__ == "__main__":
    main()
