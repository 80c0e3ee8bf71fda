"""Who sowed what, when, where and with which versions: for the record."""

from __future__ import annotations

import datetime
import getpass
import hashlib
import inspect
import os
import platform
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from typing import Any

import cloudpickle

from cropfit._version import __version__
from cropfit.disk.fingerprint import fingerprint
from cropfit.disk.functions import Work, name_of

GIT_PATIENCE = 5.0  # seconds; a repository on a slow disk must not hold up the sowing


def gather(function: Callable[..., Any]) -> dict[str, Any]:
    """Time, user, host, folder, git state, versions, and where modules are found."""
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "user": _user(),
        "host": socket.gethostname(),
        "cwd": os.getcwd(),
        "argv": sys.argv[:1],
        "cropfit": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": _packages(function),
        "git": _git(os.getcwd()),
        "search_path": _search_path(),
    }


def describe_function(work: Work) -> dict[str, str]:
    """Qualified name, hash of the source, and hash of all that a worker is given."""
    parts = (work.function, dict(work.constants), dict(work.resources))
    function, *others = map(fingerprint, parts)
    return {
        "name": name_of(work.function),
        "source": _source_hash(work.function) or function,
        "hash": _hash("".join([function, *others]).encode()),
    }


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _source_hash(function: Callable[..., Any]) -> str | None:
    inner = inspect.unwrap(getattr(function, "func", function))
    if not (inspect.isroutine(inner) or inspect.isclass(inner)):
        inner = type(inner)
    try:
        return _hash(inspect.getsource(inner).encode())
    except (OSError, TypeError):
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return str(os.getuid())


def _packages(function: Callable[..., Any]) -> dict[str, str]:
    """Versions of loaded packages that a worker or the reader may care about."""
    top = (getattr(function, "__module__", None) or "").partition(".")[0]
    wanted = {"numpy", "scipy", "xarray", "pandas", "dynesty", "netCDF4", top} - {"", "__main__"}
    found = {"cloudpickle": str(cloudpickle.__version__)}
    for name in sorted(wanted):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found


def _search_path() -> list[str]:
    """Folders from which this process imports, beyond what every Python has."""
    own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [os.path.abspath(entry) for entry in sys.path]
    return [
        folder
        for folder in dict.fromkeys(folders)
        if os.path.isdir(folder)
        and not any(f"{os.path.realpath(folder)}/".startswith(f"{where}/") for where in own)
        and not {"site-packages", "dist-packages"} & {*folder.split("/")}
    ]


def _git(folder: str) -> dict[str, Any] | None:
    """Commit and dirtiness of the repository around `folder`; None outside of one."""
    above = folder
    while not os.path.exists(f"{above}/.git"):
        if above == os.path.dirname(above):
            return None
        above = os.path.dirname(above)
    command = ["git", "-C", folder, "--no-optional-locks"]
    try:
        head = _output([*command, "rev-parse", "HEAD"])
        changed = _output([*command, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": head.strip(), "dirty": bool(changed.strip())}


def _output(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, timeout=GIT_PATIENCE, check=True)
    return run.stdout
