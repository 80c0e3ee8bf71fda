"""Notebooks that are run in a kernel of their own, in a process of its own, in a folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import run_notebooks

PATIENCE = 1000  # seconds; a notebook takes some 20 on a quiet machine


@dataclass(frozen=True)
class Executed:
    """What a notebook has shown, and the folder that it has made."""

    notebook: Any
    folder: Path

    @property
    def outputs(self) -> list[Any]:
        """All outputs, in order."""
        return outputs(self.notebook)

    @property
    def text(self) -> str:
        """All that was printed, or shown as text."""
        return "\n".join(
            output.get("text", "") or output.get("data", {}).get("text/plain", "")
            for output in self.outputs
        )

    @property
    def pictures(self) -> int:
        """How many pictures are to be seen."""
        return sum("image/png" in output.get("data", {}) for output in self.outputs)


def outputs(notebook: Any) -> list[Any]:
    """All outputs of a notebook's cells, in order."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output for cell in cells for output in cell.outputs]


def execute(name: str, folder: Path) -> Executed:
    """Run a notebook as `make notebooks` does, but keep all in `folder`."""
    done = subprocess.run(
        [sys.executable, run_notebooks.__file__, "--to", str(folder), name],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    (made,) = (path for path in folder.iterdir() if path.is_dir())
    return Executed(notebook, made)
