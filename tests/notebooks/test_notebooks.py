"""Each notebook runs from top to bottom, and what it promises is so."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from executed import PATIENCE, Executed, execute, outputs
from run_notebooks import NOTEBOOKS, digest

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
HEAVIEST = 300_000  # bytes of a notebook, pictures included
FOREIGN = re.compile(r"/(?!home/ada/)(?:home|root|tmp|Users|var|private|opt|usr/local)/")

takes_a_while = pytest.mark.timeout(PATIENCE + 60)


def run(name: str, folder: Path, pictures: int) -> Executed:
    """Run a notebook; it must show so many pictures, no warning, and leave nothing else."""
    before = sorted(NOTEBOOKS.iterdir())
    done = execute(name, folder)
    assert done.pictures == pictures
    assert [output for output in done.outputs if output.get("name") == "stderr"] == []
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.ipynb", done.folder.name]
    assert list(done.folder.glob(".crop-*")) == []
    assert sorted(NOTEBOOKS.iterdir()) == before
    return done


def named(done: Executed) -> list[str]:
    return sorted(path.name for path in done.folder.iterdir())


@takes_a_while
def test_a_sweep_meets_a_failure_mends_it_and_loses_nothing(tmp_path):
    done = run("01-sweep", tmp_path, pictures=2)
    assert "170 batches grown, 51 failed" in done.text
    with xr.open_dataset(done.folder / "throws.nc") as ds:
        assert dict(ds.sizes) == {"speed": 13, "angle": 17, "moment": 50, "axis": 2}
        assert bool(ds.distance.notnull().all())
        assert (ds.distance.units, ds.speed.units) == ("m", "m/s")
        assert float(ds.distance.max()) == pytest.approx(83, abs=1)


@takes_a_while
def test_a_killed_workers_batch_is_taken_over_and_the_numbers_are_those_of_a_quiet_run(tmp_path):
    done = run("02-grow-anywhere", tmp_path, pictures=2)
    assert re.search(r"killed inside batch \d{6}$", done.text, re.MULTILINE)
    assert "the second worker ended with exit code 0" in done.text
    assert "72 cases; identical to the last bit: True" in done.text
    with xr.open_dataset(done.folder / "ising.nc") as ds:
        assert bool(ds.magnetisation.notnull().all())
        assert np.all(ds.magnetisation[0] > 0.9)


@takes_a_while
def test_a_harvest_fills_its_holes_and_refuses_what_contradicts_it(tmp_path):
    done = run("03-harvest", tmp_path, pictures=4)
    assert "computed: 32 cases" in done.text
    assert "10 of 70 cases are missing" in done.text
    assert "missing: []" in done.text
    assert "Nothing was written." in done.text
    assert named(done) == ["epidemic.nc", "epidemic.parquet"]
    with xr.open_dataset(done.folder / "epidemic.nc") as ds:
        assert bool(ds.peak.sel(seeds=1e-5).notnull().all())
        assert int(ds.peak.sel(seeds=1e-4).notnull().sum()) == 2
    assert len(pd.read_parquet(done.folder / "epidemic.parquet")) == 128 + 256


@takes_a_while
def test_a_catalogue_finds_what_nist_has_certified_and_the_law_that_the_data_favour(tmp_path):
    done = run("04-catalogue", tmp_path, pictures=4)
    assert named(done) == ["nist-plots", "nist.csv", "nist.ecsv", "nist.nc"]
    assert len(list((done.folder / "nist-plots").iterdir())) == 18
    with xr.open_dataset(done.folder / "nist.nc") as ds:
        assert ds.sizes["object"] == 9
        certified = {"Misra1a": 238.94212918, "Misra1c": 636.42725809, "Rat42": 72.462237576}
        for name, value in certified.items():
            low, median, high = ds.b1.sel(object=name).values
            assert abs(median - value) < (high - low) / 2
        first, second, third = ds.log_evidence.sel(object=["Misra1a", "Misra1b", "Misra1c"]).values
        assert third > second > first


@takes_a_while
def test_a_pipeline_hands_on_what_it_found_and_is_not_done_twice(tmp_path):
    done = run("05-pipeline", tmp_path, pictures=3)
    assert "{'look': True, 'coarse': True, 'fine': True}" in done.text
    assert "What differs: the data." in done.text
    assert named(done) == ["galaxy"]
    ratio = float(re.search(r"\[N II\]/Hα = ([\d.]+)", done.text)[1])
    assert ratio == pytest.approx(0.4, abs=0.2)


@takes_a_while
def test_a_crop_for_a_cluster_is_grown_here_where_there_is_none(tmp_path):
    done = run("06-cluster", tmp_path, pictures=1)
    assert "#SBATCH --array=2-9" in done.text
    assert "#$ -t 2-9" in done.text
    assert "#CONDOR queue 4" in done.text
    with xr.open_dataset(done.folder / "pendulums.nc") as ds:
        assert ds.flip.shape == (36, 120)
        assert bool(ds.flip.notnull().all())
        assert np.isinf(ds.flip.sel(upper=5, lower=1.5, method="nearest"))


# -- as they are committed ---------------------------------------------------------------


def committed(name: str):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def test_there_are_six_and_each_names_what_to_read_next():
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04", "05", "06"]
    for name in NAMES:
        last = committed(name).cells[-1]
        assert last.cell_type == "markdown"
        assert "**Next:**" in last.source


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_was_made_by_the_code_as_it_stands(name):
    notebook = committed(name)
    nbformat.validate(notebook)
    told = f"{name} was changed since it was run: make notebooks ARGS={name}"
    assert notebook.metadata["cropfit"]["shown_by"] == digest(notebook), told
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == [*range(1, len(counts) + 1)], told


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_small_and_tells_nothing_of_the_machine_it_ran_on(name):
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < HEAVIEST
    shown = "\n".join(
        [output.get("text", "") for output in outputs(committed(name))]
        + [
            text
            for output in outputs(committed(name))
            for kind, text in output.get("data", {}).items()
            if kind.startswith("text/")
        ]
    )
    assert FOREIGN.findall(shown) == []


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    prose = "\n".join(c.source for c in committed(name).cells if c.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose) if "://" not in link]
    assert links
    assert [link for link in links if not (NOTEBOOKS / link).is_file()] == []
