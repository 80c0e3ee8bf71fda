"""A problem's fingerprint tells what differs, and is the same in every process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from steps import python

import cropfit as cf

PROGRAM = """
import json
import numpy as np, pandas as pd, xarray as xr
from scipy import stats
import cropfit as cf
from dataclasses import dataclass

FACTOR = 2.0

class Instrument:
    def __init__(self, gain): self.gain = gain
    def respond(self, x): return self.gain * x

@dataclass
class Spectrum:
    flux: object
    names: frozenset = frozenset({"OII", "Halpha", "NII", "SII"})

def curve(p, x): return FACTOR * p.a * x
def likelihood(p, data): return -np.sum((data - curve(p, np.arange(3.0))) ** 2)

table = pd.DataFrame({"x": [1.0, 2.0], "name": ["b", "a"]})
data = {
    "array": np.arange(3.0), "dict": {"x": 1, "y": np.ones(2)}, "frame": table,
    "dataset": xr.Dataset({"y": ("x", [1.0, 2.0])}, {"x": [0, 1]}),
    "own": Spectrum(np.ones(3)), "instance": Instrument(3.0), "text": "abc",
}
conditional = cf.Conditional(lambda p: cf.Uniform(0, p.a))
priors = {"a": cf.Uniform(0, 1), "k": stats.gamma(2), "c": conditional}
model = cf.Model(likelihood, priors, vectorized=False, constraint=lambda p: p.a > 0)
found = {n: model.bind(d).identity() for n, d in data.items()}
"""


def session(program: str) -> dict[str, dict[str, str]]:
    """What the program finds as a script of its own."""
    found: dict[str, dict[str, str]] = json.loads(python(f"{program}print(json.dumps(found))"))
    return found


def found_by(program: str) -> dict[str, str]:
    names = {"__name__": "__main__"}
    exec(program, names)
    return names["found"]["array"]  # type: ignore[index, return-value]


def test_two_processes_agree():
    first = session(PROGRAM)
    assert session(PROGRAM) == first
    assert len({each["the data"] for each in first.values()}) == len(first)


@pytest.mark.parametrize(
    ("was", "now", "differs"),
    [
        ("FACTOR = 2.0", "FACTOR = 3.0", {"the likelihood"}),
        ("* p.a * x", "* p.a / x", {"the likelihood"}),
        ("- curve(", "+ curve(", {"the likelihood"}),
        ("Uniform(0, 1)", "Uniform(0, 2)", {"the prior of 'a'"}),
        ("gamma(2)", "gamma(3)", {"the prior of 'k'"}),
        ("Uniform(0, p.a)", "Uniform(-1, p.a)", {"the prior of 'c'"}),
        ("p.a > 0", "p.a > 0.1", {"the constraint"}),
        ("np.arange(3.0), ", "np.arange(4.0), ", {"the data"}),
        ("import json\n", "\n\n# a remark\nimport json\n", set()),
        ("import json\n", "import json\na = arange = 1  # named as attributes are\n", set()),
    ],
)
def test_what_changed_is_named(was, now, differs):
    assert was in PROGRAM
    first, second = found_by(PROGRAM), found_by(PROGRAM.replace(was, now))
    assert {name for name in first if first[name] != second[name]} == differs


def nothing(p, data):
    return 0.0


def data_told(value: object) -> str:
    return cf.Model(nothing, {"a": cf.Uniform(0, 1)}).bind(value).identity()["the data"]


@dataclass
class Spectrum:
    flux: object


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.arange(3), np.arange(3.0)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        ({"x": 1}, {"y": 1}),
        ((1, 2), [1, 2]),
        (1, 1.0),
        (pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [2]})),
        (pd.Series([1, 2]), pd.Series([1, 3])),
        (xr.DataArray([1, 2], dims="t"), xr.DataArray([1, 2], dims="s")),
        (xr.Dataset({"a": 1}), xr.Dataset({"a": 2})),
        (Spectrum(np.ones(2)), Spectrum(np.zeros(2))),
        (SimpleNamespace(a=1), SimpleNamespace(a=2)),
        (partial(max, 1), partial(max, 2)),
        (np.array(["a", None], object), np.array(["b", None], object)),
    ],
)
def test_other_data_have_another_fingerprint(one, other):
    assert data_told(one) == data_told(one)
    assert data_told(one) != data_told(other)


def test_equal_data_have_one_fingerprint_however_they_lie_in_memory():
    table = np.arange(12.0).reshape(3, 4)
    assert data_told(table) == data_told(np.asfortranarray(table))
    assert data_told({"x": 1, "y": 2}) == data_told({"y": 2, "x": 1})


def test_data_that_hold_themselves_are_told_too():
    ring: list[object] = [1]
    ring.append(ring)
    other: list[object] = [2]
    other.append(other)
    assert data_told(ring) == data_told(ring)
    assert data_told(ring) != data_told(other)


def test_a_problem_has_one_fingerprint():
    model = cf.Model(nothing, {"a": cf.Uniform(0, 1)})
    assert model.bind(1).fingerprint() == model.bind(1).fingerprint()
    assert model.bind(1).fingerprint() != model.bind(2).fingerprint()
