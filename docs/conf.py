"""How the documentation is built: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cropfit

sys.path.insert(0, str(Path(__file__).parent))

project = "cropfit"
author = "the cropfit developers"
version = release = cropfit.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False
default_role = "code"


html_theme = "furo"
html_title = f"cropfit {release}"
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "speed/*.md"]  # parts of speed.md
nitpicky = False


def setup(app: Any) -> None:
    """Draw the pictures of the how-to page with the code that stands beside them."""
    from draw_pictures import draw

    page = Path(__file__).parent / "howto" / "pictures.md"
    app.connect("builder-inited", lambda _: draw(page, page.parent / "pictures"))
