"""How messages tell numbers of things."""

from __future__ import annotations

import pytest

from cropfit.wording import extent, number_of


@pytest.mark.parametrize(
    ("number", "thing", "told"),
    [
        (0, "batch", "0 batches"),
        (1, "batch of dead workers", "1 batch of dead workers"),
        (2, "batch of dead workers", "2 batches of dead workers"),
        (1_000_000, "case", "1,000,000 cases"),
        (3, "failed case", "3 failed cases"),
    ],
)
def test_a_thing_is_told_in_the_plural_unless_there_is_one(
    number: int, thing: str, told: str
) -> None:
    assert number_of(number, thing) == told


def test_cases_and_batches_are_told_together() -> None:
    assert extent(1, 1) == "1 case in 1 batch"
    assert extent(6000, 3) == "6,000 cases in 3 batches"
