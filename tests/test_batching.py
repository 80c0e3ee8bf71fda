from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropfit.batching import Batches, Sown, plan_batches
from cropfit.errors import DesignError
from cropfit.grid import build_grid


def dealt(batches):
    return [batches.cases_of(b).tolist() for b in range(1, batches.num_batches + 1)]


@st.composite
def plans(draw):
    num_cases = draw(st.integers(1, 300))
    options = {}
    cut = draw(st.sampled_from(["default", "size", "number", "both"]))
    if cut in ("size", "both"):
        options["batchsize"] = draw(st.integers(1, 320))
    if cut == "number":
        options["num_batches"] = draw(st.integers(1, 320))
    if cut == "both":
        options["num_batches"] = -(-num_cases // options["batchsize"])
    weights = st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).integers(0, 5, num_cases)
    )
    order = draw(st.sampled_from(["plain", "shuffle", "costs"]))
    if order == "shuffle":
        options["shuffle_seed"] = draw(st.integers(0, 2**63))
    if order == "costs":
        options["costs"] = draw(weights)
    if draw(st.booleans()):
        options["priorities"] = draw(weights)
    return num_cases, options


@given(plans())
def test_every_case_is_in_exactly_one_batch_whatever_the_options(plan):
    num_cases, options = plan
    batches = plan_batches(num_cases, **options)
    found = dealt(batches)
    assert sorted(case for batch in found for case in batch) == list(range(num_cases))
    assert [batches.size_of(b + 1) for b in range(len(found))] == list(map(len, found))
    assert min(map(len, found)) >= 1
    assert max(map(len, found)) <= options.get("batchsize", num_cases)


@given(plans())
def test_the_same_options_give_the_same_batches(plan):
    num_cases, options = plan
    assert dealt(plan_batches(num_cases, **options)) == dealt(plan_batches(num_cases, **options))


@pytest.mark.parametrize(
    ("num_cases", "number", "size"),
    [(1, 1, 1), (1000, 1000, 1), (1001, 501, 2), (10**6, 1000, 1000), (10**6 + 1, 1000, 1001)],
)
def test_by_default_there_are_at_most_a_thousand_batches(num_cases, number, size):
    batches = plan_batches(num_cases)
    assert (batches.num_batches, batches.batchsize) == (number, size)


def test_a_batchsize_leaves_the_last_batch_short():
    assert dealt(plan_batches(7, batchsize=3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_number_of_batches_gives_even_sizes():
    assert dealt(plan_batches(7, num_batches=3)) == [[0, 1, 2], [3, 4], [5, 6]]


def test_there_are_no_more_batches_than_cases():
    assert plan_batches(3, num_batches=10).num_batches == 3


def test_the_batches_of_a_billion_cases_cost_nothing():
    tracemalloc.start()
    start = time.process_time()
    batches = plan_batches(10**9, batchsize=1000)
    cases = batches.cases_of(999_999)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (cases[0], cases[-1]) == (999_998_000, 999_998_999)
    assert seconds < 0.1
    assert peak < 1e5


@given(st.integers(1, 500), st.integers(0, 2**64))
def test_shuffle_is_a_permutation_that_the_seed_decides(num_cases, seed):
    order = plan_batches(num_cases, shuffle_seed=seed).order
    assert sorted(order.tolist()) == list(range(num_cases))
    assert order.tolist() == plan_batches(num_cases, shuffle_seed=seed).order.tolist()


def test_shuffle_gives_the_same_order_on_every_machine_and_version():
    assert plan_batches(10, shuffle_seed=1).order.tolist() == [9, 2, 4, 7, 5, 0, 8, 6, 3, 1]


def test_another_seed_shuffles_otherwise():
    one, other = (plan_batches(100, shuffle_seed=seed).order.tolist() for seed in (0, 1))
    assert one != other
    assert one != list(range(100))


costs_of_cases = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(costs_of_cases, st.integers(1, 30))
def test_no_batch_costs_more_than_the_mean_and_the_longest_case(costs, number):
    batches = plan_batches(len(costs), num_batches=number, costs=costs)
    loads = [sum(costs[case] for case in batch) for batch in dealt(batches)]
    mean = sum(costs) / len(loads)
    assert max(loads) <= (mean + max(costs)) * (1 + 1e-9)


@given(costs_of_cases, st.integers(1, 30))
def test_a_batch_grows_its_longest_cases_first(costs, number):
    for batch in dealt(plan_batches(len(costs), num_batches=number, costs=costs)):
        inside = [costs[case] for case in batch]
        assert inside == sorted(inside, reverse=True)


def test_costs_are_dealt_longest_first_to_the_least_loaded():
    batches = plan_batches(5, num_batches=2, costs=[1, 1, 4, 1, 1])
    assert dealt(batches) == [[2], [0, 1, 3, 4]]


def test_a_batchsize_limits_what_costs_deal():
    batches = plan_batches(5, batchsize=3, costs=[1, 1, 4, 1, 1])
    assert sorted(map(len, dealt(batches))) == [2, 3]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=100), st.integers(1, 20), st.booleans())
def test_urgent_cases_come_first(priorities, number, shuffle):
    batches = plan_batches(
        len(priorities),
        num_batches=number,
        priorities=priorities,
        shuffle_seed=3 if shuffle else None,
    )
    order = [case for batch in dealt(batches) for case in batch]
    assert [priorities[case] for case in order] == sorted(priorities)
    if not shuffle:
        assert order == sorted(range(len(priorities)), key=priorities.__getitem__)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1), st.integers(1, 9))
def test_with_costs_the_batch_with_the_most_urgent_case_comes_first(cases, number):
    priorities, costs = zip(*cases, strict=True)
    batches = plan_batches(len(cases), num_batches=number, costs=costs, priorities=priorities)
    most = [min(priorities[case] for case in batch) for batch in dealt(batches)]
    assert most == sorted(most)
    for batch in dealt(batches):
        inside = [(priorities[case], -costs[case]) for case in batch]
        assert inside == sorted(inside)


@pytest.mark.parametrize(
    ("num_cases", "options", "message"),
    [
        (0, {}, "num_cases must be an int of at least 1, not 0"),
        (3, {"batchsize": 0}, "batchsize must be an int of at least 1, not 0"),
        (3, {"num_batches": 2.0}, "num_batches must be an int of at least 1, not 2.0"),
        (3, {"batchsize": True}, "batchsize must be an int"),
        (10, {"batchsize": 3, "num_batches": 3}, "10 cases in batches of 3 are 4 batches, not 3"),
        (3, {"shuffle_seed": 1, "costs": [1, 2, 3]}, "shuffle and cost exclude"),
        (3, {"shuffle_seed": -1}, "seed must be an int of at least 0"),
        (3, {"costs": [1, 2]}, "cost: 3 numbers are needed"),
        (3, {"costs": ["a", "b", "c"]}, "cost: one number a case"),
        (3, {"costs": [1, -1, 2]}, r"cost: 1 are negative \(cases 1\)"),
        (3, {"costs": [1, np.inf, np.nan]}, r"cost: 2 are not finite \(cases 1, 2\)"),
        (3, {"priorities": [1, np.nan, 2]}, r"priority: 1 are not finite \(cases 1\)"),
    ],
)
def test_options_that_make_no_sense_are_refused(num_cases, options, message):
    with pytest.raises(DesignError, match=message):
        plan_batches(num_cases, **options)


@pytest.mark.parametrize("batch", [0, 4, -1])
def test_batches_count_from_one(batch):
    with pytest.raises(IndexError, match="they are 1 to 3"):
        plan_batches(3).cases_of(batch)


def test_a_sowing_knows_its_place_in_the_crop():
    grid = build_grid({"a": [1, 2]})
    sown = Sown(grid=grid, batches=Batches(2, 1, 2), first_case=10, first_batch=4)
    assert (sown.batches.cases_of(1) + sown.first_case).tolist() == [10, 11]
