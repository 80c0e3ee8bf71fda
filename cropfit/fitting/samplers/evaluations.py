"""Likelihoods as samplers ask for them: counted, watched, and told again after a restart.

A sampler whose step asks for thousands of likelihoods would lose them all if it could
only be resumed where a step begins. So what was computed since then is written down, and
answers the same questions when the step is taken again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.fitting.samplers.base import Halt, Task
from cropfit.fitting.samplers.keeper import Keeper

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["Evaluations", "save", "watched"]

GLANCE = 0.5  # seconds of computing between two looks at the clock, where points come one by one


class Evaluations:
    """The likelihood of one problem.

    Parameters
    ----------
    problem : Problem
    task : Task
        Its pool computes, its limits end the sampling.

    Attributes
    ----------
    calls : int
        Points computed, over all lives of the fit.
    spare : float
        Seconds before the deadline at which to end: what a save takes.
    look : callable, optional
        Called between computations: saves what is due, or ends the sampling.
    """

    def __init__(self, problem: Problem, task: Task) -> None:
        self.problem = problem
        self.task = task
        self.calls = 0
        self.spare = 0.0
        self.look: Callable[[], None] | None = None
        self._known: list[float] = []  # since the last mark
        self._told = 0  # how many of them were asked for again
        self._seconds = 0.0  # that one point takes

    def __reduce__(self) -> tuple[Any, ...]:
        return Evaluations, (self.problem, Task())  # in a worker, nobody counts

    def one(self, theta: NDArray[np.float64]) -> float:
        """The likelihood of one point, for samplers that have looks of their own."""
        self.calls += 1
        return self.problem.log_likelihood(theta)

    def many(self, thetas: NDArray[np.float64]) -> NDArray[np.float64]:
        """The likelihoods of points (n, n_dim).

        Raises
        ------
        Halt
            It is time to end.
        """
        found = self._known[self._told : self._told + len(thetas)]
        self._told += len(found)
        while len(found) < len(thetas):
            chunk = thetas[len(found) : len(found) + self._chunk()]
            begin = time.monotonic()
            values = self._compute(chunk).tolist()
            self._seconds = (time.monotonic() - begin) / len(chunk)
            self.calls += len(chunk)
            found += values
            self._known += values
            self._told += len(values)
            if self.look is not None:
                self.look()
        return np.array(found)

    def _chunk(self) -> int:
        """How many points to compute before the next look."""
        if self.problem.vectorized:
            return 1 << 62
        workers = 1 if self.task.pool is None else (self.task.pool.size or 1)
        return workers * int(1 + min(GLANCE / max(self._seconds * workers, 1e-9), 1 << 20))

    def _compute(self, thetas: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.task.pool is not None:
            return self.task.pool.log_likelihoods(thetas)
        return self.problem.log_likelihoods(thetas)

    def check(self) -> None:
        """End the sampling if it is time.

        Raises
        ------
        Halt
            Says why.
        """
        if why := self.task.why_end(self.calls, self.spare):
            raise Halt(why)

    # -- what a state holds ---------------------------------------------------------

    def mark(self) -> None:
        """A step begins: nothing that was computed before is asked for again."""
        self._known, self._told = [], 0

    def journal(self) -> dict[str, Any]:
        """What a state holds of this."""
        return {"calls": self.calls, "known": np.array(self._known)}

    def resume(self, journal: dict[str, Any]) -> None:
        """Go on from where `journal` was taken."""
        self.calls = journal["calls"]
        self._known, self._told = journal["known"].tolist(), 0


def watched(problem: Problem, task: Task, versions: dict[str, str]) -> tuple[Evaluations, Keeper]:
    """Evaluations for a sampler that asks the same again when it is run again.

    Its state is what the likelihood answered: a run that was killed is run again from its
    start, and gets these answers at once.
    """
    evaluations = Evaluations(problem, task)
    keeper = Keeper(task.checkpoint, task.checkpoint_every, {}, versions)
    state = keeper.load()
    if state is not None:
        evaluations.resume(state["journal"])

    def look() -> None:
        if keeper.due():
            save(evaluations, keeper)
        evaluations.check()

    evaluations.look = look
    return evaluations, keeper


def save(evaluations: Evaluations, keeper: Keeper) -> None:
    """Save what `watched` takes up."""
    keeper.save(lambda: {"journal": evaluations.journal()})
    evaluations.spare = 2 * keeper.took
