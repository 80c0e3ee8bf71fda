"""What is asked for is checked against the function and compared with what was sown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cropfit.errors import DesignError
from cropfit.grid import build_grid
from cropfit.outputs import Outputs
from cropfit.work.request import Request, differences


def request(fn: Callable[..., Any], combos: Any, outputs: Any = None, **options: Any) -> Request:
    return Request(fn, build_grid(combos), Outputs.parse(**(outputs or {})), **options)


def positional_only(x: int, /, y: int) -> int:
    return x + y


class Model:
    def __init__(self, x: int) -> None:
        self.x = x

    def run(self, x: int, *, y: int = 0) -> int:
        return x + y


FITS: list[tuple[Callable[..., Any], list[str]]] = [
    (lambda x: x, ["x"]),
    (lambda x, y=1: x, ["x"]),
    (lambda x, y=1: x, ["x", "y"]),
    (lambda **given: 1, ["x", "anything"]),
    (lambda *rest, x: 1, ["x"]),
    (Model, ["x"]),
    (Model(1).run, ["x", "y"]),
    (max, ["key"]),
]


@pytest.mark.parametrize(("fn", "names"), FITS)
def test_arguments_that_fit_the_signature_pass(fn: Callable[..., Any], names: list[str]) -> None:
    """Functions written in C that do not tell their arguments are believed."""
    request(fn, {name: [1] for name in names}).check()


@pytest.mark.parametrize(
    ("fn", "names", "told"),
    [
        (lambda x: x, ["y"], r"does not take 'y'; it needs 'x', given nowhere"),
        (lambda x, y: x, ["x"], "it needs 'y'"),
        (lambda x, **given: x, ["y"], "it needs 'x'"),
        (Model, ["x", "self"], "does not take 'self'"),
        (positional_only, ["x", "y"], "does not take 'x'"),
        (lambda *rest: 1, ["rest"], "does not take 'rest'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    fn: Callable[..., Any], names: list[str], told: str
) -> None:
    with pytest.raises(DesignError, match=told):
        request(fn, {name: [1] for name in names}).check()


def test_each_argument_is_given_once() -> None:
    grid = {"x": [1]}
    for options in (
        {"constants": {"x": 1}},
        {"resources": {"x": 1}},
        {"constants": {"y": 1}, "resources": {"y": 2}},
    ):
        with pytest.raises(DesignError, match="give each argument once"):
            request(lambda x, y=0: x, grid, **options).check()


@pytest.mark.parametrize("measure", ["cost", "priority"])
def test_a_measure_is_a_function_of_some_arguments_or_a_number_a_case(measure: str) -> None:
    combos = {"x": [1, 2], "y": [10, 20]}
    by_call = request(lambda x, y: 1, combos, num_batches=4, **{measure: lambda y: y})
    by_list = request(lambda x, y: 1, combos, num_batches=4, **{measure: [10, 20, 10, 20]})
    by_grid = request(
        lambda x, y: 1, combos, num_batches=4, **{measure: np.array([[10, 20], [10, 20]])}
    )
    orders = [r.plan(0).order for r in (by_call, by_list, by_grid)]

    assert orders[0] is not None
    for order in orders[1:]:
        np.testing.assert_array_equal(order, orders[0])


@pytest.mark.parametrize("wrong", [[1.0], ["a", "b"], [1, None], [1, np.nan], lambda x: "much"])
def test_a_measure_that_is_no_number_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(DesignError, match="cost"):
        request(lambda x: 1, {"x": [1, 2]}, cost=wrong).plan(0)


def test_differences_are_told_one_by_one() -> None:
    def fit(x: int, dust: float, table: Any) -> int:
        return x

    sown = request(
        fit,
        {"x": [1, 2]},
        {"var_names": ["a"], "var_attrs": {"a": {"units": "m"}}},
        constants={"dust": 0.1, "table": np.arange(3)},
    ).fingerprint()
    asked = request(
        fit,
        {"x": [1, 2, 3]},
        {"var_names": ["a", "b"], "var_attrs": {"a": {"units": "km"}}},
        constants={"dust": 0.2, "table": np.arange(4)},
    ).fingerprint()
    told = "\n".join(differences(sown, asked))

    assert differences(sown, sown) == []
    for each in ("'dust': 0.1 was sown, 0.2", "array (3,)", "'x': 2 values", "var_names", "units"):
        assert each in told


def test_the_order_of_parameters_is_part_of_the_design() -> None:
    one = request(lambda x, y: 1, {"x": [1], "y": [2]}).fingerprint()
    other = request(lambda x, y: 1, {"y": [2], "x": [1]}).fingerprint()
    one["function"] = other["function"]

    assert differences(one, other) != []
