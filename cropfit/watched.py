"""Whether somebody looks on while this process works."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Whether a kernel that can show HTML runs this."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(shell) and hasattr(shell, "kernel")


def is_watched() -> bool:
    """Whether a bar would be seen: on a terminal or in a notebook."""
    return (sys.stderr is not None and sys.stderr.isatty()) or in_notebook()
