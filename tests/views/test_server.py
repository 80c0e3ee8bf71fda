"""`cropfit serve`, asked over HTTP and looked at in a real browser while workers grow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from serving import Server, serving
from shell import folders, started
from steps import Gate

import cropfit as cf


def work(x: int, y: float) -> float:
    if x == 2 and y == 0.5:
        raise ValueError("NaN & <b>two</b>")
    return x + y


def sown(name: str = "grid", **options: Any) -> cf.Crop:
    crop = cf.Crop(options.pop("fn", work), name, var_names="z", verbosity=0)
    crop.sow_combos({"x": range(4), "y": [0.5, 1.5]}, **{"batchsize": 1, **options})
    return crop


def test_tells_states_changes_errors_and_values_of_every_crop_below(here: Path) -> None:
    crop = sown()
    (here / "deep" / "er").mkdir(parents=True)
    other = cf.Crop(work, "a b&c", parent_dir=here / "deep" / "er", var_names="z", verbosity=0)
    other.sow_combos({"x": [1], "y": [1.0]})
    with serving(".") as server:
        told = server.get("/api/crops")
        keys = [each["key"] for each in told["crops"]]
        assert (keys, told["actions"]) == ([".crop-grid", "deep/er/.crop-a b&c"], False)
        assert server.get(f"/api/batches?crop={quote(keys[1])}")["all"] == "0"

        first = server.get("/api/batches?crop=.crop-grid")
        assert first["all"] == "0" * 8
        crop.grow([1, 2, 5])
        changes = wait_for_change(server, first["version"])
        assert (changes["batches"], changes["states"]) == ([1, 2, 5], [2, 2, 3])

        heat = picture(server, "what=z&x=x&y=y")
        assert (heat["x"], heat["y"]) == (["0", "1", "2", "3"], ["0.5", "1.5"])
        assert heat["values"] == [[0.5, None, None, None], [1.5, None, None, None]]
        failed = picture(server, "what=failed&x=x&y=")
        assert failed["values"] == [[0.0, None, 1.0, None]]

        errors = server.get("/api/errors?crop=.crop-grid&page=0")
        assert errors["batches"] == 1
        assert errors["errors"][0]["message"] == "NaN & <b>two</b>"
        assert "Traceback" in errors["errors"][0]["traceback"]

        crop.retry()
        crop.grow()
        again = wait_for_change(server, changes["version"])
        assert dict(zip(again["batches"], again["states"], strict=True))[8] == 2
        crop.delete()
        assert server.ask("/api/errors?crop=.crop-grid")[0] in (404, 409)


def picture(server: Server, query: str) -> dict[str, Any]:
    """The heat map of all that ended; a slow disk takes more than one look."""
    while True:
        heat = server.get(f"/api/heat?crop=.crop-grid&{query}")
        if heat["read"] == heat["ended"]:
            return dict(heat)


def wait_for_change(server: Server, version: int) -> dict[str, Any]:
    """Ask until the map is another, as the page does."""
    while True:
        told = server.get(f"/api/batches?crop=.crop-grid&since={version}")
        if told["version"] != version:
            return dict(told)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"X-Token": ""}, 403),
        ({"X-Token": "wrong"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": ""}, 200),
    ],
)
def test_who_has_no_token_or_came_by_another_name_is_refused(
    here: Path, headers: dict[str, str], code: int
) -> None:
    sown()
    with serving() as server:
        for path in ("/", "/api/crops", "/api/batches?crop=.crop-grid"):
            status, told = server.ask(path, **headers)
            assert status == code
            assert code == 200 or "grid" not in str(told)


def test_without_leave_the_page_may_only_look(here: Path) -> None:
    crop = sown()
    crop.grow()
    with serving() as server:
        status, told = server.ask("/api/actions/retry?crop=.crop-grid", method="POST")

    assert (status, "--allow-actions" in told) == (403, True)
    assert len(folders(crop)["failed"]) == 1


def test_with_leave_actions_want_the_token_where_no_other_site_can_put_it(here: Path) -> None:
    crop = sown()
    crop.grow()
    with serving("--allow-actions") as server:
        path = "/api/actions/retry?crop=.crop-grid"
        by_link = server.ask(f"{path}&token={server.token}", method="POST", **{"X-Token": ""})
        assert by_link[0] == 403
        assert len(folders(crop)["failed"]) == 1

        assert server.ask(path) == (405, "Method Not Allowed")
        assert server.ask(path, method="POST") == (200, {"said": "grid: 1 batch sown again."})
        assert server.ask("/api/actions/delete?crop=.crop-grid", method="POST")[0] == 404

    assert len(folders(crop)["sown"]) == 1


@pytest.mark.parametrize("key", ["../x", "/etc", "", ".crop-grid/../../y"])
def test_only_crops_that_were_found_can_be_asked_for(here: Path, key: str) -> None:
    sown()
    with serving() as server:
        for path in ("batches", "errors", "heat"):
            assert server.ask(f"/api/{path}?crop={quote(key)}")[0] == 404
        assert server.ask("/api/heat?crop=.crop-grid&x=nothing&y=&what=z")[0] == 404
        assert server.ask("/api/batches?crop=.crop-grid&since=x")[0] == 400


def test_ctrl_c_ends_it(here: Path) -> None:
    with serving() as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=200) == 130


def test_many_batches_are_a_bounded_answer_and_then_only_changes(here: Path) -> None:
    crop = cf.Crop(lambda x: x, "grid", var_names="z", verbosity=0)
    crop.sow_combos({"x": range(30_000)}, num_batches=30_000)
    with serving() as server:
        first = server.get("/api/batches?crop=.crop-grid")
        crop.grow([7, 29_999])
        changes = wait_for_change(server, first["version"])
    crop.delete()

    assert len(first["all"]) == 30_000
    assert changes == {
        "version": changes["version"],
        "batches": [7, 29_999],
        "states": [2, 2],
    }


# -- in a browser ----------------------------------------------------------------------


@pytest.mark.needs("chromium")
def test_a_browser_sees_a_crop_grow_and_can_stop_and_retry(here: Path, browser: Any) -> None:
    gate, mark = Gate(here / "gate"), here / "mended"

    def held(x: int, y: float) -> float:
        if x == 3 and y == 0.5:
            gate.stop_here()
        if x == 2 and y == 0.5 and not mark.exists():
            raise ValueError("NaN & <b>two</b>")
        return x * y

    crop = sown(fn=held)
    problems: list[str] = []
    with serving("--allow-actions") as server:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text))
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((f"http://{server.host}/", "data:"))
                else problems.append(asked.url)
            ),
        )
        page.goto(server.address)
        page.get_by_text("8 cases in 8 batches").wait_for()
        page.get_by_text("nobody at work").wait_for()

        worker = started("grow", "grid")
        gate.wait_for_arrival()
        page.locator("#map[aria-label='1 sown, 1 growing, 5 grown, 1 failed']").wait_for()
        page.get_by_role("cell", name=str(worker.pid), exact=True).wait_for()
        page.get_by_role("cell", name="0 of 1").wait_for()
        page.locator("#low", has_text=re.compile(r"^0$")).wait_for()
        page.locator("#high", has_text=re.compile(r"^3$")).wait_for()
        failed = page.locator("details", has_text="ValueError: NaN & <b>two</b>")
        failed.locator("summary").click()
        page.get_by_text("Traceback (most recent call last)").wait_for()

        page.get_by_role("button", name="Stop workers").click()
        page.get_by_text("all workers leave after their case").wait_for()
        assert "stop" in os.listdir(crop.location)
        gate.let_go()
        worker.communicate(timeout=200)

        mark.touch()
        page.get_by_role("button", name="Retry failed").click()
        page.get_by_text("1 batch sown again").wait_for()
        crop.grow()
        page.locator("#map[aria-label='8 grown']").wait_for()
        page.select_option("#what", "seconds")
        page.locator("#heat[aria-label='seconds over x y']").wait_for()
        assert problems == []
        crop.reap()
        page.get_by_text("no crop here yet").wait_for()
        server.process.send_signal(signal.SIGINT)
        page.get_by_text("no answer: the server has ended").wait_for()

    # A browser says so itself where the crop, and then the server, were gone when it asked.
    assert [each for each in problems if not re.search("net::ERR_|status of 40[49]", each)] == []
    assert sorted(os.listdir(here)) == ["gate", "grid.nc", "mended"]


def test_without_its_libraries_the_command_that_installs_them_is_told(here: Path) -> None:
    blocked = (
        "import sys; sys.modules['uvicorn'] = None; from cropfit.cli import main; main(['serve'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, "pip install 'cropfit[serve]'" in done.stderr) == (2, True)
