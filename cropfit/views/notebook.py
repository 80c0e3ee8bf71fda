"""A crop that is watched from Python: a widget, a cell that refreshes, or lines of text."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import time
from collections.abc import Callable
from typing import Any

from cropfit.errors import CropError
from cropfit.views.glance import Glance, Looker
from cropfit.views.page import to_html
from cropfit.watched import in_notebook


def watch(root: str, interval: float, wait: bool) -> Any:
    """Show a crop until it is finished; see `cropfit.Crop.watch`."""
    looker = Looker(root)
    if not in_notebook():
        _refresh(looker, interval, _print_changes())
        return None
    if wait or importlib.util.find_spec("ipywidgets") is None:
        _refresh(looker, interval, _display())
        return None
    widgets: Any = importlib.import_module("ipywidgets")
    widget = widgets.HTML(to_html(looker.look()))

    def show(glance: Glance) -> None:
        widget.value = to_html(glance)

    threading.Thread(target=_refresh, args=(looker, interval, show), daemon=True).start()
    return widget


def _refresh(looker: Looker, interval: float, show: Callable[[Glance], None]) -> None:
    """Look and show until nothing is left to be grown, or the crop is gone."""
    while True:
        try:
            glance = looker.look()
        except (CropError, OSError):
            return  # reaped and deleted, which is how a watch should end
        show(glance)
        if glance.finished:
            return
        time.sleep(interval)


def _display() -> Callable[[Glance], None]:
    display: Any = importlib.import_module("IPython.display")
    handle = display.display(display.HTML(""), display_id=True)

    def show(glance: Glance) -> None:
        handle.update(display.HTML(to_html(glance)))

    return show


def _print_changes() -> Callable[[Glance], None]:
    before = ""

    def show(glance: Glance) -> None:
        nonlocal before
        text = str(glance.status)
        if text != before:
            print(text, flush=True)
        before = text

    return show
