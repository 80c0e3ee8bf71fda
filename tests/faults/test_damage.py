"""Truncation and flipped bits in every kind of file: an error that names it, or the right result.

The crop has a batch in every state. A copy of it is damaged in one place; then everything is done
that a user might do. Nothing may be wrong in the end, and nothing foreign be raised on the way.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cropfit as cf
from cropfit.disk.manifest import read_manifest
from cropfit.work.results import read_batch
from faults.harness import FULL, Log, forked, report, scaled, tree

XS = [0, 1, 2, 3, 4, 5]
THINGS = {"round": np.arange(40.0), "square": {"side": 2}}

SHUFFLE = 5  # puts the case that fails and the one that kills into different batches


@dataclass(frozen=True)
class Scene:
    """A crop in ``base/field``; what else there is stands beside that folder."""

    base: Path

    @property
    def root(self) -> Path:
        return self.base / "field" / ".crop-it"

    def crop(self) -> cf.Crop:
        log, broken, fatal = Log(self.base / "log"), self.base / "broken", self.base / "fatal"

        def work(x: int, thing: Any) -> tuple[float, str, np.ndarray[Any, Any]]:
            log.add("start", x)
            if x == 4 and len(thing) == 1 and fatal.exists():
                os.kill(os.getpid(), 9)
            if x == 1 and len(thing) == 1 and broken.exists():
                raise ValueError("broken")
            return x + len(thing), f"{x} of {len(thing)}", np.arange(30.0) * x

        return cf.Crop(
            work,
            "it",
            parent_dir=self.root.parent,
            batchsize=3,
            shuffle=SHUFFLE,
            var_names=["z", "text", "line"],
            var_dims={"line": ["k"]},
            var_coords={"k": np.linspace(0, 1, 30)},
            verbosity=0,
        )

    def sow(self) -> cf.Crop:
        crop = self.crop()
        crop.sow_combos({"x": XS, "thing": THINGS}, seed=1)
        return crop

    def check(self, ds: Any) -> None:
        for x in XS:
            for name, thing in THINGS.items():
                cell = ds.sel(x=x, thing=name)
                assert float(cell["z"]) == x + len(thing)
                assert str(cell["text"].values) == f"{x} of {len(thing)}"
                assert cell["line"].values.tolist() == (np.arange(30.0) * x).tolist()
        assert ds["k"].values.tolist() == np.linspace(0, 1, 30).tolist()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One batch in each of grown, failed, sown with what a dead worker left, and sown; saved."""
    scene = Scene(tmp_path_factory.mktemp("damage") / "here")
    scene.root.parent.mkdir(parents=True)
    (scene.base / "broken").touch()
    (scene.base / "fatal").touch()
    crop = scene.sow()
    for batch in range(1, 5):
        forked(lambda batch=batch: crop.grow(batch), scene.base / "child")
    crop.clean()
    told = crop.status()
    assert told.sown >= 1
    assert told.grown >= 1
    assert told.failed >= 1
    (scene.base / "broken").unlink()
    (scene.base / "fatal").unlink()
    shutil.copytree(scene.base, scene.base.with_name("saved"))
    return scene


def restore(scene: Scene) -> None:
    shutil.rmtree(scene.base)
    shutil.copytree(scene.base.with_name("saved"), scene.base)


KINDS = {
    "crop.json": "crop.json",
    "function.pkl": "function.pkl",
    "cases-1.npz": "cases-1.npz",
    "objects-1.bin": "objects-1.bin",
    "grown results": "grown/*/results.*",
    "failed results": "failed/*/results.*",
    "sown results": "sown/*/results.*",
    "errors.jsonl": "failed/*/errors.jsonl",
    "death": "sown/*/death.*",
}


def damages(
    size: int, rng: random.Random, number: int
) -> Iterator[tuple[str, Callable[..., bytes]]]:
    """Ways to damage a file of `size` bytes: name and what is done to its content."""

    def flip(at: int, bit: int, data: bytes) -> bytes:
        return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]

    yield "garbage", lambda data: data + b"\x01garbage"
    if size == 0:
        return
    yield "zeros", lambda data: bytes(len(data))
    lengths = {0, 1, size // 2, size - 1, *(rng.randrange(size) for _ in range(number // 3))}
    for length in sorted(lengths):
        yield f"cut to {length}", lambda data, length=length: data[:length]
    for _ in range(number):
        at, bit = rng.randrange(size), rng.randrange(8)
        yield f"bit {bit} of byte {at}", lambda data, at=at, bit=bit: flip(at, bit, data)


@pytest.mark.timeout(scaled(120, 3000))
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_told_or_harmless(scene: Scene, kind: str) -> None:
    rng = random.Random(kind)
    restore(scene)
    (path, *_) = sorted(scene.root.glob(KINDS[kind]))
    data, count, told = path.read_bytes(), 0, 0
    for what, damage in damages(len(data), rng, scaled(16, 300)):
        restore(scene)
        path.write_bytes(damage(data))
        try:
            told += _one_damage(scene, path, kind)
        except BaseException as error:
            raise AssertionError(f"{path.name}, {what}") from error
        count += 1
    report(damaged=kind, ways=count, told=told, lost=0, wrong=0)


def _one_damage(scene: Scene, path: Path, kind: str) -> bool:
    """Use the crop as if nothing had happened, then sow the same again; whether it was told."""
    damaged = path.read_bytes()
    before = tree(scene.root)
    errors = _use(scene, sow=False)
    if kind == "crop.json" and errors:
        # What was sown is not known any more: nothing is touched, and it is not mended by guess.
        errors += _use(scene, sow=True)
        assert all("crop.json" in error for error in errors), errors
        assert tree(scene.root) == before
        assert path.read_bytes() == damaged
        return True
    rounds = 0
    while scene.root.exists():
        assert rounds < 4, errors
        errors += _use(scene, sow=True)
        rounds += 1
    assert all(path.name in error or path.parent.name in error for error in errors), errors
    with cf_open(scene.root.parent / "it.nc") as ds:
        scene.check(ds)
    assert tree(scene.root.parent) == ["it.nc"]
    return bool(errors)


def cf_open(path: Path) -> Any:
    import xarray as xr

    return xr.open_dataset(path)


def _use(scene: Scene, sow: bool) -> list[str]:
    """Do all that can be done with a crop; the errors that cropfit raised."""
    told: list[str] = []
    crop = scene.crop()

    def attempt(act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return act(*args, **options)
        except cf.CropError as error:
            told.append(str(error))

    if sow:
        attempt(scene.sow)
    else:
        attempt(crop.status)
        attempt(crop.check_bad, repair=False)
    for failure in attempt(crop.errors) or []:
        if failure["type"] == "cropfit.errors.DamagedError":  # an object that cannot be read
            told.append(failure["message"])
        else:
            assert (failure["type"], failure["message"]) == ("ValueError", "broken")
            assert failure["arguments"] == {"x": 1, "thing": "square"}
    peeked = attempt(crop.peek)
    if peeked is not None:
        good = peeked["z"].notnull().values
        expected = np.array([[x + len(thing) for thing in THINGS.values()] for x in XS], float)
        assert np.array_equal(peeked["z"].values[good], expected[good])
    attempt(crop.grow_missing)
    # A failure in a file without its end stands until it is retried once more.
    attempt(crop.grow_missing)
    told += [failure["message"] for failure in attempt(crop.errors) or []]
    if not told or sow:
        attempt(crop.reap)
    return told


# -- every bit, where reading is all that is needed ------------------------------------


def flips(data: bytes, rng: random.Random, number: int) -> Iterator[tuple[int, bytes]]:
    """The data with one bit altered; every bit in a full run."""
    every = range(len(data) * 8)
    for position in every if FULL else rng.sample(every, min(number, len(every))):
        at, bit = divmod(position, 8)
        yield position, data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.mark.timeout(scaled(120, 3000))
@pytest.mark.parametrize("kind", ["crop.json", "cases-1.npz"])
def test_no_flipped_bit_alters_what_was_sown(scene: Scene, kind: str) -> None:
    restore(scene)
    path = scene.root / kind
    data, sound, told = path.read_bytes(), _content(str(scene.root)), 0
    for position, damaged in flips(data, random.Random(1), 700):
        path.write_bytes(damaged)
        try:
            found, error = _content(str(scene.root)), ""
        except cf.DamagedError as damage:
            found, error = sound, str(damage)
        assert found == sound, position
        assert not error or str(path) in error
        told += bool(error)
    assert told
    report(bits=kind, flipped=position + 1, told=told, wrong=0)


def _content(root: str) -> tuple[Any, ...]:
    manifest = read_manifest(root)
    batches = [manifest.cases_of(batch)[1].tolist() for batch in range(1, 5)]
    axes = {name: axis.labels.tolist() for name, axis in manifest.sowings[0].grid.axes.items()}
    ends = {name: at.tolist() for name, at in manifest.ends[0].items()}
    coords = {k: c.values.tolist() for k, c in manifest.outputs.var_coords.items()}
    return manifest.data, batches, axes, ends, coords


@pytest.mark.timeout(scaled(120, 3000))
def test_no_flipped_bit_alters_a_result(scene: Scene) -> None:
    restore(scene)
    (path, *_) = sorted(scene.root.glob("grown/*/results.*"))
    manifest, batch = read_manifest(str(scene.root)), int(path.parent.name)
    sound, data = read_batch(manifest, batch, str(path.parent)), path.read_bytes()
    assert not isinstance(sound, str)
    for position, damaged in flips(data, random.Random(2), 2000):
        path.write_bytes(damaged)
        found = read_batch(manifest, batch, str(path.parent))
        assert isinstance(found, str), position
        assert path.name in found
    report(bits="results", flipped=position + 1, told=position + 1, wrong=0)
