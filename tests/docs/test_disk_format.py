"""The documented reader, which knows nothing of cropfit, reads what cropfit wrote."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cropfit as cf

READER = Path(__file__).parents[2] / "docs" / "read_crop.py"


@pytest.fixture
def reader() -> Any:
    spec = importlib.util.spec_from_file_location("read_crop", READER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(a: int, b: float, star: Any) -> tuple[float, Any, str, Any]:
    """One output of every kind of column."""
    if a == 3:
        raise ValueError("not three")
    return a * b, np.arange(a * 2.0).reshape(a, 2), f"{a}·{b}", np.array([a, b]) + star.sum()


@pytest.mark.parametrize(
    "options",
    [{}, {"shuffle": 3, "num_batches": 4}, {"batchsize": 4}, {"cost": lambda a, b, star: a}],
)
def test_a_reader_written_from_the_specification_finds_every_result(
    here: Path, reader: Any, options: dict[str, Any]
) -> None:
    crop = cf.Crop(results, "grid", var_names=["z", "ragged", "text", "y"], verbosity=0)
    crop.sow_combos(
        {"a": [1, 2, 3], "star": {"Vega": np.ones(3), "Sirius": np.ones(2)}},
        [{"b": 0.5}, {"b": 2.5}],
        **options,
    )
    crop.grow()
    crop.ignore()

    stars = {"Vega": np.ones(3), "Sirius": np.ones(2)}
    found = list(reader.read_crop(crop.location))
    for given, result in found:
        z, ragged, text, y = results(given["a"], given["b"], stars[given["star"]])
        assert (result["z"], result["text"]) == (z, text)
        np.testing.assert_array_equal(result["ragged"], ragged)
        np.testing.assert_array_equal(result["y"], y)
    merged = crop.reap(to=False, allow_incomplete=True, diagnostics=True)
    assert len({tuple(given.items()) for given, _ in found}) == len(found)
    in_grown = {(given["a"], given["b"], given["star"]) for given, _ in found}
    status = merged["case_status"]
    for a, b, star in in_grown:
        assert status.sel(a=a, b=b, star=star) == 0


def test_it_reads_many_batches_and_those_that_were_appended(here: Path, reader: Any) -> None:
    crop = cf.Crop(lambda x: x * 2, "many", var_names="z", verbosity=0)
    crop.sow_combos({"x": range(1500)}, batchsize=7)
    crop.sow_combos({"x": range(1500, 1600)}, batchsize=3, exists="append")
    crop.grow()

    found = {given["x"]: int(result["z"]) for given, result in reader.read_crop(crop.location)}
    assert found == {x: 2 * x for x in range(1600)}


def test_it_reads_a_crop_whose_batches_stand_in_shards(
    here: Path, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cropfit.work.sow.SHARDED_FROM", 1000)
    crop = cf.Crop(lambda x: x * 2, "many", var_names="z", verbosity=0)
    crop.sow_combos({"x": range(2345)}, batchsize=1)
    crop.grow([1, 999, 1000, 2345])

    found = {given["x"]: int(result["z"]) for given, result in reader.read_crop(crop.location)}
    assert found == {0: 0, 998: 1996, 999: 1998, 2344: 4688}


def test_it_needs_nothing_of_cropfit(here: Path) -> None:
    crop = cf.Crop(lambda x: x * 2, "grid", var_names="z", verbosity=0)
    crop.sow_combos({"x": [21]})
    crop.grow()
    code = f"import sys; sys.modules['cropfit'] = None; sys.argv = ['', {crop.location!r}]; "
    code += f"exec(open({str(READER)!r}).read())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True
    )
    assert "'x': 21" in done.stdout
    assert "42" in done.stdout
