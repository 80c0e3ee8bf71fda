"""What the README shows is so: its code runs, its commands and options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import xarray as xr

import cropfit
from cropfit.cli import main

README = (Path(cropfit.__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run(code: str, folder: Path) -> str:
    """Run a program as a script of its own."""
    script = folder / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    script.unlink()
    return done.stdout


def test_the_example_on_the_first_screen_runs_as_written(tmp_path):
    example = blocks("python")[0]
    assert len([line for line in example.splitlines() if line.strip()]) <= 20

    printed = run(example, tmp_path)

    assert "Name: energy" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["oscillator.nc"]
    with xr.open_dataset(tmp_path / "oscillator.nc") as ds:
        assert dict(ds.sizes) == {"frequency": 3, "damping": 4, "time": 201}
        wanted = np.exp(-ds.damping * ds.time) * np.cos(ds.frequency * ds.time)
        xr.testing.assert_allclose(ds.x, wanted.transpose(*ds.x.dims))


def test_all_code_runs_from_top_to_bottom(tmp_path):
    run("".join(blocks("python")), tmp_path)
    saved = sorted(path.name for path in tmp_path.iterdir())
    (cultivated,) = tmp_path.glob("population-*.nc")
    fitted = ["decay", "decay.fit", "decay.nc", "decay.png", "decays.ecsv", "decays.nc"]
    reaped = ["far.nc", "oscillator.nc", "populations-all.nc", "stars.nc", "stars.png", "walks.nc"]
    kept = ["shots.csv", "some.tar", cultivated.name]
    assert saved == sorted([*fitted, *reaped, *kept])
    assert len((tmp_path / "shots.csv").read_text().splitlines()) == 41
    with xr.open_dataset(tmp_path / "stars.nc") as ds:
        assert dict(ds.sizes) == {"case": 36}
        assert ds.flux.attrs["units"] == "Jy"
    with xr.open_dataset(tmp_path / "walks.nc") as ds:
        assert "case_seconds" in ds


COMMANDS = [
    line.partition("#")[0]
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("cropfit ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_is_shown_can_be_read(line):
    _, name, *words = shlex.split(line)
    command = main.commands[name]
    context = click.Context(command, info_name=name)
    command.parse_args(context, words)


def test_every_command_is_shown():
    assert {line.split()[1] for line in COMMANDS} == set(main.commands)


def test_every_method_that_is_named_exists():
    named = set(re.findall(r"`(?:crop\.)?(\w+)\(\)`", README))
    assert len(named) > 8
    assert [name for name in named if not hasattr(cropfit.Crop, name)] == []
