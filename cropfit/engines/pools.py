"""Pools of any make, seen alike: give them a task, ask for a future, know their size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import Any, Protocol

from cropfit.engines.lingering import Vigil, closed_in_time
from cropfit.errors import DesignError, MissingDependencyError

NAMES = ("loky", "threads", "processes", "dask", "ray", "mpi", "joblib")
IDLE = 60.0  # seconds after which a worker of loky ends that nobody, or nobody alive, gives work
_LIBRARIES = {"dask": "distributed", "mpi": "mpi4py", "loky": "joblib"}


class Future(Protocol):
    """What a pool gives for a task."""

    def done(self) -> bool:
        """Whether the task has ended."""

    def result(self) -> Any:
        """What it returned; raises what it raised."""


def _never() -> bool:
    """Say of a pool that tells of every death that it has lost none."""
    return False


@dataclass(frozen=True)
class _AsyncResult:
    """What `apply_async` gives, seen as a future."""

    inner: Any

    def done(self) -> bool:
        return bool(self.inner.ready())

    def result(self) -> Any:
        return self.inner.get()


@dataclass(frozen=True)
class Pool:
    """A pool and how many workers it has.

    Parameters
    ----------
    submit : callable
        Takes a task and its arguments and gives a `Future`.
    size : int
        Number of workers.
    share : callable, optional
        Puts a value where all workers find it and gives what stands for it among a
        task's arguments, so that it travels once a worker and not once a task.
    silent : bool
        Whether a task whose worker dies never ends. Such a pool is on this host.
    is_lost : callable
        Whether a worker is dead, which the pool should have noticed by now.
    """

    submit: Callable[..., Future]
    size: int
    share: Callable[[Any], Any] | None = None
    silent: bool = False
    is_lost: Callable[[], bool] = _never


def adapt(pool: Any, size: int | None = None) -> Pool:
    """See any pool as a `Pool`.

    Parameters
    ----------
    pool
        Something with ``submit`` (concurrent.futures, loky, dask, mpi4py.futures,
        executorlib) or ``apply_async`` (multiprocessing, ray, ipyparallel).
    size : int, optional
        Number of its workers, where it does not tell.

    Raises
    ------
    DesignError
        It has neither.
    """
    size = size or size_of(pool) or os.cpu_count() or 1
    if hasattr(pool, "submit"):
        # Dask takes equal calls for one and the same unless told otherwise.
        options = {"pure": False} if hasattr(pool, "scheduler_info") else {}
        return Pool(
            lambda task, *args: pool.submit(task, *args, **options),
            size,
            _sharer(pool),
            is_lost=_vigil(pool),
        )
    if type(pool).__module__.startswith("ipyparallel"):
        view = pool.client.load_balanced_view(targets=pool.targets)
        return Pool(lambda task, *args: _AsyncResult(view.apply_async(task, *args)), size)
    if hasattr(pool, "apply_async"):
        silent = type(pool).__module__ == "multiprocessing.pool"
        return Pool(
            lambda task, *args: _AsyncResult(pool.apply_async(task, args)),
            size,
            _sharer(pool),
            silent and not isinstance(pool, ThreadPool),
        )
    raise DesignError(
        f"executor= takes what has submit() or apply_async(), or one of {', '.join(NAMES)}; "
        f"got a {type(pool).__name__}."
    )


def _vigil(pool: Any) -> Callable[[], bool]:
    """How to learn that this pool has not noticed a dead worker."""
    makes_processes = isinstance(getattr(pool, "_processes", None), dict)
    return Vigil(pool).lost if makes_processes else _never


def _sharer(pool: Any) -> Callable[[Any], Any] | None:
    """How this kind of pool gives a value to all its workers; None if it cannot."""
    if isinstance(pool, (ThreadPool, ThreadPoolExecutor)):
        return lambda value: value
    if hasattr(pool, "scatter") and hasattr(pool, "scheduler_info"):
        # To all: what is lost with its only holder takes the tasks of others along.
        return lambda value: pool.scatter([value], hash=False, broadcast=True)[0]
    if hasattr(pool, "_actor_pool"):
        return _PutIntoRay
    return None


class _PutIntoRay:
    """A value in Ray's object store, which each node fetches once; calling it gives the value."""

    def __init__(self, value: Any) -> None:
        import ray

        self._ref = ray.put(value)

    def __call__(self) -> Any:
        import ray

        return ray.get(self._ref)


def size_of(pool: Any) -> int | None:
    """Number of workers, from wherever this kind of pool keeps it."""
    if hasattr(pool, "scheduler_info"):
        return len(pool.nthreads()) or None  # scheduler_info() tells of five at most, or of all
    for name in ("_max_workers", "max_workers", "_processes", "num_workers"):
        found = getattr(pool, name, None)
        if isinstance(found, int) and found > 0:
            return found
    actors = getattr(pool, "_actor_pool", None)  # ray
    if actors is not None:
        return len(actors)
    ids = getattr(pool, "client", pool)
    return len(ids.ids) if hasattr(ids, "ids") and ids.ids else None  # ipyparallel


@contextmanager
def named(name: str, size: int | None) -> Iterator[Pool]:
    """A pool of our own of the kind `name`, closed in the end.

    Raises
    ------
    DesignError
        There is no such kind.
    MissingDependencyError
        Its library is not installed.
    """
    if name not in NAMES:
        raise DesignError(f"executor={name!r} is not one of {', '.join(NAMES)}.")
    try:
        with _MAKERS[name](size) as pool:
            yield pool if isinstance(pool, Pool) else adapt(pool, size)
    except ImportError as error:
        if getattr(error, "name", None) is None or isinstance(error, MissingDependencyError):
            raise
        raise MissingDependencyError(
            f"executor={name!r} needs {_LIBRARIES.get(name, name)}: pip install 'cropfit[{name}]'."
        ) from error


@contextmanager
def _loky(size: int | None) -> Iterator[Any]:
    from joblib.externals.loky import ProcessPoolExecutor

    with closed_in_time(ProcessPoolExecutor(size or os.cpu_count(), timeout=IDLE)) as pool:
        yield pool


@contextmanager
def _threads(size: int | None) -> Iterator[Any]:
    with ThreadPoolExecutor(size or os.cpu_count()) as pool:
        yield pool


@contextmanager
def _processes(size: int | None) -> Iterator[Any]:
    from cropfit.engines.plain import PlainPool

    with PlainPool(size or os.cpu_count() or 1) as pool:
        yield pool


@contextmanager
def _dask(size: int | None) -> Iterator[Any]:
    """The client that is active, or a local cluster."""
    from distributed import Client, default_client

    try:
        client = default_client()
    except ValueError:
        with Client(n_workers=size, threads_per_worker=1, dashboard_address=None) as own:
            yield own
    else:
        yield client


@contextmanager
def _ray(size: int | None) -> Iterator[Any]:
    """Workers of the Ray cluster that is connected, or of a local one."""
    import ray
    from ray.util.multiprocessing import Pool as RayPool

    if not ray.is_initialized():
        ray.init(num_cpus=size, include_dashboard=False, log_to_driver=False)
    pool: Any = RayPool(size)
    try:
        yield pool
    finally:
        pool.terminate()


@contextmanager
def _mpi(size: int | None) -> Iterator[Any]:
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor(size) as pool:
        yield pool


@contextmanager
def _joblib(size: int | None) -> Iterator[Any]:
    """What ``joblib.parallel_config`` chose; one round gives each of its workers the task."""
    from joblib import Parallel, delayed, effective_n_jobs

    parallel = Parallel(n_jobs=size)
    number = effective_n_jobs(parallel.n_jobs)
    with ThreadPoolExecutor(1) as driver:
        yield Pool(
            lambda task: driver.submit(lambda: parallel(delayed(task)() for _ in range(number))), 1
        )


_MAKERS: dict[str, Callable[[int | None], Any]] = {
    "loky": _loky,
    "threads": _threads,
    "processes": _processes,
    "dask": _dask,
    "ray": _ray,
    "mpi": _mpi,
    "joblib": _joblib,
}
