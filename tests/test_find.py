"""Which crop is meant, and which there are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import cropfit as cf


def sow(name: str, folder: Path) -> cf.Crop:
    crop = cf.Crop(lambda x: x, name, parent_dir=folder, verbosity=0)
    crop.sow_combos({"x": [1]})
    return crop


def test_load_crops_gives_all_crops_of_a_folder_by_name(here: Path) -> None:
    (here / "runs").mkdir()
    for name in ("b", "a", "with space", "ä.draft"):
        sow(name, here / "runs")
    (here / "runs/.crop-no-crop").mkdir()
    (here / "runs/.crop-file").touch()
    crops = cf.load_crops("runs")

    assert list(crops) == ["a", "b", "with space", "ä.draft"]
    assert crops["b"].location == str(here / "runs/.crop-b")
    assert crops["b"].grow().grown == [1]
    assert cf.load_crops(here) == {}


def test_a_crop_that_is_being_sown_or_deleted_is_not_listed(here: Path) -> None:
    sow("a", here)
    os.rename(".crop-a", ".crop-a.host.123.0a1b2c3d-ff-01234567.draft")
    assert cf.load_crops() == {}
    os.rename(
        ".crop-a.host.123.0a1b2c3d-ff-01234567.draft", ".crop-a.host.123.0a1b2c3d-ff-01234567.trash"
    )
    assert cf.load_crops() == {}


def test_a_folder_that_is_not_there_is_an_error_with_its_name(here: Path) -> None:
    with pytest.raises((cf.NotFoundError, FileNotFoundError), match="nowhere"):
        cf.load_crops("nowhere")
    with pytest.raises(cf.NotFoundError, match="nowhere"):
        cf.Crop.load("nowhere")
    with pytest.raises(cf.NotFoundError, match="nowhere"):
        cf.Crop.load("nowhere/.crop-a")


def test_with_several_crops_one_must_be_named(here: Path) -> None:
    with pytest.raises(cf.NotFoundError, match="is no crop and has none in it"):
        cf.Crop.load()
    sow("a", here)
    assert cf.Crop.load().name == "a"
    sow("b", here)
    with pytest.raises(cf.NotFoundError, match=r"has 2 crops \(a, b\); name one"):
        cf.Crop.load()


def test_a_crop_can_be_moved_and_renamed_like_any_folder(here: Path) -> None:
    sow("a", here)
    (here / "archive").mkdir()
    os.rename(".crop-a", "archive/.crop-other")
    crop = cf.Crop.load("archive/.crop-other", verbosity=0)

    assert crop.name == "other"
    crop.grow()
    assert crop.reap() == [1]
    assert os.listdir("archive") == ["other.pkl"]


def test_a_symbolic_link_leads_to_the_crop(here: Path) -> None:
    (here / "scratch").mkdir()
    sow("a", here / "scratch")
    os.symlink(here / "scratch/.crop-a", here / ".crop-a")

    assert cf.grow(1, "a").grown == [1]
