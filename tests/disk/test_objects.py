"""Objects come back as they were sown, each alone, or it is said which one is damaged."""

from __future__ import annotations

import contextlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cropfit.disk.objects import ObjectReader, ObjectWriter
from cropfit.errors import DamagedError, DesignError, ForeignFileError

OBJECTS = {"first": {"a": 1}, "empty": b"", "third": "x" * 50}


class Loud:
    """Cannot be pickled, and says why."""

    def __reduce__(self):
        raise RuntimeError("never")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "objects-1.bin"


def write(path: Path, *axes: tuple[str, dict]) -> list[ObjectReader]:
    writer = ObjectWriter(str(path))
    readers = []
    for axis, objects in axes:
        ends, digests = writer.add(axis, list(objects), list(objects.values()))
        assert len(digests) == len(objects)
        readers.append(ObjectReader(str(path), axis, ends))
    writer.close()
    return readers


def test_objects_of_several_axes_come_back_in_any_order(path):
    arrays = {"one": np.arange(5.0), "two": np.ones((3, 3))}
    things, fields = write(path, ("thing", OBJECTS), ("field", arrays))

    assert [things(k) for k in (2, 0, 1)] == ["x" * 50, {"a": 1}, b""]
    np.testing.assert_array_equal(fields(1), np.ones((3, 3)))
    np.testing.assert_array_equal(fields(0), np.arange(5.0))
    assert [things.is_whole(k) for k in range(3)] == [True] * 3
    for reader in (things, fields):
        reader.close()
        reader.close()


def test_every_call_gives_a_new_object(path):
    """A function that changes its input must not change that of the next case."""
    (read,) = write(path, ("thing", {"list": [1]}))

    read(0).append(2)

    assert read(0) == [1]


def test_what_a_notebook_defined_itself_comes_back(path, monkeypatch):
    local = type("Model", (), {"__module__": "__main__", "power": 3})
    monkeypatch.setattr(sys.modules["__main__"], "Model", local, raising=False)
    (read,) = write(path, ("model", {"cubic": local(), "class": local, "call": lambda x: x + 1}))
    monkeypatch.delattr(sys.modules["__main__"], "Model")

    assert read(0).power == 3
    assert read(1)().power == 3
    assert read(2)(1) == 2


def test_equal_objects_have_equal_fingerprints_and_others_have_others(path):
    writer = ObjectWriter(str(path))

    _, digests = writer.add("a", range(4), [np.arange(3), np.arange(3), np.arange(4), "arange"])
    writer.close()

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_an_object_that_cannot_be_pickled_is_named(path):
    writer = ObjectWriter(str(path))

    with pytest.raises(DesignError, match="'model': the object labelled 'bad' cannot be pickled"):
        writer.add("model", ["good", "bad"], [1, Loud()])
    writer.close()


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flip_anywhere_gives_the_same_object_or_an_error_that_names_it(path, bit):
    (read,) = write(path, ("thing", OBJECTS))
    content = path.read_bytes()
    meant = list(OBJECTS.values())
    caught = 0
    for at in range(len(content)):
        altered = bytearray(content)
        altered[at] ^= 1 << bit
        path.write_bytes(altered)
        for position, value in enumerate(meant):
            if read.is_whole(position):
                assert read(position) == value
                continue
            caught += 1
            with pytest.raises(DamagedError, match=f"object {position} of 'thing'"):
                read(position)
        read.close()

    # All but the bytes between the frames, and of one object alone.
    assert 0.7 * len(content) < caught <= len(content)


def test_a_file_that_ends_anywhere_gives_the_objects_before(path):
    (read,) = write(path, ("thing", OBJECTS))
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        found = []
        for position in range(3):
            try:
                found.append(read(position))
            except DamagedError:
                break
        assert found == list(OBJECTS.values())[: len(found)]
        read.close()
    assert found == list(OBJECTS.values())  # of the last one only padding was cut


def test_a_file_that_is_missing_is_not_whole(path):
    (read,) = write(path, ("thing", OBJECTS))
    os.unlink(path)

    assert read.is_whole(0) is False
    with pytest.raises(FileNotFoundError):
        read(0)


def test_a_file_that_anybody_may_write_is_not_unpickled(path):
    (read,) = write(path, ("thing", OBJECTS))
    path.chmod(0o666)

    with pytest.raises(ForeignFileError):
        read(0)


class Reads:
    """An object that reads another one while it is loaded, as if it grew a crop."""

    def __init__(self, path: Path, ends: Any) -> None:
        self.path, self.ends = path, ends

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self.inner = ObjectReader(str(self.path), "inner", self.ends)(0)


def test_an_object_that_reads_another_while_it_is_loaded_is_whole(path, tmp_path):
    writer = ObjectWriter(str(tmp_path / "inner"))
    ends, _ = writer.add("inner", ["zeros"], [np.zeros(1000)])
    writer.close()
    (read,) = write(path, ("outer", {"k": [Reads(tmp_path / "inner", ends), np.ones(1000)]}))

    for _ in range(2):  # the second time, memory of the first is there
        outer, after = read(0)
        assert not outer.inner.any()
        assert after.all()


def test_threads_read_their_objects_beside_each_other(path):
    arrays = {f"a{k}": np.full(50_000, float(k)) for k in range(8)}
    (read,) = write(path, ("field", arrays))

    def mean(k: int) -> float:
        with contextlib.closing(ObjectReader(str(path), "field", read._ends)) as own:
            return float(own(k % 8).mean())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(mean, range(200))) == [float(k % 8) for k in range(200)]


def test_an_object_that_takes_several_reads_is_whole(path, monkeypatch):
    """One call of the system gives 2 GiB at most."""
    (read,) = write(path, ("field", {"a": np.arange(1000.0), "b": np.ones(1000)}))
    preadv = os.preadv
    counts = []

    def little(handle: int, buffers: list[memoryview], start: int) -> int:
        counts.append(preadv(handle, [buffers[0][:1000]], start))
        return counts[-1]

    monkeypatch.setattr("cropfit.disk.objects.os.preadv", little)

    assert read(1).all()
    assert read(0).tolist() == list(range(1000))
    assert len(counts) >= 16
