"""A kill, an error or a full disk at every single file operation: the next run makes it right.

Each scene stands on a crop that is prepared once. For n = 1, 2, ... a copy of it is harmed at the
n-th operation of the scene's act, until the act is through before it comes to n operations. Then
the rest is done by a process that nobody harms, and the whole outcome is looked at.
"""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cropfit as cf
from faults.harness import (
    FAILED,
    FOREIGN,
    FULL,
    UNHARMED,
    Injector,
    Log,
    account,
    forked,
    report,
    scaled,
    tree,
)

XS = [0, 1, 2, 3, 4, 5]
MORE = [*XS, 6, 7, 8]


def make_function(calls: Path, broken: Path, fatal: int = -1) -> Callable[..., Any]:
    """A function that fails in case 4 while the file `broken` is there, and may kill its worker."""
    log, flag = Log(calls), str(broken)

    def work(x: int, thing: str) -> tuple[float, np.ndarray[Any, Any]]:
        log.add("start", x)
        if x == fatal:
            os.kill(os.getpid(), 9)
        if x == 4 and os.path.exists(flag):
            raise ValueError("case 4 is broken")
        if x == 1:
            with open(f"{cf.current_case().checkpoint_dir}/notes", "w") as file:
                file.write("half way")
        return x + len(thing), np.arange(3.0) * x

    return work


@dataclass(frozen=True)
class Scene:
    """A crop in ``base/field``; what else there is stands beside that folder.

    Parameters
    ----------
    base : Path
        Its folder.
    before : list of callables
        How the crop comes to be.
    act : callable
        What is done when the harm strikes.
    again : callable
        How the crop is sown after that.
    xs : list of int
        The cases that there are in the end.
    counted : bool
        Whether no case may be computed twice without need; what is deleted is.
    """

    base: Path
    before: list[Callable[[Scene], Any]]
    act: Callable[[Scene], Any]
    again: Callable[[Scene], Any]
    xs: list[int]
    counted: bool = True

    @property
    def field(self) -> Path:
        return self.base / "field"

    @property
    def broken(self) -> Path:
        return self.base / "broken"

    @property
    def calls(self) -> Path:
        return self.base / "calls"

    def crop(self, fatal: int = -1) -> cf.Crop:
        return cf.Crop(
            make_function(self.calls, self.broken, fatal),
            "it",
            parent_dir=self.field,
            batchsize=2,
            var_names=["total", "line"],
            var_dims={"line": ["k"]},
            verbosity=0,
        )

    def sow(self, xs: Any = XS, exists: Any = "keep", fatal: int = -1) -> None:
        combos = {"x": xs, "thing": {"a": "thing"}}
        self.crop(fatal).sow_combos(combos, exists=exists, seed=1)

    def sow_more(self) -> None:
        self.sow(MORE, "append")

    def sow_most(self) -> None:
        self.sow([*MORE, 9, 10], "append")

    def grow(self) -> None:
        self.crop().grow()

    def fail(self) -> None:
        """Grow, with case 4 broken."""
        self.broken.touch()
        self.grow()
        self.broken.unlink()

    def retry(self) -> None:
        self.crop().retry()
        self.grow()

    def die(self) -> None:
        """Sow, and lose a worker in case 3, in the second batch."""
        self.sow(fatal=3)
        assert forked(lambda: self.crop().grow(2), self.base / "died").killed

    def tear(self) -> None:
        """Grow batch 1, and tear its file."""
        self.crop().grow(1)
        (path,) = (self.field / ".crop-it" / "grown" / "000001").iterdir()
        os.truncate(path, path.stat().st_size - 5)

    def reap(self) -> None:
        self.crop().reap()

    def delete(self) -> None:
        self.crop().delete()

    def clean(self) -> None:
        self.crop().clean()

    def finish(self) -> None:
        """What a user does after an accident: everything once more."""
        self.broken.unlink(missing_ok=True)
        if self.crop().is_prepared() or not (self.field / "it.nc").exists():
            self.again(self)
            if self.act is Scene.clean:
                self.clean()
            self.crop().grow_missing()  # takes up what a dead worker left: failures, too
            self.crop().grow_missing()
            self.crop().reap()
        self.sow()
        self.delete()

    def check(self) -> None:
        """The right Dataset is on disk, and nothing else is left."""
        with xr.open_dataset(self.field / "it.nc") as ds:
            assert ds["x"].values.tolist() == self.xs
            assert ds["total"].values.ravel().tolist() == [x + 5.0 for x in self.xs]
            lines = ds["line"].values.reshape(len(self.xs), 3).tolist()
            assert lines == [[0.0, 1.0 * x, 2.0 * x] for x in self.xs]
        assert tree(self.field) == ["it.nc"]

    def begun(self) -> list[str]:
        """Which cases were begun by whom; but for the one that fails, and so is tried again."""
        return [line for line in Log(self.calls).lines() if line.split()[1] != "4"]


def _replace(scene: Scene) -> None:
    scene.sow(XS, "replace")


SCENES: dict[str, tuple[Any, ...]] = {
    "sow": ([], Scene.sow, Scene.sow, XS),
    "sow_again": ([Scene.die], Scene.sow, Scene.sow, XS),
    "replace": ([lambda scene: scene.sow([1, 2, 3])], _replace, _replace, XS),
    "append": ([Scene.sow, Scene.grow], Scene.sow_more, Scene.sow_more, MORE),
    "append_others": ([Scene.sow], Scene.sow_more, Scene.sow_most, [*MORE, 9, 10]),
    "grow": ([Scene.die, Scene.sow], Scene.grow, Scene.sow, XS),
    "fail": ([Scene.sow], Scene.fail, Scene.sow, XS),
    "retry": ([Scene.sow, Scene.fail], Scene.retry, Scene.sow, XS),
    "clean": ([Scene.die, Scene.tear, Scene.sow], Scene.clean, Scene.sow, XS),
    "reap": ([Scene.sow, Scene.grow], Scene.reap, Scene.sow, XS),
    "delete": ([Scene.sow, Scene.grow], Scene.delete, Scene.sow, XS, False),
}
HARMS = ["kill", "torn", "lost", "full", "EIO", "ENOSPC"]
EVERY = {"kill": 4, "EIO": 6, "ENOSPC": 9}  # of a short run: every fourth operation, and so on


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Scene, Path]]:
    """Each scene, and a copy of its folder as it is before the act."""
    top = tmp_path_factory.mktemp("scenes")

    def prepared(name: str) -> tuple[Scene, Path]:
        scene, saved = Scene(top / name, *SCENES[name]), top / f"{name}.saved"
        if not saved.exists():
            scene.field.mkdir(parents=True)
            for step in scene.before:
                done = forked(partial(step, scene), scene.base / "child")
                assert done.code == 0, done.said
            shutil.copytree(scene.base, saved)
        return scene, saved

    return prepared


@pytest.mark.timeout(scaled(120, 1200))
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", SCENES)
def test_harm_at_every_operation_costs_nothing(
    name: str, harm: str, prepare: Callable[[str], tuple[Scene, Path]]
) -> None:
    """Whatever the operation: nothing is lost, and one more run ends with the right Dataset."""
    scene, saved = prepare(name)
    step = 1 if FULL else EVERY.get(harm, 1)
    at, points, repeated = 1 + len(name) % step, 0, 0
    while True:
        shutil.rmtree(scene.base)
        shutil.copytree(saved, scene.base)
        again = _harm_once(scene, at, harm)
        if again is None:
            break
        points, at, repeated = points + 1, at + step, repeated + again
    assert points or harm != "kill"
    report(scene=name, harm=harm, points=points, repeated=repeated)


def _harm_once(scene: Scene, at: int, harm: str) -> int | None:
    """Harm one operation and see that all comes right; None if there are not so many."""
    log = scene.base / "child"

    def harmed() -> None:
        with Injector(scene.field, at, harm) as injector:
            try:
                scene.act(scene)
            except BaseException:
                if injector.count < at:
                    traceback.print_exc()
                    os._exit(FOREIGN)  # the act itself is at fault
                raise
            if injector.count < at:
                os._exit(UNHARMED)

    ended = forked(harmed, log)
    if ended.code == UNHARMED:
        return None
    where = f"operation {at}: {ended}"
    if harm in ("kill", "torn"):
        assert ended.killed, where
    else:
        assert ended.code in (0, FAILED), where
    finished = forked(scene.finish, log)
    assert finished.code == 0, f"{where}; then {finished.said}"
    try:
        scene.check()
        begun = scene.begun()
        pids = [int(line.split()[2]) for line in begun if int(line.split()[2]) != finished.pid]
        told = account(begun, set(scene.xs) - {4}, pids)
        assert not told.lost
        assert not (scene.counted and told.unexplained)
    except BaseException as error:
        raise AssertionError(where) from error
    return told.repeated
