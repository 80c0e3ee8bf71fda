"""Crops of cropfit and of xyzpy, as the rows want them: silent, and with one output ``r``."""

from __future__ import annotations

from typing import Any

NAME = "bench"


def ours(function: Any, **options: Any) -> Any:
    import cropfit as cf

    return cf.Crop(function, NAME, var_names=["r"], verbosity=0, **options)


def theirs(function: Any, **options: Any) -> Any:
    """A Crop of xyzpy; `var_dims` and `constants` are of its Runner."""
    import xyzpy

    told = {key: options.pop(key) for key in ("var_dims", "constants") if key in options}
    return xyzpy.Runner(function, ["r"], **told).Crop(name=NAME, **options)


def grow_theirs(crop: Any) -> None:
    crop.grow(crop.missing_results(), verbosity=0)
