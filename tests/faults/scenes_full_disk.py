"""What happens on a small disk; run by ``test_full_disk.py`` in a mount namespace of its own.

python scenes_full_disk.py FOLDER SCENE      FOLDER is a tmpfs of 4 MiB or of few inodes
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import cropfit as cf
from faults.harness import Log, account, tree

GROW = "import sys, cropfit; cropfit.grow(crop=sys.argv[1], num_workers=eval(sys.argv[2]))"
XS = range(12)
BIG = 20_000  # floats of a case: 160 kB, and 2 MB all together


class Disk:
    """A small file system: filled, and freed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ballast: list[Path] = []

    def free(self) -> tuple[int, int]:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize, found.f_favail

    def fill(self, leave: int = 0) -> None:
        """Take all bytes but `leave`."""
        path = self.folder / f"ballast-{len(self.ballast)}"
        self.ballast.append(path)
        path.write_bytes(bytes(max(0, self.free()[0] - leave)))

    def fill_inodes(self, leave: int = 0) -> None:
        """Take all inodes but `leave`."""
        for number in range(self.free()[1] - leave):
            self.ballast.append(self.folder / f"ballast-inode-{number}")
            self.ballast[-1].touch()

    def relieve(self) -> None:
        """Give all back."""
        for path in self.ballast:
            path.unlink()
        self.ballast.clear()


class Scene:
    """A crop on a small disk, and a log of what is computed on another one."""

    def __init__(self, folder: Path, *, big: int = BIG, batchsize: int = 4) -> None:
        self.folder = folder
        self.disk = Disk(folder)
        self.log = Log(folder.with_name("calls"))
        self.big, self.batchsize = big, batchsize

    def crop(self, hook: Callable[[int], Any] = lambda x: None) -> cf.Crop:
        log, big = self.log, self.big

        def work(x: int) -> tuple[int, np.ndarray[Any, Any]]:
            log.add("start", x)
            hook(x)
            return 2 * x, np.full(big, x, float)

        return cf.Crop(
            work,
            "it",
            parent_dir=self.folder,
            batchsize=self.batchsize,
            var_names=["z", "line"],
            var_dims={"line": ["k"]},
            verbosity=0,
        )

    def sow(self, hook: Callable[[int], Any] = lambda x: None) -> cf.Crop:
        crop = self.crop(hook)
        crop.sow_combos({"x": XS})
        return crop

    def refused(self, act: Callable[[], Any], place: str) -> str:
        """The error with which `act` ends; it names the place."""
        told = ""
        try:
            act()
        except cf.CropError as error:
            told = str(error)
        assert place in told, told or "nothing was reported"
        assert "No space left" in told or "too full" in told, told
        return told

    def finish(self, repeated: int) -> None:
        """With room on the disk all is done; `repeated` cases at most were computed twice."""
        self.disk.relieve()
        crop = self.sow()
        crop.grow()
        assert crop.status().grown == crop.num_sown_batches, str(crop)
        crop.reap()
        told = account(self.log.lines(), XS, [])
        assert not told.lost
        assert told.repeated <= repeated, told
        with xr.open_dataset(self.folder / "it.nc") as ds:
            assert ds["z"].values.tolist() == [2 * x for x in XS]
            assert (ds["line"].values == np.array(XS, float)[:, None]).all()
        assert tree(self.folder) == ["it.nc"], tree(self.folder)
        print(f"cases {len(XS)}, lost {len(told.lost)}, wrong 0, repeated {told.repeated}")

    def states(self) -> dict[str, int]:
        told = self.crop().status().to_dict()
        kinds = ("sown", "growing", "grown", "failed", "ignored")
        return {kind: told[kind] for kind in kinds if told[kind]}


def sow(scene: Scene) -> None:
    """Nothing is left of a crop that found no room."""
    for leave in (0, 4096):
        scene.disk.fill(leave)
        scene.refused(scene.sow, scene.crop().location)
        scene.disk.relieve()
        assert tree(scene.folder) == []
    scene.finish(0)


def sow_inodes(scene: Scene) -> None:
    for leave in (0, 1, 2, 5, 9):
        scene.disk.fill_inodes(leave)
        scene.refused(scene.sow, scene.crop().location)
        scene.disk.relieve()
        assert tree(scene.folder) == []
    scene.finish(0)


def append(scene: Scene) -> None:
    """A crop that cannot be appended to stays as it was."""
    crop = scene.sow()
    crop.grow()
    scene.disk.fill()
    more = [*XS, 100, 101]
    scene.refused(lambda: scene.crop().sow_combos({"x": more}, exists="append"), crop.location)
    assert scene.states() == {"grown": 3}
    scene.finish(0)


def grow(scene: Scene) -> None:
    """The results fill the disk; what was recorded stays, what was in hand is computed again."""
    crop = scene.sow()
    scene.disk.fill(6 * BIG * 8)
    scene.refused(crop.grow, crop.location)
    assert "growing" not in scene.states()
    assert "failed" not in scene.states()  # the disk is full: that is no case's fault
    scene.finish(1)


def grow_objects(scene: Scene) -> None:
    """The same where each case is recorded by itself."""

    def crop_of() -> cf.Crop:
        crop = scene.crop()
        crop.sow_combos({"x": {f"{x}": x for x in XS}})
        return crop

    crop = crop_of()
    scene.disk.fill(6 * BIG * 8)
    scene.refused(lambda: crop.grow(retries=2), crop.location)
    assert "growing" not in scene.states()
    assert "failed" not in scene.states()
    scene.disk.relieve()
    crop_of().grow()
    ds = crop.reap()
    assert ds["z"].values.tolist() == [2 * x for x in XS]
    told = account(scene.log.lines(), XS, [])
    assert (told.lost, told.repeated) == ([], 1)
    assert tree(scene.folder) == ["it.nc"]


def finish_on_full_disk(scene: Scene) -> None:
    """The disk fills in the last case of a batch, whose result is small."""
    disk, big = scene.disk, scene.big
    fill = lambda x: disk.fill() if x == 3 else None  # noqa: E731
    del big
    crop = scene.sow(fill)
    scene.refused(crop.grow, crop.location)
    assert "growing" not in scene.states()
    for path in scene.folder.glob("ballast*"):
        disk.ballast.append(path)
    disk.ballast = sorted(set(disk.ballast))
    scene.finish(1)


def grow_inodes(scene: Scene) -> None:
    crop = scene.sow()
    scene.disk.fill_inodes()
    scene.refused(crop.grow, crop.location)
    assert scene.states() == {"sown": 3}
    scene.finish(1)


def workers(scene: Scene) -> None:
    """Processes of a supervisor: the error is told, and nobody tries for ever."""
    crop = scene.sow()
    scene.disk.fill(6 * BIG * 8)
    scene.refused(lambda: crop.grow(num_workers=2), crop.location)
    assert "growing" not in scene.states()
    assert "failed" not in scene.states()
    scene.finish(2)


def shell(scene: Scene) -> None:
    """From the shell it is an exit code, too."""
    crop = scene.sow()
    scene.disk.fill(6 * BIG * 8)
    for num_workers in ("None", "2"):
        done = subprocess.run(
            [sys.executable, "-c", GROW, crop.location, num_workers],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode != 0
        assert "No space left" in done.stderr
        assert crop.location in done.stderr
    scene.finish(3)


def reap(scene: Scene) -> None:
    """The Dataset does not fit beside the crop: the crop stays, and no draft."""
    crop = scene.sow()
    crop.grow()
    before = tree(scene.folder)
    for leave in (0, 10_000, 300_000, 1_000_000):
        scene.disk.fill(leave)
        for options in ({}, {"load": False, "to": scene.folder / "it.nc"}):
            scene.refused(lambda options=options: crop.reap(**options), str(scene.folder))
        scene.disk.relieve()
        assert tree(scene.folder) == before
    scene.finish(0)


def reap_inodes(scene: Scene) -> None:
    crop = scene.sow()
    crop.grow()
    before = tree(scene.folder)
    scene.disk.fill_inodes()
    scene.refused(crop.reap, str(scene.folder))
    scene.disk.relieve()
    assert tree(scene.folder) == before
    scene.finish(0)


def reap_pickle(scene: Scene) -> None:
    """The same for a list of objects."""
    crop = scene.sow()
    crop.grow()
    before = tree(scene.folder)
    scene.disk.fill(10_000)
    scene.refused(lambda: crop.reap(to=scene.folder / "it.pkl", nested=True), str(scene.folder))
    scene.disk.relieve()
    assert tree(scene.folder) == before
    scene.finish(0)


def care(scene: Scene) -> None:
    """A full disk keeps nobody from looking, retrying, cleaning and deleting."""
    crop = scene.sow(lambda x: 1 / (x - 5))
    crop.grow()
    assert scene.states() == {"grown": 2, "failed": 1}
    scene.disk.fill()
    scene.disk.fill_inodes()
    assert [failure["case"] for failure in crop.errors()] == [5]
    assert crop.status().failed == 1
    assert crop.retry() == [2]
    assert set(crop.clean().values()) == {0}
    assert crop.peek()["z"].notnull().sum() == 11
    crop.delete()
    scene.disk.relieve()
    assert tree(scene.folder) == []
    print("care")


SCENES = {name: value for name, value in globals().items() if callable(value) and name.islower()}

if __name__ == "__main__":
    where = Path(sys.argv[1])
    SCENES[sys.argv[2]](Scene(where))
