"""`LikelihoodPool`: what samplers ask for likelihoods, whoever computes them."""

from __future__ import annotations

import itertools
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import CropError, DesignError, LikelihoodError
from cropfit.fitting.pools.crew import Crew, DeadlyError
from cropfit.fitting.pools.errand import LACKS, Answer, Errand, Local, read
from cropfit.fitting.pools.lent import Lent
from cropfit.fitting.pools.shared import Shared

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["LikelihoodPool", "likelihood_pool"]

QUEUE = 16  # proposals that a sampler may have in hand, for up to 4 workers
PAYS = 0.8  # seconds of likelihoods a second of waiting, below which a pool is told not to
MOST_CHUNKS = 8  # a worker and call; more only where points take long
LEAST_SECONDS = 0.005  # of work that are worth a message
ENOUGH = 500  # calls after which it is seen whether the pool pays


def likelihood_pool(
    problem: Problem, pool: Any = None, n_pool: int | None = None
) -> LikelihoodPool:
    """Workers that compute the likelihoods of a problem.

    Parameters
    ----------
    problem : Problem
    pool, n_pool
        As of `LikelihoodPool`.

    Returns
    -------
    LikelihoodPool
        To be entered with ``with``.
    """
    return LikelihoodPool(problem, pool, n_pool)


class LikelihoodPool:
    """Computes likelihoods of many points with many workers.

    Parameters
    ----------
    problem : Problem
        Model and data; they travel to each worker once.
    pool : optional
        A pool of multiprocessing, concurrent.futures, loky, joblib, dask, Ray, mpi4py or
        schwimmbad. It is left open.
    n_pool : int, optional
        With a pool, how many workers it has, if it does not tell. Without one, how many
        processes of our own to start; they end with the ``with`` block. 1 or nothing
        computes in this process.
    num_threads : int, optional
        As of `configure_threads`.

    Attributes
    ----------
    size : int or None
        Number of workers; None if the pool does not tell and `n_pool` neither.
    tasks, bytes_sent : int
        What was sent to workers so far, without the problem.
    problems_sent : int
        How often the problem had to be sent in a task, because a worker found it neither
        in its memory nor on its host.

    Raises
    ------
    DesignError
        `pool` is no pool, or `n_pool` no number of workers.
    FunctionError
        Model or data cannot be pickled.

    Notes
    -----
    Starting processes of our own takes about as long as importing what the likelihood
    needs, and runs alongside. A task costs some 0.1 ms with them: calls that take less
    are better vectorised than pooled.
    """

    def __init__(
        self,
        problem: Problem,
        pool: Any = None,
        n_pool: int | None = None,
        *,
        num_threads: int | None = None,
    ) -> None:
        _check_number(n_pool)
        self.problem = problem
        self.size: int | None = 1
        self.tasks = self.bytes_sent = self.problems_sent = 0
        self._threads = num_threads
        self._workers: Crew | Lent | None = None
        self._shared: Shared | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._pace: dict[str, float] = {}
        self._calls, self._busy, self._waited = 0, 0.0, 0.0
        if pool is not None:
            self._workers = Lent(pool, n_pool)
        if pool is not None or (n_pool or 1) > 1:
            self._open(n_pool)

    def _open(self, n_pool: int | None) -> None:
        if not (isinstance(self._workers, Lent) and self._workers.threads):
            self._shared = Shared(self.problem)
        if self._workers is None:
            try:
                self._workers = Crew(n_pool or 1, self._threads)
            except BaseException:
                self.terminate()
                raise
        self.size = self._workers.size
        if self.size is None:
            warnings.warn(
                f"the pool does not tell how many workers it has: points are cut into "
                f"{os.cpu_count()} chunks a call, one for each core of this machine, so workers "
                "beyond that idle. Say n_pool= as well.",
                RuntimeWarning,
                stacklevel=4,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return LikelihoodPool, (self.problem,)  # in a worker, there are no further workers

    def __enter__(self) -> LikelihoodPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.terminate()

    @property
    def queue_size(self) -> int:
        """How many proposals a sampler had better have in hand.

        Results of a sampler depend on it, and so it is the same for any number of workers
        up to 4, and for none.
        """
        size = QUEUE
        while size < 4 * self._assumed_size():
            size *= 2
        return size

    def log_likelihoods(self, thetas: Any) -> NDArray[np.float64]:
        """Natural logarithms of the likelihoods of points (n, n_dim): an array (n,).

        Raises
        ------
        LikelihoodError
            As of the problem, or the likelihood ends its process; the pool stays usable.
        CropError
            The pool is closed, or it is the user's and broken.
        """
        thetas = np.asarray(thetas, np.float64)
        self._check_open()
        if self._workers is None or not len(thetas):
            return np.asarray(self.problem.log_likelihoods(thetas), np.float64)
        cut = self._cut("likelihoods", len(thetas), self.problem.vectorized)
        chunks = [thetas[each] for each in cut]
        try:
            found = self._ask("likelihoods", chunks, len(thetas))
        except DeadlyError as error:
            return self._one_by_one(thetas, chunks[error.which], error)
        return np.concatenate(found)

    def transforms(self, us: Any) -> NDArray[np.float64]:
        """Points (n, n_dim) of the unit cube as parameters, computed by the workers.

        Worth it for priors that take long; `Problem.transform` is quicker for others.
        """
        us = np.asarray(us, np.float64)
        self._check_open()
        if self._workers is None or not len(us):
            return self.problem.transform(us)
        chunks = [us[each] for each in self._cut("transforms", len(us), vectorized=True)]
        return np.concatenate(self._ask("transforms", chunks, len(us)))

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """``[function(item) for item in items]``, computed by the workers.

        What `function` and `items` refer to travels with them, but for the problem.
        """
        items = list(items)
        self._check_open()
        if self._workers is None or not items:
            return [function(item) for item in items]
        chunks = [(function, items[each]) for each in self._cut("map", len(items))]
        return [each for chunk in self._ask("map", chunks, len(items)) for each in chunk]

    def configure_threads(self, number: int) -> None:
        """Cap the threads that numerical libraries use in each worker process.

        Holds for libraries that workers load later, for torch, and with threadpoolctl
        installed for those that are loaded. Processes of our own start with one, where the
        environment (``OMP_NUM_THREADS`` and its like) does not say.
        """
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise DesignError(f"the number of threads must be 1 or more, not {number!r}.")
        self._threads = number

    def close(self) -> None:
        """End processes of our own; a pool of the user's is left as it is."""
        self._end(grace=True)

    def terminate(self) -> None:
        """The same at once, whatever they are doing."""
        self._end(grace=False)

    def join(self) -> None:
        """Do nothing: `close` and `terminate` wait themselves. Some call this behind them."""

    # -- inside --------------------------------------------------------------------

    def _end(self, grace: bool) -> None:
        self._closed = True
        if isinstance(self._workers, Crew):
            if grace:
                self._workers.close()
            else:
                self._workers.close(0)
        if self._shared is not None:
            self._shared.close()

    def _check_open(self) -> None:
        if self._closed:
            raise CropError("the likelihood pool is closed: use it inside its with block.")

    def _assumed_size(self) -> int:
        return self.size or os.cpu_count() or 1

    def _cut(self, verb: str, number: int, vectorized: bool = False) -> list[slice]:
        """Chunks with which the workers end at about the same time at little cost."""
        size = self._assumed_size()
        each = 1 if vectorized else 4
        if verb in self._pace and not vectorized:
            share = number * self._pace[verb] / size
            each = max(1, min(MOST_CHUNKS, int(share / LEAST_SECONDS)))
        edges = np.linspace(0, number, min(number, size * each) + 1).astype(int).tolist()
        return list(itertools.starmap(slice, itertools.pairwise(edges)))

    def _ask(self, verb: str, loads: list[Any], points: int) -> list[Any]:
        begin = time.perf_counter()
        self.tasks += len(loads)
        if self._shared is None:
            answers = self._run([Local(verb, load, self.problem) for load in loads])
        else:
            answers = self._send(verb, loads, self._shared)
        found = [read(answer) for answer in answers]
        busy = sum(each.seconds for each in answers)
        self._learn(verb, busy / points)
        self._compare(busy, time.perf_counter() - begin)
        return found

    def _send(self, verb: str, loads: list[Any], shared: Shared) -> list[Answer]:
        errands = [
            Errand(verb, shared.thin(load), shared.digest, shared.path, self._threads)
            for load in loads
        ]
        self.bytes_sent += sum(len(errand.load) for errand in errands)
        answers = self._run(errands)
        while lacking := [i for i, answer in enumerate(answers) if answer.kind == LACKS]:
            first = lacking[: self._assumed_size()]  # one for each worker, then ask again
            rest = lacking[len(first) :]
            self.problems_sent += len(first)
            again = self._run([errands[i] for i in first], shared.data())
            again += self._run([errands[i] for i in rest]) if rest else []
            for i, answer in zip(lacking, again, strict=True):
                answers[i] = answer
        return answers

    def _run(self, errands: list[Any], data: bytes | None = None) -> list[Answer]:
        if self._workers is None:
            return [errand(data) for errand in errands]
        return self._workers.run(errands, data)

    def _one_by_one(
        self, thetas: NDArray[np.float64], deadly: NDArray[np.float64], error: DeadlyError
    ) -> NDArray[np.float64]:
        """Find the point that ends its worker, and say which it is."""
        if len(deadly) == 1:
            point = zip(self.problem.names, deadly[0].tolist(), strict=True)
            at = ", ".join(f"{name}={value!r}" for name, value in point)
            raise LikelihoodError(f"the likelihood ends its process: {error} It was at {at}.")
        for theta in deadly:
            self.log_likelihoods(theta[None])
        raise error

    def _learn(self, verb: str, seconds: float) -> None:
        """Note how long a point takes: the chunks of the next call follow it."""
        self._pace[verb] = 0.8 * self._pace.get(verb, seconds) + 0.2 * seconds

    def _compare(self, busy: float, waited: float) -> None:
        """Tell once if the pool costs more than it saves."""
        with self._lock:
            self._calls += 1
            if self._calls == 1:
                return  # the workers were starting
            self._busy += busy
            self._waited += waited
            pays = self._busy > PAYS * self._waited or self._assumed_size() == 1
            if self._calls != ENOUGH or pays:
                return
        warnings.warn(
            f"the pool makes this slower: its workers computed for {self._busy:.3g} s in "
            f"{self._waited:.3g} s. Without a pool, or with a vectorised likelihood, it would be "
            "faster.",
            RuntimeWarning,
            stacklevel=4,
        )


def _check_number(n_pool: Any) -> None:
    if n_pool is None:
        return
    if isinstance(n_pool, bool) or not isinstance(n_pool, int | np.integer) or n_pool < 1:
        raise DesignError(f"n_pool must be a number of workers from 1, not {n_pool!r}.")
