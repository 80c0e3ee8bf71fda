"""How the documentation is built: `make docs`."""

from __future__ import annotations

import cropfit

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
