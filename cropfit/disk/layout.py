"""Every path of a crop, and nothing but paths: no call here touches the disk.

.crop-<name>/
    crop.json            what was sown, readable
    function.pkl         the function, constants and resources
    cases-1.npz          long axes, tables and orders of sowing 1, where there are any
    objects-1.bin        labelled objects of sowing 1, where there are any
    sown/000007/  growing/000008@host.pid.token/  grown/000009/  failed/000010/  ignored/000011/

Past `SHARDED_FROM` batches, all states but ``growing`` hold folders of a
thousand batches each: ``sown/012/012345``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cropfit.errors import DesignError

PREFIX = ".crop-"
STATES = ("sown", "growing", "grown", "failed", "ignored")
SHARDED_FROM = 100_000
SHARD = 1000

CROP_JSON = "crop.json"
FUNCTION = "function.pkl"
STOP = "stop"
RESULTS = "results."
ERRORS = "errors.jsonl"
LOG = "log.txt"
DEATH = "death."
CHECKPOINT = "checkpoint"

_NAME = re.compile(r"[^/\x00-\x1f]{1,200}")


def check_name(name: str) -> str:
    """Return `name` if it can be a crop's; it becomes part of a folder's name.

    Raises
    ------
    DesignError
        It is empty, too long, or holds a slash or a control character.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name != name.strip():
        raise DesignError(
            f"{name!r} cannot name a crop: 1 to 200 characters without '/' or control "
            "characters, and no space at either end."
        )
    return name


@dataclass(frozen=True)
class Layout:
    """The paths of one crop.

    Parameters
    ----------
    root : str
        The crop's folder.
    sharded : bool
        Whether the state folders hold shards.
    """

    root: str
    sharded: bool = False

    @property
    def crop_json(self) -> str:
        """The manifest."""
        return f"{self.root}/{CROP_JSON}"

    @property
    def function(self) -> str:
        """The pickled function, constants and resources."""
        return f"{self.root}/{FUNCTION}"

    @property
    def stop(self) -> str:
        """The file whose age tells workers to leave."""
        return f"{self.root}/{STOP}"

    def cases(self, sowing: int) -> str:
        """Arrays of sowing number `sowing`, from 1."""
        return f"{self.root}/cases-{sowing}.npz"

    def objects(self, sowing: int) -> str:
        """Pickled objects of sowing number `sowing`, from 1."""
        return f"{self.root}/objects-{sowing}.bin"

    def state(self, state: str) -> str:
        """The folder of all batches in `state`."""
        return f"{self.root}/{state}"

    def shard(self, state: str, batch: int) -> str:
        """The folder that directly holds `batch` in `state`."""
        if self.sharded and state != "growing":
            return f"{self.root}/{state}/{batch // SHARD:03d}"
        return f"{self.root}/{state}"

    def batch(self, state: str, batch: int) -> str:
        """The folder of `batch` in any state but ``growing``."""
        return f"{self.shard(state, batch)}/{batch:06d}"

    def claim(self, batch: int, owner: str) -> str:
        """The folder of `batch` while `owner` grows it."""
        return f"{self.root}/growing/{batch:06d}@{owner}"


def folder_of(parent: str, name: str) -> str:
    """Where the crop `name` below `parent` stands."""
    return f"{parent.rstrip('/')}/{PREFIX}{check_name(name)}"


def name_of(folder: str) -> str:
    """Name of the crop in `folder`, from the folder's own name."""
    base = folder.rstrip("/").rsplit("/", 1)[-1]
    return base[len(PREFIX) :] if base.startswith(PREFIX) else base
