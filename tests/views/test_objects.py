"""A catalogue in the browser: its table as it grows, and the pictures that its workers draw."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from serving import serving
from shell import started
from steps import Gate

import cropfit as cf
from cropfit.views.server import feed
from cropfit.views.server.feed import Feed
from cropfit.views.server.objects import Query

X = np.linspace(0, 1, 10)
TABLE = "/api/objects?crop=.crop-gal"


def curve(p: Any, data: Any) -> Any:
    return p.slope * data["x"] + p.height


def likelihood(p: Any, data: Any) -> Any:
    return -0.5 * np.sum(((data["y"] - curve(p, data)) / 0.1) ** 2, axis=-1)


def load(key: str | int) -> dict[str, Any]:
    if str(key).startswith("bad"):
        raise OSError(f"there is no file of {key}")
    slope = 1 + len(str(key))
    return {"x": X, "y": slope * X + 1 + 0.1 * np.sin(9 * X), "yerr": np.full(10, 0.1)}


MODEL = cf.Model(
    likelihood,
    {"slope": cf.Uniform(-99, 99, unit="km/s"), "height": cf.Uniform(-9, 9)},
    predict=curve,
)


def catalogue(ids: Any, load_data: Any = load, **options: Any) -> Any:
    terms = {"run": "gal", "seed": 1, "sampler": "maxlike", "verbosity": 0, **options}
    return cf.fit_catalogue(ids, MODEL, load_data, **terms)


def test_the_table_follows_a_catalogue_and_is_sorted_and_searched_here(here: Path) -> None:
    cat = catalogue(["one", "bad", "three", "away", "later"], analysis=lambda fit: {"kind": "disc"})
    with serving() as server:
        first = wait_for_states(server, ["waiting"] * 5)
        assert [column["name"] for column in first["columns"]] == ["status"]
        cat.grow([1, 2, 3])
        cat.ignore([4])
        told = wait_for_states(server, ["done", "failed", "done", "ignored", "waiting"])
        names = [column["name"] for column in told["columns"]]
        assert names[:4] == ["status", "slope", "height", "kind"]
        assert told["columns"][1]["unit"] == "km/s"
        rows = {row["id"]: dict(zip(names, row["cells"], strict=True)) for row in told["rows"]}
        assert list(rows) == ["one", "bad", "three", "away", "later"]
        assert rows["bad"]["error"] == "OSError: there is no file of bad"
        middle, low, high = rows["one"]["slope"]
        assert low < middle < high
        assert 3 < middle < 5
        unchanged = server.get(f"{TABLE}&since={told['version']}")
        assert unchanged == {"version": told["version"]}

        down = server.get(f"{TABLE}&sort=slope&down=1")
        assert [row["id"] for row in down["rows"]] == ["three", "one", "bad", "away", "later"]
        found = server.get(f"{TABLE}&find=FAIL")
        assert ([row["id"] for row in found["rows"]], found["found"]) == (["bad"], 1)
    assert not Path(cat.location, "catalogue.jsonl").exists()  # it only looks


def wait_for_states(server: Any, states: list[str]) -> dict[str, Any]:
    """Ask until the objects have these states, as the page does."""
    while True:
        told = server.get(TABLE)
        if [row["cells"][0] for row in told["rows"]] == states:
            return dict(told)


def test_objects_within_a_batch_are_seen_as_they_end(here: Path) -> None:
    gate = Gate(here / "gate")

    def stops(key: str) -> Any:
        if key == "held":
            gate.stop_here()
        return load(key)

    catalogue(["one", "held", "later"], stops, batchsize=3)
    with serving() as server:
        worker = started("grow", "gal")
        gate.wait_for_arrival()
        wait_for_states(server, ["done", "fitting", "waiting"])
        gate.let_go()
        worker.communicate(timeout=200)
        wait_for_states(server, ["done", "done", "done"])
    assert worker.returncode == 0


def test_pictures_of_objects_are_served_and_nothing_else(here: Path) -> None:
    secret = here / "secret.png"
    secret.write_bytes(b"keep this")
    cat = catalogue(["a/b", "..", "link"], plots=True)
    cat.grow([1, 2])
    plots = here / "gal-plots"
    (plots / "link-fit.png").symlink_to(secret)
    os.mkfifo(plots / "link-corner.png")

    with serving() as server:
        told = wait_for_states(server, ["done", "done", "waiting"])
        rows = {row["id"]: row["pictures"] for row in told["rows"]}
        assert rows["a/b"] == rows[".."] == ["fit", "corner"]

        def picture(key: str, kind: str, **headers: str) -> tuple[int, Any]:
            place = f"crop=.crop-gal&id={quote(key, safe='')}&kind={quote(kind, safe='')}"
            return server.ask(f"/api/picture?{place}", **headers)

        for key in ("a/b", ".."):
            for kind in ("fit", "corner"):
                code, content = picture(key, kind)
                assert (code, content[:4]) == (200, b"\x89PNG")
        refused = [
            ("link", "fit"),
            ("link", "corner"),
            ("../secret", "fit"),
            ("secret", ""),
            ("a/b", "../../secret"),
            ("nobody", "fit"),
            ("", ""),
        ]
        assert [picture(*asked)[0] for asked in refused] == [404] * len(refused)
        assert picture("a/b", "fit", **{"X-Token": ""})[0] == 403
        assert server.ask("/gal-plots/link-fit.png")[0] == 404


def test_a_crop_that_is_no_catalogue_has_no_objects(here: Path) -> None:
    crop = cf.Crop(lambda x: x, "grid", var_names="z", verbosity=0)
    crop.sow_combos({"x": [1]})
    catalogue(["one"])
    with serving() as server:
        told = {each["key"]: each for each in server.get("/api/crops")["crops"]}
        assert server.ask("/api/objects?crop=.crop-grid")[0] == 404
        assert server.ask("/api/picture?crop=.crop-grid&id=1&kind=fit")[0] == 404
    assert (told[".crop-grid"]["catalogue"], told[".crop-gal"]["catalogue"]) == (False, True)
    assert told[".crop-gal"]["quantities"] == ["seconds", "failed"]


def test_ten_thousand_objects_are_told_by_the_page(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "FRESH", -1.0)
    cat = catalogue(range(10_000))
    pages = Feed(cat.location)
    told = pages.objects(Query(number=199), -1)
    while told["read"] < 10_000:  # a slow disk takes more than one look
        told = pages.objects(Query(number=199), -1)

    assert (told["pages"], told["found"], len(told["rows"])) == (200, 10_000, 50)
    assert [row["id"] for row in told["rows"]] == [str(key) for key in range(9950, 10_000)]
    assert len(json.dumps(told)) < 20_000
    beyond = pages.objects(Query(number=10**9, find="9999"), -1)
    assert [row["id"] for row in beyond["rows"]] == ["9999"]


@pytest.mark.needs("chromium")
def test_a_browser_shows_the_table_and_opens_pictures(here: Path, browser: Any) -> None:
    cat = catalogue(["ab", "a", "bad<b>"], plots=True)
    problems: list[str] = []
    with serving() as server:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text))
        page.on("request", lambda asked: problems.append(asked.url) if is_foreign(asked) else None)

        def is_foreign(asked: Any) -> bool:
            return not asked.url.startswith((f"http://{server.host}/", "data:"))

        page.goto(server.address)
        page.get_by_text("3 objects").wait_for()
        cat.grow()
        page.get_by_role("row", name=re.compile("bad<b>.*failed.*there is no file")).wait_for()
        page.get_by_role("row", name=re.compile(r"^ab fit corner done [\d.]+ \+[\d.]+")).wait_for()
        assert ids(page) == ["ab", "a", "bad<b>"]
        page.get_by_role("button", name="slope").click()
        page.locator("th[aria-sort=ascending]", has_text="slope").wait_for()
        assert ids(page) == ["a", "ab", "bad<b>"]

        page.get_by_role("link", name="corner").first.click()
        page.locator("dialog[open]").wait_for()
        page.wait_for_function("document.getElementById('image').naturalWidth > 0")
        assert page.locator("#whose").inner_text() == "a: corner"
        page.get_by_role("button", name="Close").click()
        page.fill("#find", "bad")
        page.get_by_text("1 objects (of 3)").wait_for()
        assert ids(page) == ["bad<b>"]
    assert problems == []


def ids(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("#table td:first-child").all_inner_texts()]
