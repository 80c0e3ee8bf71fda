"""Which crop is meant: by name, by path, or the one that stands here."""

from __future__ import annotations

import os

from cropfit.disk.layout import CROP_JSON, PREFIX, folder_of
from cropfit.disk.publish import mark_of
from cropfit.errors import NotFoundError


def find_crop(crop: str | None, parent_dir: str | None = None) -> str:
    """The folder of the crop that `crop` means.

    Parameters
    ----------
    crop : str or None
        A crop's name, the path of its folder, or None: the folder `parent_dir` if
        it is a crop itself, or the only crop in it.
    parent_dir : str, optional
        Where to look; the current folder by default.

    Raises
    ------
    NotFoundError
        There is none, or more than one could be meant.
    """
    here = os.path.abspath(parent_dir or os.getcwd())
    if crop is None:
        return _only_one(here)
    tried = [os.path.abspath(os.path.join(here, crop))]
    if "/" not in crop:
        tried.insert(0, folder_of(here, crop))
    for folder in tried:
        if is_crop(folder):
            return folder
    there = crops_in(here)
    known = f"There are: {', '.join(sorted(there))}." if there else "There is no crop at all."
    raise NotFoundError(f"No crop {crop!r} in {here} (looked for {tried[0]}). {known}")


def _only_one(here: str) -> str:
    if is_crop(here):
        return here
    there = crops_in(here)
    if len(there) == 1:
        return next(iter(there.values()))
    if there:
        raise NotFoundError(
            f"{here} has {len(there)} crops ({', '.join(sorted(there))}); name one."
        )
    raise NotFoundError(f"{here} is no crop and has none in it; name one, or go where it was sown.")


def is_crop(folder: str) -> bool:
    """Whether a sown crop stands in `folder`."""
    return os.path.isfile(f"{folder}/{CROP_JSON}")


def crops_in(folder: str) -> dict[str, str]:
    """Name → folder of the crops that stand directly in `folder`."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(PREFIX)]
    names = [name for name in names if not mark_of(name)]  # being sown, or deleted
    return {
        name[len(PREFIX) :]: f"{folder}/{name}" for name in names if is_crop(f"{folder}/{name}")
    }


def crops_below(folder: str) -> list[str]:
    """Folders of all crops in `folder` and in the folders below that are not hidden."""
    found = []
    for place, folders, _ in os.walk(folder):
        here = sorted(f"{place}/{name}" for name in folders if name.startswith(PREFIX))
        found += [crop for crop in here if is_crop(crop)]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found
