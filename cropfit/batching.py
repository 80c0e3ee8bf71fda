"""Which case is in which batch.

    cases ──order (shuffle | cost | priority)──▶ a row of cases ──cut (sizes)──▶ batches 1, 2, ...

Every case is in exactly one batch and no batch is empty, whatever the options. Nothing is kept
per case unless an order was asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cropfit.errors import DesignError
from cropfit.grid import Grid
from cropfit.values import some

__all__ = ["Batches", "Sown", "plan_batches"]

_MOST_BATCHES = 1000  # what schedulers' array limits and inode quotas bear


@dataclass(frozen=True, eq=False)
class Batches:
    """How the cases of one sowing are cut into batches.

    Parameters
    ----------
    num_cases, num_batches
        How many there are.
    batchsize
        The size of every batch but the last; None for even sizes, of which the first
        ``num_cases % num_batches`` get one more.
    sizes : (num_batches,) int array
        Explicit sizes, which override `batchsize`.
    order : (num_cases,) int array
        The flat index of the case at each place; None where that is the place itself.
    """

    num_cases: int
    num_batches: int
    batchsize: int | None = None
    sizes: NDArray[np.intp] | None = None
    order: NDArray[np.intp] | None = None

    def bounds_of(self, batch: int) -> tuple[int, int]:
        """Return the first place of a batch and the one after its last.

        Raises
        ------
        IndexError
            There is no batch of that number; they count from 1.
        """
        if not 1 <= batch <= self.num_batches:
            raise IndexError(f"there is no batch {batch}: they are 1 to {self.num_batches}")
        if self.sizes is not None:
            stop = int(self._ends[batch - 1])
            return stop - int(self.sizes[batch - 1]), stop
        if self.batchsize is not None:
            start = (batch - 1) * self.batchsize
            return start, min(start + self.batchsize, self.num_cases)
        size, more = divmod(self.num_cases, self.num_batches)
        start = (batch - 1) * size + min(batch - 1, more)
        return start, start + size + (batch <= more)

    def size_of(self, batch: int) -> int:
        """Return the number of cases of a batch."""
        start, stop = self.bounds_of(batch)
        return stop - start

    def cases_of(self, batch: int) -> NDArray[np.intp]:
        """Return the flat indices of a batch's cases, in the order in which they are grown."""
        start, stop = self.bounds_of(batch)
        if self.order is None:
            return np.arange(start, stop, dtype=np.intp)
        return self.order[start:stop]

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        return np.cumsum(() if self.sizes is None else self.sizes, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class Sown:
    """One sowing of a crop, placed among the crop's batches and cases.

    Parameters
    ----------
    grid, batches
        Its cases, and which of them is in which batch.
    first_case
        The crop's number of its flat index 0.
    first_batch
        The crop's number of its batch 1.
    """

    grid: Grid
    batches: Batches
    first_case: int
    first_batch: int


def plan_batches(
    num_cases: int,
    batchsize: int | None = None,
    num_batches: int | None = None,
    *,
    shuffle_seed: int | None = None,
    costs: ArrayLike | None = None,
    priorities: ArrayLike | None = None,
) -> Batches:
    """Cut cases into batches.

    Parameters
    ----------
    num_cases
        How many there are to cut.
    batchsize, num_batches
        Either, both where they agree, or neither for at most 1000 batches.
    shuffle_seed
        Deal the cases at random, the same for the same seed on any machine.
    costs : (num_cases,) array
        What each case is expected to take, in any unit: the longest is dealt first, always to
        the batch with the least to do that has room. With `batchsize` no batch gets more cases
        than that; otherwise only the cost counts, and sizes differ.
    priorities : (num_cases,) array
        The lower, the sooner. Cases of equal priority keep their order. With costs, batches are
        numbered by their most urgent case, and each grows its urgent cases first.

    Raises
    ------
    DesignError
        Not a positive number, a size and a number that disagree, costs or priorities that are
        not one finite number a case, a negative cost, or both shuffle and costs.

    Notes
    -----
    Without shuffle, costs and priorities nothing is allocated per case. Costs take about 1 µs a
    case.
    """
    _check_positive(num_cases=num_cases, batchsize=batchsize, num_batches=num_batches)
    if shuffle_seed is not None and costs is not None:
        raise DesignError("shuffle and cost exclude each other: cost deals the cases already")
    number, size = _cut(num_cases, batchsize, num_batches)
    urgency = None if priorities is None else _per_case("priority", priorities, num_cases)
    if costs is not None:
        dear = _per_case("cost", costs, num_cases)
        if np.any(dear < 0):
            at = np.flatnonzero(dear < 0)
            raise DesignError(f"cost: {len(at)} are negative (cases {some(at.tolist())})")
        sizes, order = _deal(dear, number, num_cases if batchsize is None else batchsize, urgency)
        return Batches(num_cases, number, None, sizes, order)
    shuffled = None if shuffle_seed is None else _shuffled(num_cases, shuffle_seed)
    if urgency is None:
        return Batches(num_cases, number, size, None, shuffled)
    if shuffled is None:
        return Batches(num_cases, number, size, None, np.argsort(urgency, kind="stable"))
    urgent = shuffled[np.argsort(urgency[shuffled], kind="stable")]
    return Batches(num_cases, number, size, None, urgent)


def _cut(num_cases: int, batchsize: int | None, num_batches: int | None) -> tuple[int, int | None]:
    """Return the number of batches and, unless they are even, their size."""
    wanted = None if num_batches is None else min(int(num_batches), num_cases)
    if wanted is not None and batchsize is None:
        return wanted, None
    size = int(batchsize or -(-num_cases // _MOST_BATCHES))
    number = -(-num_cases // size)
    if wanted not in (None, number):
        raise DesignError(
            f"batchsize and num_batches disagree: {num_cases} cases in batches of {size} are "
            f"{number} batches, not {num_batches}; give one of them"
        )
    return number, size


def _shuffled(num_cases: int, seed: int) -> NDArray[np.intp]:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DesignError(f"shuffle: the seed must be an int of at least 0, not {seed!r}")
    # A bit generator's raw stream never changes between numpy versions; Generator's methods may.
    keys = np.random.PCG64(int(seed)).random_raw(num_cases)
    return np.argsort(keys, kind="stable")


def _deal(
    costs: NDArray[np.float64],
    num_batches: int,
    capacity: int,
    urgency: NDArray[np.float64] | None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Deal the longest case first to the least loaded batch; return sizes and order."""
    longest = np.argsort(-costs, kind="stable")
    # the count breaks ties, so that no batch stays empty where cases cost nothing
    loads = [(0.0, 0, batch) for batch in range(num_batches)]
    dealt = np.empty(len(costs), np.intp)
    for place, cost in enumerate(costs[longest].tolist()):
        load, count, batch = loads[0]
        dealt[place] = batch
        if count + 1 < capacity:
            heapq.heapreplace(loads, (load + cost, count + 1, batch))
        else:
            heapq.heappop(loads)
    if urgency is not None:
        most = np.full(num_batches, np.inf)
        np.minimum.at(most, dealt, urgency[longest])
        number = np.empty(num_batches, np.intp)
        number[np.argsort(most, kind="stable")] = np.arange(num_batches)
        dealt = number[dealt]
        by_urgency = np.argsort(urgency[longest], kind="stable")
        longest, dealt = longest[by_urgency], dealt[by_urgency]
    sizes = np.bincount(dealt, minlength=num_batches).astype(np.intp, copy=False)
    return sizes, longest[np.argsort(dealt, kind="stable")]


def _per_case(what: str, given: ArrayLike, num_cases: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise DesignError(f"{what}: one number a case is needed ({error})") from None
    if values.shape != (num_cases,):
        raise DesignError(f"{what}: {num_cases} numbers are needed, one a case, not {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DesignError(f"{what}: {len(bad)} are not finite (cases {some(bad.tolist())})")
    return values


def batch_numbers(batches: SupportsIndex | Iterable[SupportsIndex]) -> list[int]:
    """One number or several as a list of plain ints, whatever kind of ints they are.

    Examples
    --------
    >>> batch_numbers(3), batch_numbers(range(1, 3))
    ([3], [1, 2])
    """
    if isinstance(batches, Iterable):
        return [index(each) for each in batches]
    return [index(batches)]


def _check_positive(**counts: Any) -> None:
    for name, count in counts.items():
        if count is None and name != "num_cases":
            continue
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
            raise DesignError(f"{name} must be an int of at least 1, not {count!r}")
