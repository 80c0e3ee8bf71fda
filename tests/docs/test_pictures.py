"""The page on pictures runs as written, and every picture that it shows is drawn."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import cropfit

DOCS = Path(cropfit.__file__).parents[1] / "docs"
PAGE = DOCS / "howto" / "pictures.md"


def test_every_picture_of_the_page_is_drawn_by_the_code_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    from draw_pictures import draw

    drawn = draw(PAGE, tmp_path)

    assert drawn == re.findall(r"\(pictures/(.*?)\)", PAGE.read_text(encoding="utf-8"))
    assert len(drawn) == 7
    assert all((tmp_path / name).stat().st_size > 10_000 for name in drawn)
    assert "draw_pictures" in sys.modules
