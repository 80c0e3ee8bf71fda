"""A look at very many batches costs a listing of what changed, and answers of bounded size."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cropfit as cf
from cropfit.disk.owner import Owner
from cropfit.tending import open_crop
from cropfit.views import listings
from cropfit.views.glance import Looker
from cropfit.views.listings import Snapshot
from cropfit.views.server import feed
from cropfit.views.server.feed import Farm, Feed


def sown(fn: Callable[..., Any], batches: int, **options: Any) -> cf.Crop:
    crop = cf.Crop(fn, "many", var_names="z", verbosity=0)
    crop.sow_combos({"x": range(batches)}, **{"batchsize": 1, **options})
    return crop


def snapshot(crop: cf.Crop) -> Snapshot:
    manifest, ledger = open_crop(crop.location)
    return Snapshot(manifest.layout, Owner.here(), ledger.lease)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that were listed, as they are."""
    seen: list[str] = []
    listdir = os.listdir

    def count(folder: str) -> list[str]:
        seen.append(os.path.relpath(folder))
        return listdir(folder)

    monkeypatch.setattr("cropfit.disk.ledger.os.listdir", count)
    return seen


def test_only_folders_that_changed_are_listed_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, listed: list[str]
) -> None:
    monkeypatch.setattr("cropfit.work.sow.SHARDED_FROM", 1000)
    monkeypatch.setattr(listings, "SETTLED", -1.0)  # all times are set below, so none is coarse
    crop = sown(lambda x: x, 5000)
    _, ledger = open_crop(crop.location)
    ledger.shift(1, "sown", "grown")
    looks = snapshot(crop)
    for folder in Path(crop.location).glob("*/*"):
        os.utime(folder, (1e9, 1e9))
    looks.refresh()
    listed.clear()

    looks.refresh()
    assert [folder for folder in listed if folder[-1].isdigit()] == []
    ledger.shift(1500, "sown", "grown")
    listed.clear()
    looks.refresh()
    shards = [folder for folder in listed if folder[-1].isdigit()]
    assert shards == [".crop-many/sown/001", ".crop-many/grown/001"]
    assert looks.numbers("grown") == [1, 1500]
    assert looks.counts() == ledger.counts()


@pytest.mark.parametrize("sharded_from", [10, 1000])
def test_changes_right_behind_one_another_are_all_seen(
    here: Path, monkeypatch: pytest.MonkeyPatch, sharded_from: int
) -> None:
    monkeypatch.setattr("cropfit.work.sow.SHARDED_FROM", sharded_from)
    crop = sown(lambda x: x, 200)
    _, ledger = open_crop(crop.location)
    looks = snapshot(crop)
    for batch in np.random.default_rng(1).permutation(200) + 1:
        assert ledger.shift(int(batch), "sown", "ignored")
        looks.refresh()
        assert looks.numbers("sown") == ledger.numbers("sown")
        assert looks.numbers("ignored") == ledger.numbers("ignored")


def test_a_crop_that_is_sown_anew_is_seen_anew(here: Path) -> None:
    crop = sown(lambda x: x, 3)
    looker = Looker(crop.location)
    assert looker.look().status.sown == 3
    crop.sow_combos({"x": range(7)}, batchsize=1, exists="replace")
    assert looker.look().status.sown == 7


# -- what goes to the page -------------------------------------------------------------


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question is a look of its own."""
    monkeypatch.setattr(feed, "FRESH", -1.0)


def size(told: Any) -> int:
    return len(json.dumps(told))


@pytest.mark.usefixtures("eager")
def test_the_map_costs_a_byte_a_batch_at_most(here: Path) -> None:
    crop = sown(lambda x: x, 20_000)
    _, ledger = open_crop(crop.location)
    page = Feed(crop.location)
    first = page.batches(-1)
    assert size(first) < 20_100
    assert size(page.batches(first["version"])) < 60

    for batch in range(1, 101):
        ledger.shift(batch, "sown", "ignored")
    some = page.batches(first["version"])
    assert some["batches"] == list(range(1, 101))
    assert size(some) < 1500
    for batch in range(101, 5001):
        ledger.shift(batch, "sown", "ignored")
    most = page.batches(some["version"])
    assert most["all"] == "4" * 5000 + "0" * 15_000
    assert size(most) < 20_100


@pytest.mark.usefixtures("eager")
def test_thousands_of_failures_in_a_batch_are_a_bounded_answer(here: Path) -> None:
    def fails(x: int) -> int:
        raise ValueError("long" * 5000)

    crop = sown(fails, 600, batchsize=300)
    crop.grow()
    told = Feed(crop.location).errors(0)

    assert (told["batches"], len(told["errors"]), told["more"]) == (2, 40, 560)
    assert size(told) < 600_000
    assert told["errors"][0]["traceback"].startswith("Traceback")
    assert "cropfit errors" in told["errors"][-1]["traceback"]


def picture(page: Feed, what: str) -> dict[str, Any]:
    """The heat map of all that ended; a slow disk takes more than one look."""
    while True:
        heat = page.heat("x", "", what, -1)
        if heat["read"] == heat["ended"]:
            return heat


@pytest.mark.usefixtures("eager")
def test_a_picture_that_did_not_change_is_not_sent_again(here: Path) -> None:
    crop = sown(lambda x: np.pi * x, 1000)
    crop.grow(range(1, 500))
    page = Feed(crop.location)
    heat = picture(page, "z")
    assert len(heat["x"]) == 200
    assert size(heat) < 8000
    again = page.heat("x", "", "z", heat["version"])
    assert again == {"version": heat["version"], "ended": 499, "read": 499}


@pytest.mark.usefixtures("eager")
def test_a_failed_batch_leaves_the_picture_when_it_is_retried(here: Path) -> None:
    mended = here / "mended"

    def odd_fails(x: int) -> int:
        if x % 2 and not mended.exists():
            raise ValueError("odd")
        return x

    crop = sown(odd_fails, 4)
    crop.grow()
    page = Feed(crop.location)
    assert picture(page, "failed")["values"] == [[0.0, 1.0, 0.0, 1.0]]
    assert picture(page, "z")["values"] == [[0.0, None, 2.0, None]]
    crop.retry([2])
    assert picture(page, "failed")["values"] == [[0.0, None, 0.0, 1.0]]
    mended.touch()
    crop.retry()
    crop.grow()
    assert picture(page, "failed")["values"] == [[0.0, 0.0, 0.0, 0.0]]
    assert picture(page, "z")["values"] == [[0.0, 1.0, 2.0, 3.0]]


def test_a_search_that_takes_long_is_made_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now, searches = 0.0, 0

    def find() -> list[str]:
        nonlocal now, searches
        now, searches = now + 2.0, searches + 1  # two seconds
        return []

    monkeypatch.setattr(listings, "time", SimpleNamespace(monotonic=lambda: now))
    farm = Farm(find, "/")
    for _ in range(100):
        farm.summaries()
        now += 1.0
    assert searches == 5
