"""Pickles in pieces are those in one piece, and know what they mention."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest

from cropfit.disk.pickles import dumps, mentions, pieces

BIG = np.arange(1 << 16, dtype=np.float64)
FLAT = np.zeros(0)


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


def defined_here(value: Any) -> Any:
    """An instance of a class that only a notebook has."""
    made = type("Holder", (), {"__module__": "__main__"})()
    made.value = value
    return made


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, "x" * 100_000, b"y" * 100_000, bytearray(100_000)]},
        BIG,
        BIG[::2],
        BIG.reshape(256, 256).T,
        BIG.astype(">f4"),
        BIG.astype("datetime64[s]"),
        np.array([{}, None], object),
        FLAT,
        [BIG, BIG, FLAT, BIG[:10]],
        list(range(100_000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pieces_are_the_bytes_of_one_pickle(value):
    assert b"".join(pieces(value)) == dumps(value) == pickle.dumps(value, protocol=5)


def test_big_arrays_are_not_copied():
    changed = BIG.copy()
    made = pieces(changed)
    changed[:] = -1.0

    assert (pickle.loads(b"".join(made)) == -1.0).all()


@pytest.mark.parametrize("before", [0, 1000, 40_000])
def test_what_a_notebook_defined_goes_by_value_wherever_it_stands(before):
    """Behind so many other objects, and beside big arrays: any process can load it."""
    value = [[{"n": n} for n in range(before)], BIG, defined_here(1), BIG]
    made = pieces(value)

    assert b"".join(made) == cloudpickle.dumps(value, protocol=5)
    assert mentions(made, b"cloudpickle")
    assert pickle.loads(b"".join(made))[2].value == 1


def test_bytes_in_big_arrays_are_no_names():
    raw = np.frombuffer(b"__main__ cloudpickle " * 20_000, np.uint8)

    assert not mentions(pieces(Holder(raw)), b"cloudpickle")
    assert mentions(pieces(Holder(raw)), b"Holder")
