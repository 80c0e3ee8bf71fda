"""What every test may count on: markers that are honoured, and no crop left in the source tree."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long a machine takes is no property of the code; what CI draws is the same each time.
settings.register_profile(
    "cropfit",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("cropfit")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)


@functools.cache
def missing(tool: str) -> str | None:
    """Why `tool` cannot be used here; None if it can.

    'root' is a user, 'mount' a permission and 'zarr' a library; everything else is a program on
    PATH.
    """
    if tool == "root":
        return None if os.geteuid() == 0 else "not root"
    if tool == "mount":
        probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    elif tool == "strace":
        probe = ["strace", "-o", os.devnull, "true"]
    elif tool == "zarr":
        return None if has_zarr() else "zarr 3 is not installed"
    elif tool == "fuse":
        probe = ["test", "-c", "/dev/fuse"]
    else:
        return None if shutil.which(tool) else f"{tool} is not installed"
    try:
        done = subprocess.run(probe, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return f"{tool} is not installed"
    return None if done.returncode == 0 else f"{tool} is not permitted here"


def has_zarr() -> bool:
    """Whether the zarr is there that stores need; there is none for Python 3.10."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return int(importlib.metadata.version("zarr").partition(".")[0]) >= 3
    return False


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose tools are missing; fail it where they were promised."""
    for marker in item.iter_markers("needs"):
        reasons = [why for tool in marker.args if (why := missing(tool))]
        if reasons and os.environ.get("CROPFIT_REQUIRE_TOOLS") == "1":
            pytest.fail(f"CROPFIT_REQUIRE_TOOLS=1, but {'; '.join(reasons)}", pytrace=False)
        if reasons:
            pytest.skip("; ".join(reasons))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
