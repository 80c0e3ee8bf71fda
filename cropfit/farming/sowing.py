"""What a crop is asked to sow, with all that it and its farmer have by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cropfit.errors import DesignError
from cropfit.outputs import Outputs
from cropfit.work.request import Request

if TYPE_CHECKING:
    from cropfit.crop import Crop
    from cropfit.farming.farmer import Farmer
    from cropfit.grid import Grid

__all__ = ["request_of"]


def request_of(
    crop: Crop,
    grid: Grid,
    declared: Mapping[str, Any],
    farmer: Farmer | None,
    options: dict[str, Any],
    told: Mapping[str, Any],
) -> Request:
    """The request that `options` of one sowing and those of the crop make together.

    Raises
    ------
    DesignError
        The crop has no function, or its outputs cannot be.
    """
    if crop.fn is None:
        raise DesignError(f"The crop {crop.name!r} has no function to sow: give Crop(fn=...).")
    if options.get("batchsize") is None and options.get("num_batches") is None:
        options.update(batchsize=crop.batchsize, num_batches=crop.num_batches)
    if options.get("shuffle") is None:
        options["shuffle"] = crop.shuffle
    options["constants"] = {**crop.constants, **(options.get("constants") or {})}
    options["resources"] = {**crop.resources, **(options.get("resources") or {})}
    if farmer is not None:
        from cropfit.farming.farmer import sown_by

        options |= sown_by(farmer, crop.location, grid.names, options, told)
    return Request(crop.fn, grid, Outputs.parse(**declared), **options)
