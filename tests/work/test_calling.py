"""Arguments arrive by their names, whatever these are."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from cropfit.work.calling import by_name


def told(**given: Any) -> dict[str, Any]:
    return given


@pytest.mark.parametrize(
    "names",
    [
        ("a",),
        ("b", "a"),
        ("function", "row", "names"),
        ("class", "lambda", "None", "__debug__"),  # only ** can pass these
        ("\N{LATIN SMALL LIGATURE FI}", "fi"),  # one and the same to Python's compiler
        ("\N{GREEK SMALL LETTER ALPHA}", "x"),
        ("not an identifier", "a=row[0])or(b"),
        tuple(f"a{k}" for k in range(300)),
    ],
    ids=lambda names: f"{names[0]} of {len(names)}",
)
def test_each_value_comes_under_its_name(names):
    row = tuple(range(len(names)))

    assert list(by_name(told, names)(row).items()) == list(zip(names, row, strict=True))


def test_functions_of_the_same_names_are_not_mixed_up():
    calls = [by_name(functools.partial(told, which=k), ("a",)) for k in range(3)]

    assert [call((1,)) for call in calls] == [{"which": k, "a": 1} for k in range(3)]


def test_what_the_function_raises_comes_through():
    def stop(a: int) -> None:
        raise StopIteration(a)

    with pytest.raises(StopIteration, match="1"):
        by_name(stop, ("a",))((1,))
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'b'"):
        by_name(stop, ("b",))((1,))
