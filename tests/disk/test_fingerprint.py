"""What a notebook defined itself has the same fingerprint in its next session."""

from __future__ import annotations

import json

import numpy as np
import pytest
from steps import python

from cropfit.disk.fingerprint import fingerprint
from cropfit.disk.pickles import pieces

PROGRAM = """
import json, sys
from cropfit.disk.fingerprint import fingerprint
import numpy as np

class Base:
    def twice(self): return FACTOR * self.n

class Data(Base):
    kind = "data"
    def __init__(self, n): self.n = n; super().__init__()
    def me(self): return Data(self.n)

def fit(data, method=None):
    def inner(): return Data
    return inner() if method is None else fit(data)

everything = {
    "instance": Data(3), "class": Data, "function": fit, "lambda": lambda x: fit(x),
    "nested": {"a": [Data(1), fit], "b": (np.arange(3), print)}, "bound": Data(2).twice,
}
print(json.dumps({name: fingerprint(each) for name, each in everything.items()}))
"""


def session(program: str, lines: int) -> dict[str, str]:
    cell = f"exec(compile({chr(10) * lines + program!r}, '/tmp/cell-{lines}.py', 'exec'))"
    found: dict[str, str] = json.loads(python(cell))
    return found


def test_sessions_agree_wherever_the_cell_stood() -> None:
    first = session(PROGRAM.replace("FACTOR", "2"), 1)

    assert session(PROGRAM.replace("FACTOR", "2"), 7) == first
    assert len(set(first.values())) == len(first)


def test_a_changed_method_changes_all_that_has_it() -> None:
    first = session(PROGRAM.replace("FACTOR", "2"), 1)
    second = session(PROGRAM.replace("FACTOR", "3"), 1)

    assert [name for name in first if first[name] == second[name]] == []


@pytest.mark.parametrize(
    ("one", "other"), [(1, 2), ("a", "b"), (np.arange(3), np.arange(4)), ([1], (1,)), (len, max)]
)
def test_what_differs_has_another_fingerprint(one: object, other: object) -> None:
    assert fingerprint(one) == fingerprint(one, pieces(one))
    assert fingerprint(one) != fingerprint(other)
