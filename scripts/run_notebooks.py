"""Run notebooks from top to bottom, and keep what they show.

    python scripts/run_notebooks.py [--to FOLDER] [NAME...]      (default: all, in their place)

Each runs in a kernel of its own, as in a fresh session of Jupyter. What it shows is saved without
paths and host names of this machine, and with a digest of the code that it was made by, so that a
test can tell when the code has changed since.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CELL_SECONDS = 600  # far more than any cell takes, on a busy machine too
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
INLINE = "module://matplotlib_inline.backend_inline"
HOME = "/home/ada"  # what stands for paths of this machine


def digest(notebook: nbformat.NotebookNode) -> str:
    """Of the code of all cells."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def run(path: Path, scratch: Path) -> nbformat.NotebookNode:
    """Run a notebook; it makes its folders in `scratch`.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="kernel-") as own:
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            startup_timeout=CELL_SECONDS,
            resources={"metadata": {"path": str(path.parent)}},
            record_timing=False,
            coalesce_streams=True,
        )
        kernel = client.create_kernel_manager()
        kernel.transport, kernel.ip = "ipc", f"{own}/kernel"  # no port that others may find
        kernel.connection_file = f"{own}/kernel.json"
        places = {"TMPDIR": str(scratch), "IPYTHONDIR": own, "MPLBACKEND": INLINE}
        client.execute(env={**os.environ, **places})
    notebook.metadata = {**METADATA, "cropfit": {"shown_by": digest(notebook)}}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [tidied(output, scratch) for output in cell.outputs]
    return notebook


def tidied(output: Any, scratch: Path) -> Any:
    """An output without what only this machine, or only a running notebook, has a use for."""
    if "text" in output:
        output.text = unnamed(output.text, scratch)
    data = output.get("data", {})
    if "xr-wrap" in data.get("text/html", ""):
        del data["text/html"]  # needs style sheets, which most pages that show notebooks remove
    for kind in data:
        if kind.startswith("text/"):
            data[kind] = unnamed(data[kind], scratch)
    return output


def unnamed(text: str, scratch: Path) -> str:
    """Text in which paths and the host's name are those of somebody else."""
    text = re.sub(rf"{re.escape(str(scratch))}/(\w+)-\w{{8}}\b", rf"{HOME}/\1", text)
    text = text.replace(str(scratch), HOME)
    text = text.replace(sys.prefix, f"{HOME}/venv")
    text = text.replace(str(NOTEBOOKS.parent), f"{HOME}/cropfit")
    return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "laptop", text)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="such as 01-sweep; all by default")
    parser.add_argument("--to", type=Path, help="keep notebooks and their files here instead")
    given = parser.parse_args()
    paths = [NOTEBOOKS / f"{name}.ipynb" for name in given.names]
    for path in paths or sorted(NOTEBOOKS.glob("*.ipynb")):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="notebooks-") as scratch:
            notebook = run(path, given.to.resolve() if given.to else Path(scratch))
        nbformat.write(notebook, given.to / path.name if given.to else path)
        print(f"{path.name}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
