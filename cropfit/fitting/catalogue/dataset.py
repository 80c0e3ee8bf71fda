"""The Dataset of a whole catalogue: dimensions object, quantile and, if kept, sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.fitting.catalogue.rows import DONE, NUMBERS, Row

if TYPE_CHECKING:
    import xarray as xr

    from cropfit.fitting.catalogue.kept import Kept

QUANTILES = {0.16: "lower", 0.5: "median", 0.84: "upper"}


def to_dataset(
    rows: list[Row], draws: Mapping[Any, str], kept: Kept, attrs: Mapping[str, Any]
) -> xr.Dataset:
    """Percentiles, best fits, evidences and posterior draws of all objects.

    Parameters
    ----------
    rows : list of dict
        With a ``status`` each.
    draws : mapping
        Id → where they are among those that are kept.
    kept : Kept
        Draws, which are read when they are asked for.
    attrs : mapping
        Of the Dataset.

    Returns
    -------
    xarray.Dataset
        ``<param>`` (object, quantile), ``<param>_best`` (object), ``<param>_sample`` (object,
        sample) where draws were kept, and a number an object of each diagnostic.
    """
    import xarray as xr

    size = len(rows)
    names = dict.fromkeys(name for row in rows for name in row.get("parameters", {}))
    data: dict[str, Any] = {"status": ("object", np.array([row["status"] for row in rows], "U"))}
    units = _units(rows)
    for name in names:
        levels = np.full((size, len(QUANTILES)), np.nan)
        best = np.full(size, np.nan)
        for place, row in enumerate(rows):
            each = row.get("parameters", {}).get(name)
            if each:
                levels[place] = [each[key] for key in QUANTILES.values()]
                best[place] = each["best_fit"]
        unit = {"units": units[name]} if name in units else {}
        data[name] = (("object", "quantile"), levels, unit)
        data[f"{name}_best"] = ("object", best, unit)
    data |= _samples(rows, draws, kept, list(names), units)
    for column, key in NUMBERS.items():
        data[column] = ("object", np.array([float(row.get(key, np.nan)) for row in rows]))
    data["seconds"] = (*data["seconds"], {"units": "s"})
    data |= _others(rows, taken=data)
    coords = {"object": [row["id"] for row in rows], "quantile": list(QUANTILES)}
    return xr.Dataset(data, coords, dict(attrs))


def _units(rows: list[Row]) -> dict[str, str]:
    return {
        name: each["unit"]
        for row in rows
        for name, each in row.get("parameters", {}).items()
        if each.get("unit")
    }


def _samples(
    rows: list[Row],
    draws: Mapping[Any, str],
    kept: Kept,
    names: list[str],
    units: Mapping[str, str],
) -> dict[str, Any]:
    """Draws of each parameter; NaN where an object has none, or fewer than others."""
    blocks = [
        kept.block(draws.get(row["id"]) or "", len(row["parameters"]))
        if row["status"] == DONE
        else None
        for row in rows
    ]
    most = max((block[1] for block in blocks if block), default=0)
    if not most:
        return {}
    data = {}
    for name in names:
        columns = [
            (block, list(row["parameters"]).index(name))
            if block and name in row["parameters"]
            else None
            for row, block in zip(rows, blocks, strict=True)
        ]
        unit = {"units": units[name]} if name in units else {}
        data[f"{name}_sample"] = (("object", "sample"), kept.lazily(columns, most), unit)
    return data


def _others(rows: list[Row], taken: Mapping[str, Any]) -> dict[str, Any]:
    """Fixed values, columns of the analysis, errors."""
    data: dict[str, Any] = {}
    merged = [{**row.get("fixed", {}), **row.get("analysis", {})} for row in rows]
    for name in dict.fromkeys(name for each in merged for name in each):
        values = [each.get(name) for each in merged]
        label = f"{name}_fixed" if name in taken else name
        if all(isinstance(value, (bool, int, float, type(None))) for value in values):
            data[label] = ("object", np.array([np.nan if v is None else v for v in values], float))
        else:
            texts = ["" if value is None else str(value) for value in values]
            data[label] = ("object", np.array(texts, "U"))
    errors = [row.get("error", "") for row in rows]
    if any(errors):
        data["error"] = ("object", np.array(errors, "U"))
    return data
