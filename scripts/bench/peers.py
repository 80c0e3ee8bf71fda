"""xyzpy in an environment of its own, made on first use inside the one that runs this."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PEERS = {"xyzpy": ("xyzpy==1.3.5", "matplotlib", "netCDF4")}


def python_for(contender: str) -> str:
    """The interpreter in which a contender runs.

    Raises
    ------
    RuntimeError
        Its environment cannot be made; says why.
    """
    if contender not in PEERS:
        return sys.executable
    home = Path(sys.prefix) / "peers" / contender
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        _make(home, python, PEERS[contender])
    return os.fspath(python)


def _make(home: Path, python: Path, packages: tuple[str, ...]) -> None:
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages]
    for command in ([sys.executable, "-m", "venv", "--clear", home], pip):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{packages[0]} cannot be installed: {ran.stderr.strip()[-300:]}")
    (home / "ready").touch()
