"""The face: what users type, from the first line to the last."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import python, tree

import cropfit as cf


def energy(temperature: float, size: int = 4) -> float:
    return temperature * size


def test_the_whole_way_from_function_to_file(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = cf.Crop(energy, var_names=["energy"])
    crop.sow_combos({"temperature": [0.1, 0.2], "size": [8, 16]})
    crop.grow()
    ds = crop.reap()
    said = capsys.readouterr().out.splitlines()

    assert crop.name == "energy"
    assert ds.energy.sel(temperature=0.2, size=8).item() == pytest.approx(1.6)
    assert said[0] == f"Sowed 4 cases in 4 batches: {here}/.crop-energy"
    assert said[1].startswith("4 batches grown")
    assert said[2].startswith(f"Saved and verified: {here}/energy.nc.")
    assert len(said) == 3
    assert tree(here) == ["energy.nc"]


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (energy, "energy"),
        (functools.partial(energy, size=3), "energy"),
        (lambda temperature: 1, "lambda"),
        (np.sin, "sin"),
    ],
)
def test_a_crop_is_named_after_its_function(here: Path, fn: Any, name: str) -> None:
    assert cf.Crop(fn).name == name


@pytest.mark.parametrize("name", ["", "a/b", " a", "a\n", "x" * 201, 3, ".", ".."])
def test_a_name_that_cannot_be_a_folder_is_refused(here: Path, name: Any) -> None:
    if name in (".", ".."):
        assert cf.Crop(energy, name).location == f"{here}/.crop-{name}"
        return
    with pytest.raises(cf.DesignError, match="cannot name a crop"):
        cf.Crop(energy, name)


def test_nothing_to_go_by_is_refused(here: Path) -> None:
    with pytest.raises(cf.DesignError, match="needs a function or a name"):
        cf.Crop()
    with pytest.raises(cf.DesignError, match="has no function to sow"):
        cf.Crop(name="x").sow_combos({"a": [1]})


def test_making_a_crop_touches_nothing(here: Path) -> None:
    cf.Crop(energy, parent_dir=here / "later")

    assert tree(here) == []


def test_a_crop_stays_where_it_was_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a").mkdir()
    (here / "b").mkdir()
    monkeypatch.chdir(here / "a")
    crop = cf.Crop(energy, verbosity=0)
    monkeypatch.chdir(here / "b")
    crop.sow_combos({"temperature": [1.0]})

    assert tree(here)[:2] == ["a", "a/.crop-energy"]


def test_another_process_needs_the_name_alone(here: Path) -> None:
    cf.Crop(energy, "it", var_names="e", verbosity=0).sow_combos({"temperature": [1.0, 2.0]})
    python("import cropfit; cropfit.grow(2, crop='it')")
    python("import cropfit; print(cropfit.Crop(name='it').grow())")

    assert cf.Crop(name="it", verbosity=0).reap().e.values.tolist() == [4.0, 8.0]


def test_options_of_the_crop_can_be_overruled_when_sowing(here: Path) -> None:
    crop = cf.Crop(
        energy, verbosity=0, var_names="e", batchsize=2, constants={"size": 1}, shuffle=1
    )
    crop.sow_combos({"temperature": range(8)})
    assert crop.num_sown_batches == 4
    crop.sow_combos(
        {"temperature": range(8)},
        batchsize=4,
        constants={"size": 3},
        shuffle=False,
        exists="replace",
    )
    assert crop.num_sown_batches == 2
    crop.grow(1)

    assert crop.peek().e.to_series().dropna().to_dict() == {0: 0, 1: 3, 2: 6, 3: 9}


def test_num_batches_overrules_a_batchsize_of_the_crop(here: Path) -> None:
    crop = cf.Crop(energy, verbosity=0, batchsize=2)
    crop.sow_combos({"temperature": range(9)}, num_batches=3)

    assert crop.num_sown_batches == 3


def test_sow_cases_takes_what_sow_combos_takes(here: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"temperature": [1.0, 2.0, 3.0], "size": [2, 2, 5]})
    crop = cf.Crop(energy, verbosity=0, var_names="e")
    crop.sow_cases(["temperature", "size"], frame, batchsize=2, seed=3)
    crop.grow()

    assert crop.num_sown_batches == 2
    assert [float(e) for e in crop.reap(layout="case").e] == [2, 4, 15]


def test_every_name_that_is_promised_is_there_and_documented() -> None:
    for name in cf.__all__:
        each = getattr(cf, name)
        assert name in dir(cf)
        if name != "__version__":
            assert inspect.getdoc(each), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cf.nothing  # noqa: B018


@pytest.mark.parametrize("verbosity", [0, 1, 2])
def test_verbosity_zero_says_nothing_and_no_bar_is_drawn_without_a_terminal(
    here: Path, capsys: pytest.CaptureFixture[str], verbosity: int
) -> None:
    crop = cf.Crop(energy, var_names="e", verbosity=verbosity)
    crop.sow_combos({"temperature": [1.0]})
    crop.grow()
    crop.reap(wait=True)
    said = capsys.readouterr()

    assert bool(said.out) == (verbosity > 0)
    assert said.err == ""
