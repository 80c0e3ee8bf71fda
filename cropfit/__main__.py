"""``python -m cropfit``: the command line, where the script ``cropfit`` is not on PATH."""

from __future__ import annotations

from cropfit.cli import main

main(prog_name="cropfit")
