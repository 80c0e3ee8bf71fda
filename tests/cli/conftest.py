"""Crops to try commands on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from steps import Gate, Tally

import cropfit as cf

Sow = Callable[..., cf.Crop]


@pytest.fixture
def sow(here: Path) -> Sow:
    """Sow a function over x in a crop of its own."""

    def make(function: Any, cases: int = 6, name: str = "grid", **options: Any) -> cf.Crop:
        given = {"var_names": "y", "batchsize": 2, "verbosity": 0, **options}
        crop = cf.Crop(fn=function, name=name, **given)
        crop.sow_combos({"x": range(cases)}, seed=1)
        return crop

    return make


@pytest.fixture
def plain(sow: Sow) -> cf.Crop:
    return sow(lambda x: 10 * x)


@pytest.fixture
def odd_fails(sow: Sow) -> cf.Crop:
    """Batches 1 to 3 of two cases each; the case 3 in batch 2 raises."""

    def no_three(x):
        if x == 3:
            raise ValueError("not three\nreally not")
        return 10 * x

    return sow(no_three)


@pytest.fixture
def in_case_3(sow: Sow, tmp_path: Path) -> tuple[cf.Crop, Gate, Tally]:
    """A crop of one batch whose case 3 stops at a gate."""
    gate, tally = Gate(tmp_path / "gate"), Tally(tmp_path / "calls")

    def stop_at_three(x):
        tally.add(x)
        if x == 3 and os.path.exists(f"{gate.folder}/closed"):
            gate.stop_here()
        return x

    (tmp_path / "gate" / "closed").touch()
    return sow(stop_at_three, batchsize=6), gate, tally
