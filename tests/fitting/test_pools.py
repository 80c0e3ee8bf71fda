"""What every pool must do for a likelihood, whatever it is made of."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import importlib.util
import multiprocessing
import os
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest

import cropfit as cf
from cropfit.fitting.pools import likelihood_pool

SPAWN = multiprocessing.get_context("spawn")


@contextlib.contextmanager
def a_loky():
    from joblib.externals.loky import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        yield pool


@contextlib.contextmanager
def a_joblib():
    from joblib import Parallel

    with Parallel(n_jobs=2) as pool:
        yield pool


@contextlib.contextmanager
def a_dask():
    from distributed import Client

    with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
        yield client


@contextlib.contextmanager
def an_executor_of_dask():
    with a_dask() as client, client.get_executor() as pool:
        yield pool


@contextlib.contextmanager
def a_schwimmbad():
    from schwimmbad import MultiPool

    with MultiPool(2) as pool:
        yield pool


@contextlib.contextmanager
def a_ray():
    import ray
    from ray.util.multiprocessing import Pool

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with Pool(2) as pool:
            yield pool
    finally:
        ray.shutdown()


class Mapping:
    """A pool that maps, and tells nothing else."""

    def __init__(self, pool):
        self.map = pool.map


@contextlib.contextmanager
def a_mapping():
    with SPAWN.Pool(2) as pool:
        yield Mapping(pool)


POOLS = {
    "n_pool": None,
    "multiprocessing.Pool": lambda: SPAWN.Pool(2),
    "ThreadPool": lambda: ThreadPool(2),
    "ProcessPoolExecutor": lambda: concurrent.futures.ProcessPoolExecutor(2, SPAWN),
    "ThreadPoolExecutor": lambda: concurrent.futures.ThreadPoolExecutor(2),
    "loky": a_loky,
    "joblib": a_joblib,
    "dask": a_dask,
    "dask's executor": an_executor_of_dask,
    "schwimmbad": a_schwimmbad,
    "ray": a_ray,
    "only map": a_mapping,
}
NEEDS = {"schwimmbad": "schwimmbad", "ray": "ray"}
ON_CALL = {"ray": "CROPFIT_TEST_RAY"}  # takes long to start


def bound(function=None, data=None, **options):
    def log_likelihood(p, data):
        return -0.5 * (p.a - np.cos(p.b)) ** 2 - np.exp(p.b) + data[0]

    priors = {"a": cf.Uniform(-1, 1), "b": cf.Normal(0, 2)}
    data = np.zeros(10) if data is None else data
    return cf.Model(function or log_likelihood, priors, **options).bind(data)


@pytest.fixture(scope="module", params=POOLS)
def lent(request):
    """A pool of each kind; None where our own is meant."""
    name = request.param
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{name} is not installed")
    if name in ON_CALL and not os.environ.get(ON_CALL[name]):
        pytest.skip(f"runs with {ON_CALL[name]}=1")
    if POOLS[name] is None:
        yield None
        return
    with POOLS[name]() as pool:
        yield pool


@pytest.fixture
def opened(lent):
    """Opens a likelihood pool upon the pool of that kind."""
    return functools.partial(likelihood_pool, pool=lent, n_pool=2 if lent is None else None)


def written():
    """Bytes that this process wrote so far, to files and pipes."""
    with open("/proc/self/io") as file:
        return int(dict(line.split(": ") for line in file)["wchar"])


POINTS = np.random.default_rng(0).uniform(-1, 1, (101, 2))


@pytest.mark.filterwarnings("ignore:the pool does not tell")
class TestEveryPool:
    def test_gives_the_numbers_of_this_process_in_their_order(self, opened):
        problem = bound(vectorized=False)

        with opened(problem) as pool:
            found = pool.log_likelihoods(POINTS)
            few = [pool.log_likelihoods(POINTS[:n]) for n in (0, 1, 2)]
            mapped = pool.map(problem.log_likelihood, POINTS)
            cubes = pool.transforms((POINTS + 1) / 2)

        expected = [problem.log_likelihood(point) for point in POINTS]
        assert found.tolist() == expected
        assert [each.tolist() for each in few] == [[], expected[:1], expected[:2]]
        assert mapped == expected
        np.testing.assert_array_equal(cubes, problem.transform((POINTS + 1) / 2))

    def test_tells_how_many_workers_it_has(self, opened, request):
        with opened(bound(vectorized=False)) as pool:
            name = request.node.callspec.params["lent"]
            assert pool.size == (None if name == "only map" else 2)

    def test_gives_a_vectorised_likelihood_one_chunk_a_worker(self, lent):
        problem = bound(vectorized=True)

        with likelihood_pool(problem, pool=lent, n_pool=2) as pool:
            found = pool.log_likelihoods(POINTS)

        assert pool.tasks == 2
        np.testing.assert_allclose(found, problem.log_likelihoods(POINTS), rtol=1e-12)

    def test_hands_on_an_error_with_its_parameters_and_stays_usable(self, opened):
        def log_likelihood(p, data):
            if p.a == 0.25:
                raise ZeroDivisionError("no quarter")
            return p.b

        points = POINTS.copy()
        points[17] = 0.25, 0.5
        with opened(bound(log_likelihood, vectorized=False)) as pool:
            with pytest.raises(cf.LikelihoodError, match=r"no quarter.*a=0.25, b=0.5"):
                pool.log_likelihoods(points)

            assert pool.log_likelihoods(POINTS).tolist() == POINTS[:, 1].tolist()

    def test_sends_the_data_once_and_not_with_every_task(self, opened):
        data = np.frombuffer(os.urandom(4_000_000), np.uint8)
        problem = bound(data=data, vectorized=False)
        before = written()

        with opened(problem) as pool:
            for _ in range(10):
                pool.log_likelihoods(POINTS)

        assert pool.tasks >= 20
        assert pool.problems_sent == 0
        assert pool.bytes_sent < 10 * POINTS.nbytes + 1000 * pool.tasks
        assert written() - before < 2 * data.nbytes

    def test_is_left_open_if_it_is_the_users(self, opened):
        with opened(bound(vectorized=False)) as pool:
            pool.log_likelihoods(POINTS)
        with pytest.raises(ValueError, match="mine"), opened(bound(vectorized=False)) as pool:
            raise ValueError("mine")

        with pytest.raises(cf.CropError, match="closed"):
            pool.log_likelihoods(POINTS)
        with opened(bound(vectorized=False)) as pool:
            assert len(pool.log_likelihoods(POINTS)) == len(POINTS)
