"""What a crop shows in a notebook: HTML, and a cell or a widget that follows it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter
from jupyter_client.manager import start_new_kernel

import cropfit as cf


class Page(HTMLParser):
    """Text of a page; raises nothing, but counts tags that are not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.open = "", 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += 1

    def handle_endtag(self, tag: str) -> None:
        self.open -= 1

    def handle_data(self, data: str) -> None:
        self.text += data


def work(x: int, size: float) -> float:
    if x == 3:
        raise ValueError("no <b>three</b> & none")
    return x * size


def sown() -> cf.Crop:
    crop = cf.Crop(work, "grid", var_names="z", verbosity=0)
    crop.sow_combos({"x": range(5), "size": [0.5, 2.5]}, batchsize=1)
    return crop


def test_a_crop_is_shown_with_states_axes_and_errors(here: Path) -> None:
    crop = sown()
    crop.grow(range(3, 9))
    page = Page(crop._repr_html_())

    assert page.open == 0
    for told in ("10 cases in 10 batches", "4 grown", "2 failed", "4 sown", "size", "0.5 … 2.5"):
        assert told in page.text
    assert page.text.count("ValueError: no <b>three</b> & none") >= 2
    assert "Traceback" in page.text


def test_what_a_crop_tells_stands_in_a_cell_as_it_is_printed(here: Path) -> None:
    crop = sown()
    report = crop.grow(range(3, 9))
    for told in (report, crop.status()):
        shown, _ = DisplayFormatter().format(told)
        assert shown == {"text/plain": str(told)}


def test_a_crop_that_is_not_there_is_shown_as_text(here: Path) -> None:
    crop = cf.Crop(work, "grid")
    assert "not sown" in Page(crop._repr_html_()).text

    crop = sown()
    Path(crop.location, "crop.json").write_text("{")
    assert "grid" in Page(crop._repr_html_()).text


def test_outside_of_notebooks_changes_are_printed_until_the_end(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = sown()
    crop.grow()
    crop.watch()

    assert capsys.readouterr().out.count("8 grown, 2 failed") == 1


SOW = """
import cropfit as cf, threading, os
os.chdir({folder!r})
crop = cf.Crop(lambda x: x, "grid", var_names="z", verbosity=0)
crop.sow_combos({{"x": range(6)}})
"""
WIDGET = """
shown = crop.watch(interval=0.05)
first = shown.value
crop.grow()
import time
end = time.monotonic() + 60
while "6 grown" not in shown.value and time.monotonic() < end:
    time.sleep(0.02)
print("6 sown" in first, "6 grown" in shown.value)
"""
CELL = """
threading.Timer(0.2, crop.grow).start()
crop.watch(interval=0.05, wait=True)
"""


def run(client: Any, code: str) -> list[dict[str, Any]]:
    """What a cell sent while it ran."""
    seen: list[dict[str, Any]] = []
    reply = client.execute_interactive(code, timeout=120, output_hook=seen.append)
    assert reply["content"]["status"] == "ok", json.dumps(seen, default=str)[-3000:]
    return seen


def test_in_a_kernel_a_widget_follows_by_itself_and_a_cell_refreshes(here: Path) -> None:
    manager, client = start_new_kernel()
    try:
        run(client, SOW.format(folder=str(here)))
        printed = [m["content"]["text"] for m in run(client, WIDGET) if m["msg_type"] == "stream"]
        run(client, "crop.delete()" + SOW.format(folder=str(here)))
        pages = [
            m["content"]["data"]["text/html"]
            for m in run(client, CELL)
            if m["msg_type"] == "update_display_data"
        ]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    assert printed == ["True True\n"]
    assert "6 sown" in pages[0]
    assert "6 grown" in pages[-1]
