"""What scripts and jobs call without making a crop first."""

from __future__ import annotations

import os
from typing import Any

from cropfit.crop import Crop
from cropfit.find import crops_in
from cropfit.tending import Batches
from cropfit.work.report import GrowReport


def grow(
    batch: Batches = None,
    crop: Crop | str | os.PathLike[str] | None = None,
    **options: Any,
) -> GrowReport:
    """Grow one batch, or several, of a crop: what a job on a cluster calls.

    Parameters
    ----------
    batch : int or list of int, optional
        Which; whatever is left if None.
    crop : Crop, str or path, optional
        The crop, its name, or its folder; by default the one in the current folder.
    **options
        As of `Crop.grow`.

    Returns
    -------
    GrowReport
        ``sys.exit(cropfit.grow(3).exit_code)`` tells a scheduler how it went.
    """
    found = crop if isinstance(crop, Crop) else Crop.load(crop)
    return found.grow(batch, **options)


def load_crops(folder: str | os.PathLike[str] = ".") -> dict[str, Crop]:
    """All crops that stand directly in `folder`, by name."""
    where = os.path.abspath(folder)
    return {name: Crop(name=name, parent_dir=where) for name in sorted(crops_in(where))}
