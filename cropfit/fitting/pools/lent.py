"""The user's pools, seen alike; they are left open, and as they were."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from cropfit.engines.pools import adapt, size_of
from cropfit.errors import CropError, DesignError
from cropfit.fitting.pools.errand import Answer

POLL = 0.2  # seconds between two looks at the processes of a pool that loses tasks silently
GRACE = 5.0  # seconds in which the answers of a pool that lost a process may still come

Errands = Sequence[Callable[..., Answer]]


def run_errand(errand: Callable[[], Answer]) -> Answer:
    """What pools that only map are given as a function."""
    return errand()


class Lent:
    """A pool of the user's.

    Parameters
    ----------
    pool
        Has ``submit``, ``apply_async`` or ``map``, or is a ``joblib.Parallel``.
    n_pool : int, optional
        How many workers it has, where it does not tell.

    Attributes
    ----------
    size : int or None
        Number of workers that can be busy at the same time; None if nobody knows.
    threads : bool
        Whether its workers are threads of this process.

    Raises
    ------
    DesignError
        It is no pool.
    """

    def __init__(self, pool: Any, n_pool: int | None = None) -> None:
        self._pool = pool
        self._kind = type(pool).__name__
        self.size = n_pool or workers_of(pool)
        self.threads = self._kind in ("ThreadPoolExecutor", "ThreadPool")
        self._adapted = None
        if hasattr(pool, "submit") or hasattr(pool, "apply_async"):
            self._adapted = adapt(pool, self.size)
        elif not hasattr(pool, "map") and not _is_joblib(pool):
            raise DesignError(
                f"pool= takes what has submit(), apply_async() or map(), not a {self._kind}; "
                "n_pool= alone starts processes."
            )

    def run(self, errands: Errands, data: bytes | None = None) -> list[Answer]:
        """The answers, in the order of `errands`.

        Raises
        ------
        CropError
            The pool is closed, broken, or lost a worker.
        """
        if data is not None:
            sent = self._shipped(data)
            errands = [functools.partial(errand, sent) for errand in errands]
        try:
            return [Answer(*answer) for answer in self._run(errands)]
        except CropError:
            raise
        except Exception as error:
            raise CropError(
                f"the pool that was given ({self._kind}) takes no more work or lost its workers "
                f"({type(error).__name__}: {error}). Make a new pool and fit again; with "
                "checkpoint= the fit goes on where it was. n_pool= starts processes that are "
                "replaced when they die."
            ) from error

    # -- inside --------------------------------------------------------------------

    def _run(self, errands: Errands) -> list[Any]:
        if self._adapted is None:
            if _is_joblib(self._pool):
                return list(self._pool((run_errand, (errand,), {}) for errand in errands))
            return list(self._pool.map(run_errand, errands))
        processes = _processes(self._pool)
        futures: list[Any] = []
        try:
            for errand in errands:
                futures.append(self._submit(errand))
            if processes:
                self._watch(futures, processes)
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                if hasattr(future, "cancel"):
                    future.cancel()
            raise

    def _submit(self, errand: Callable[..., Answer]) -> Any:
        if _is_dask(self._pool) and isinstance(errand, functools.partial):
            # As an argument of its own, dask sees to it that the worker has the data.
            return self._pool.submit(errand.func, *errand.args, pure=False)
        if self._adapted is None:
            raise DesignError(f"a {self._kind} cannot be given single tasks.")
        return self._adapted.submit(errand)

    def _shipped(self, data: bytes) -> Any:
        """The problem's bytes in the way that this pool moves large things best."""
        if _is_dask(self._pool):
            return self._pool.scatter(data)
        if hasattr(self._pool, "_actor_pool"):
            import ray

            return ray.put(data)
        return data

    def _watch(self, futures: list[Any], processes: list[Any]) -> None:
        """Wait for all; multiprocessing never tells that a task went with its worker."""
        last = float("inf")
        while waiting := [future for future in futures if not future.done()]:
            waiting[0].inner.wait(POLL)
            dead = [each for each in processes if each.exitcode not in (None, 0)]
            if dead and last == float("inf"):
                last = time.monotonic() + GRACE
            if time.monotonic() > last and not waiting[0].done():
                raise CropError(
                    f"a worker of the pool that was given ({self._kind}), process "
                    f"{dead[0].pid}, died with exit code {dead[0].exitcode} and what it had in "
                    "hand is lost. Make a new pool and fit again; with checkpoint= the fit goes "
                    "on where it was. n_pool= starts processes that are replaced when they die."
                )


def workers_of(pool: Any) -> int | None:
    """How many tasks the pool runs at a time; None if it does not tell."""
    pool = getattr(pool, "_client", pool)  # dask's Client.get_executor()
    if _is_dask(pool):
        return sum(pool.nthreads().values()) or None
    if _is_joblib(pool):
        from joblib import effective_n_jobs

        return int(effective_n_jobs(pool.n_jobs))
    found = size_of(pool) or getattr(pool, "size", None)  # the latter in schwimmbad
    if type(pool).__name__ == "SerialPool":
        return 1
    return found if isinstance(found, int) and found > 0 else None


def _is_dask(pool: Any) -> bool:
    return hasattr(pool, "scheduler_info")


def _is_joblib(pool: Any) -> bool:
    return type(pool).__name__ == "Parallel" and hasattr(pool, "n_jobs")


def _processes(pool: Any) -> list[Any]:
    """Processes of a pool of multiprocessing, as they are now."""
    found: list[Any] = []
    with suppress(TypeError, AttributeError):
        found = [each for each in pool._pool if isinstance(each.pid, int)]
    return found if all(hasattr(each, "exitcode") for each in found) else []
