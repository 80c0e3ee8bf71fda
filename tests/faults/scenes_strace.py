"""A crop to be harmed from outside; run by ``test_system_calls.py``.

    python scenes_strace.py FOLDER sow|grow|reap|finish

Before and after the act it asks for files whose names stand in the trace as marks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import cropfit as cf
from faults.harness import Log

XS = range(6)


def crop_in(folder: Path) -> cf.Crop:
    log = Log(folder / "log")

    def work(x: int, thing: Any) -> tuple[float, np.ndarray[Any, Any]]:
        log.add("start", x)
        return 1.5 * x + len(thing), np.arange(4000.0) + x

    return cf.Crop(
        work,
        "it",
        parent_dir=folder / "field",
        batchsize=2,
        var_names=["z", "line"],
        var_dims={"line": ["k"]},
        verbosity=0,
    )


def sow(folder: Path) -> None:
    crop_in(folder).sow_combos({"x": XS, "thing": {"a": [1, 2]}}, seed=1)


def grow(folder: Path) -> None:
    crop_in(folder).grow()


def reap(folder: Path) -> None:
    crop_in(folder).reap()


def finish(folder: Path) -> None:
    """All that is left to do, and a look at the outcome."""
    crop = crop_in(folder)
    if crop.is_prepared() or not (folder / "field" / "it.nc").exists():
        sow(folder)
        crop.grow_missing()  # the function itself may have been hit, too
        crop.reap()
    sow(folder)
    crop.delete()
    with xr.open_dataset(folder / "field" / "it.nc") as ds:
        assert ds["z"].values.ravel().tolist() == [1.5 * x + 2 for x in XS]
        lines = ds["line"].values.reshape(6, 4000)
        assert (lines == np.arange(4000.0) + np.array(XS)[:, None]).all()
    assert os.listdir(folder / "field") == ["it.nc"]


if __name__ == "__main__":
    where, act = Path(sys.argv[1]), globals()[sys.argv[2]]
    os.access("/the-act-begins", os.F_OK)
    act(where)
    os.access("/the-act-ends", os.F_OK)
