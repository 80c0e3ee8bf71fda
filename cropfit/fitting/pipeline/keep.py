"""What a pipeline keeps on disk, so that a run that was killed goes on.

folder/pipeline.json       the seed
folder/<stage>/guard.json  what the stage and all before it are: written before it begins
               failed.json why it failed, if it did: it may then be changed
               fit/        the sampler's checkpoint
               log.txt     what a program printed, beside its inputs and outputs
               fit.nc      its value: a Fit, or value.pkl
               done.json   numbers handed on, seconds: written last, so that it tells
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import secrets
import shutil
from collections.abc import Mapping
from typing import Any

from cropfit.attributes import from_plain, to_plain
from cropfit.disk.owner import Owner
from cropfit.disk.pickles import dumps
from cropfit.disk.publish import check_own, discard, write_whole
from cropfit.errors import DamagedError, DesignError, ExistsError
from cropfit.fitting.result import Fit

__all__ = ["Folder", "open_folder"]

FORMAT = "cropfit pipeline 1"
PIPELINE, GUARD, FAILED, DONE = "pipeline.json", "guard.json", "failed.json", "done.json"
FIT, VALUE, CHECKPOINT = "fit.nc", "value.pkl", "fit"


def open_folder(folder: str, seed: int | None) -> int:
    """Make a pipeline's folder, or take the one that is there; its seed.

    Where no stage has begun yet, as after a plan, the seed may still be another one.

    Raises
    ------
    ExistsError
        It is a folder of something else, or of another seed.
    """
    path = os.path.join(folder, PIPELINE)
    known = _read(path)
    if known is None:
        if os.path.isdir(folder) and os.listdir(folder):
            raise ExistsError(
                f"{folder} is no folder of a pipeline: it has no {PIPELINE} but holds other "
                "files. Name a new or empty one with folder=."
            )
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise DesignError(f"folder={folder!r} is a file.")
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)  # a parent that is gone must not come back
        known = {"seed": secrets.randbits(32) if seed is None else seed}
        _write(path, known)
    if seed is not None and known["seed"] != seed and not _has_begun(folder):
        known = {"seed": seed}
        _write(path, known)
    if seed is not None and known["seed"] != seed:
        raise ExistsError(
            f"The pipeline in {folder} runs with seed {known['seed']}, not {seed}. Leave the seed "
            f"out, name another folder=, or start anew: rm -r '{folder}'"
        )
    return int(known["seed"])


def _has_begun(folder: str) -> bool:
    stages = (os.path.join(folder, name) for name in os.listdir(folder))
    return any(os.path.exists(os.path.join(stage, GUARD)) for stage in stages)


class Folder:
    """The folder of one stage.

    Parameters
    ----------
    parent : str
        The pipeline's.
    name : str
        The stage's.
    identity : mapping
        Digest of each part of this stage and of all before it, and of the data.
    """

    def __init__(self, parent: str, name: str, identity: Mapping[str, str]) -> None:
        self.path = os.path.join(parent, name)
        self.name = name
        self.identity = dict(identity)

    def check(self) -> None:
        """Refuse what was begun with something else.

        Raises
        ------
        ExistsError
            Says what differs.
        """
        found = _read(self._file(GUARD))
        if found is None or self._changed_after_failure(found):
            return
        old, new = found["identity"], self.identity
        differ = [part for part in {**old, **new} if old.get(part) != new.get(part)]
        if differ:
            raise ExistsError(
                f"Stage {self.name!r} in {self.path} was begun with something else. What differs: "
                f"{', '.join(differ)}. Go on with what it was begun with, or name another "
                f"folder=. To start it anew, with all stages behind it: rm -r '{self.path}'"
            )

    def _changed_after_failure(self, guard: Mapping[str, Any]) -> bool:
        """Whether it failed, and is something else now: then it begins anew."""
        return guard["identity"] != self.identity and os.path.exists(self._file(FAILED))

    def begin(self) -> None:
        """Make the folder and its guard, or go on in the one that is there."""
        guard = _read(self._file(GUARD))
        if guard is not None and self._changed_after_failure(guard):
            discard(self.path, str(Owner.here()))
            guard = None
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
        if guard is None:
            _write(self._file(GUARD), {"identity": self.identity})
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._file(FAILED))

    def fail(self, why: str) -> None:
        """Note that it failed; a full disk must not hide why."""
        with contextlib.suppress(OSError):
            _write(self._file(FAILED), {"error": why})

    def failure(self) -> str | None:
        """Why it failed."""
        found = _read(self._file(FAILED))
        return None if found is None else str(found["error"])

    @property
    def begun(self) -> bool:
        """Whether it was begun."""
        return os.path.exists(self._file(GUARD))

    def finish(self, value: Any, record: Mapping[str, Any]) -> None:
        """Keep what it found.

        Raises
        ------
        DesignError
            The value cannot be pickled.
        """
        if isinstance(value, Fit):
            value.save(self._file(FIT), overwrite=True)
        elif value is not None:
            try:
                data = dumps(value)
            except Exception as error:
                raise DesignError(
                    f"its value cannot be pickled, and so not be kept ({type(error).__name__}: "
                    f"{error})"
                ) from error
            write_whole(self._file(VALUE), data, str(Owner.here()), sync=True)
        kind = "fit" if isinstance(value, Fit) else "none" if value is None else "value"
        _write(self._file(DONE), {**record, "value": kind})
        shutil.rmtree(self._file(CHECKPOINT), ignore_errors=True)

    def finished(self) -> tuple[Any, dict[str, Any]] | None:
        """Its value and record, if it was finished."""
        record = _read(self._file(DONE))
        if record is None:
            return None
        if record["value"] == "fit":
            return Fit.load(self._file(FIT)), record
        return self._value() if record["value"] == "value" else None, record

    def _value(self) -> Any:
        path = self._file(VALUE)
        check_own(path)
        try:
            with open(path, "rb") as file:
                return pickle.load(file)
        except Exception as error:
            raise DamagedError(
                f"{path} cannot be read ({type(error).__name__}: {error}). To compute it again: "
                f"rm -r '{self.path}'"
            ) from error

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)


def _write(path: str, content: Mapping[str, Any]) -> None:
    text = json.dumps(to_plain({"format": FORMAT, **content}), indent=1, allow_nan=False)
    write_whole(path, text.encode(), str(Owner.here()), sync=True)


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            found = from_plain(json.loads(file.read()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DamagedError(f"{path} cannot be read ({error}); delete its folder.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DamagedError(f"{path} is of no known format; delete its folder.")
    return found
