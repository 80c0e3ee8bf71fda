"""A fit's checkpoint: a folder of the sampler's files behind a guard.

    guard.json   what is being fitted, and how: written once, whole, before all else
    sampler/     the sampler's own
    fit.nc       the finished fit, in place of sampler/

A folder whose guard tells of another likelihood, prior, data or setting is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, write_whole
from cropfit.errors import DamagedError, DesignError, ExistsError
from cropfit.fitting.result import Fit

__all__ = ["Checkpoint"]

FORMAT = "cropfit checkpoint 1"
GUARD, SAMPLER, FINISHED = "guard.json", "sampler", "fit.nc"


class Checkpoint:
    """The checkpoint in `folder`, made there if there is none.

    Parameters
    ----------
    folder : path
        New, empty, or a checkpoint already.
    identity : mapping
        What is fitted: name of each part → fingerprint.
    settings : mapping
        How: plain values. A ``seed`` of None takes the checkpoint's own.
    seed : int
        For a checkpoint that is new.

    Attributes
    ----------
    seed : int
        That the sampler has to use.

    Raises
    ------
    ExistsError
        It was made with something else; says with what.
    DamagedError
        The guard cannot be read.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        identity: Mapping[str, str],
        settings: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.folder = os.path.abspath(os.fspath(folder))
        if os.path.isdir(self.folder):
            self._drop_drafts()
        elif os.path.lexists(self.folder):
            raise DesignError(f"checkpoint={self.folder!r} is a file; name a folder.")
        else:
            os.mkdir(self.folder, 0o700)  # a parent that is gone must not come back
        wanted = {"identity": dict(identity), "settings": dict(settings)}
        found = self._read()
        if found is None:
            wanted["settings"]["seed"] = seed
            text = json.dumps({"format": FORMAT, **wanted}, indent=1).encode()
            write_whole(self._path(GUARD), text, str(Owner.here()), sync=True)
            found = wanted
        else:
            self._compare(found, wanted)
        self.seed = int(found["settings"]["seed"])

    def sampler_folder(self) -> str:
        """Where the sampler keeps its files; made if it is not there."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._path(SAMPLER), 0o700)
        return self._path(SAMPLER)

    def finished(self) -> Fit | None:
        """The fit, if it was finished before."""
        path = self._path(FINISHED)
        if not os.path.exists(path):
            return None
        shutil.rmtree(self._path(SAMPLER), ignore_errors=True)
        return Fit.load(path)

    def finish(self, fit: Fit) -> None:
        """Keep the finished fit instead of the sampler's files."""
        fit.save(self._path(FINISHED), overwrite=True)
        shutil.rmtree(self._path(SAMPLER), ignore_errors=True)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _drop_drafts(self) -> None:
        """Remove what a process that was killed in the middle of writing left."""
        for name in os.listdir(self.folder):
            if name.startswith((GUARD, f".{FINISHED}")) and name.endswith(DRAFT):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path(name))

    def _read(self) -> dict[str, Any] | None:
        try:
            with open(self._path(GUARD), "rb") as file:
                found = json.loads(file.read())
        except FileNotFoundError:
            others = sorted(os.listdir(self.folder))
            if others:
                raise ExistsError(
                    f"{self.folder} is no checkpoint of cropfit: it has no {GUARD} but holds "
                    f"{', '.join(others[:3])}. Name a new or empty folder with checkpoint=."
                ) from None
            return None
        except ValueError as error:
            raise DamagedError(
                f"{self._path(GUARD)} cannot be read ({error}). {self._anew()}"
            ) from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise DamagedError(f"{self._path(GUARD)} is of no known format. {self._anew()}")
        return found

    def _compare(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        old, new = found["identity"], wanted["identity"]
        differ = [part for part in {**old, **new} if old.get(part) != new.get(part)]
        was, now = found["settings"], wanted["settings"]
        for name in {**was, **now}:
            if was.get(name) != now.get(name) and not (name == "seed" and now.get(name) is None):
                differ.append(f"{name} ({was.get(name)} there, {now.get(name)} here)")
        if differ:
            raise ExistsError(
                f"The checkpoint in {self.folder} belongs to another fit. What differs: "
                f"{', '.join(differ)}. Go on with what it was made with, or name another folder. "
                f"{self._anew()}"
            )

    def _anew(self) -> str:
        return f"To start anew, delete it: rm -r '{self.folder}'"
