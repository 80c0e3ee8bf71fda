"""Who sowed what, when, where and with which versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cropfit as cf


def provenance(folder: Path, fn: Any = lambda x: x) -> dict[str, Any]:
    crop = cf.Crop(fn, "it", parent_dir=folder, verbosity=0)
    crop.sow_combos({"x": [1]}, exists="replace")
    data: dict[str, Any] = json.loads(Path(crop.location, "crop.json").read_text())
    return {**data["provenance"], "function": data["function"]}


def git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *command], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_time_host_folder_and_versions_are_told(here: Path) -> None:
    told = provenance(here)

    moment = datetime.fromisoformat(told["time"])
    assert abs(datetime.now(timezone.utc) - moment) < timedelta(minutes=1)
    assert told["host"] == os.uname().nodename
    assert told["cwd"] == str(here)
    assert told["cropfit"] == cf.__version__
    assert told["python"] == platform.python_version()
    assert told["executable"] == sys.executable
    assert told["packages"]["numpy"] == np.__version__
    assert told["user"]


@pytest.mark.needs("git")
def test_commit_and_dirtiness_of_the_folder_are_told(here: Path) -> None:
    assert provenance(here)["git"] is None
    git(here, "init", "-q")
    (here / "model.py").write_text("a = 1\n")
    git(here, "add", "model.py")
    git(here, "commit", "-q", "-m", "model")
    commit = git(here, "rev-parse", "HEAD")
    assert provenance(here)["git"] == {"commit": commit, "dirty": False}
    (here / "model.py").write_text("a = 2\n")

    assert provenance(here)["git"] == {"commit": commit, "dirty": True}


@pytest.mark.needs("git")
def test_a_repository_without_a_commit_is_none(here: Path) -> None:
    git(here, "init", "-q")

    assert provenance(here)["git"] is None


def test_the_function_has_a_name_and_a_hash_of_its_source(here: Path) -> None:
    def one(x: int) -> int:
        return x

    def other(x: int) -> int:
        return x + 1

    first, again, second = (provenance(here, fn)["function"] for fn in (one, one, other))

    assert first["name"].endswith("one")
    assert first == again
    assert first["source"] != second["source"]
    assert first["hash"] != second["hash"]


@pytest.mark.needs("git")
def test_the_dataset_tells_what_made_it(here: Path) -> None:
    git(here, "init", "-q")
    git(here, "commit", "-q", "--allow-empty", "-m", "model")
    crop = cf.Crop(lambda x: x, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": [1]}, seed=3)
    crop.grow()
    attrs = crop.reap().attrs

    assert attrs["cropfit_commit"] == git(here, "rev-parse", "HEAD")
    assert attrs["cropfit_version"] == cf.__version__
    assert attrs["cropfit_seed"] == 3
    assert attrs["cropfit_crop"].startswith("it ")
