"""Pools when things go wrong: killed workers, Ctrl-C, a killed parent, another host."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import cropfit as cf
from cropfit.fitting.pools import lent, likelihood, likelihood_pool, shared

SPAWN = multiprocessing.get_context("spawn")
POINTS = np.random.default_rng(0).uniform(-1, 1, (40, 2))
SUMS = POINTS.sum(axis=1).tolist()


def bound(function, data=None):
    priors = {"a": cf.Uniform(-1, 1), "b": cf.Uniform(-1, 1)}
    return cf.Model(function, priors, vectorized=False).bind(data)


def plain():
    """A likelihood that travels whole, not by the name of this module."""

    def log_likelihood(p, data):
        return p.a + p.b

    return bound(log_likelihood)


def alive(pid):
    """Whether the process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def pids_of(pool):
    return pool.map(lambda _: os.getpid(), range(8))


def killer(mark):
    """A likelihood whose first call at the 8th point kills its process."""
    at = POINTS[7, 0]

    def log_likelihood(p, data):
        if p.a == at and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return p.a + p.b

    return bound(log_likelihood)


def test_a_worker_killed_in_the_middle_of_a_chunk_is_replaced_and_told(tmp_path):
    with likelihood_pool(killer(tmp_path / "mark"), n_pool=2) as pool:
        with pytest.warns(RuntimeWarning, match="SIGKILL; what it had in hand is computed again"):
            found = pool.log_likelihoods(POINTS)
        workers = set(pids_of(pool))

    assert found.tolist() == SUMS
    assert not any(map(alive, workers))


def test_a_worker_killed_while_a_process_that_it_forked_lives_on_is_replaced(tmp_path):
    mark = tmp_path / "forked"

    def fork_and_die(item):
        if mark.exists():
            return item
        forked = os.fork()
        if not forked:
            time.sleep(600)
        mark.write_text(str(forked))
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    try:
        with likelihood_pool(plain(), n_pool=2) as pool, pytest.warns(RuntimeWarning):
            assert pool.map(fork_and_die, [5]) == [5]
    finally:
        os.kill(int(mark.read_text()), signal.SIGKILL)


def test_a_worker_killed_while_it_idles_is_replaced():
    with likelihood_pool(plain(), n_pool=2) as pool:
        victim = pids_of(pool)[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: not alive(victim))

        with pytest.warns(RuntimeWarning, match=f"process {victim}"):
            assert pool.log_likelihoods(POINTS).tolist() == SUMS


def test_a_point_that_ends_every_process_is_named_and_the_pool_stays_usable():
    at = POINTS[7, 0]

    def log_likelihood(p, data):
        if p.a == at:
            os.kill(os.getpid(), signal.SIGSEGV)
        return p.a + p.b

    with likelihood_pool(bound(log_likelihood), n_pool=2) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(cf.LikelihoodError, match=f"SIGSEGV.*a={float(at)!r}, b="):
            pool.log_likelihoods(POINTS)

        assert pool.log_likelihoods(POINTS[:7]).tolist() == SUMS[:7]


@pytest.mark.parametrize(
    "make",
    [lambda: concurrent.futures.ProcessPoolExecutor(2, SPAWN), lambda: SPAWN.Pool(2)],
    ids=["ProcessPoolExecutor", "multiprocessing.Pool"],
)
def test_a_pool_of_the_users_that_loses_a_worker_is_told(tmp_path, monkeypatch, make):
    monkeypatch.setattr(lent, "GRACE", 0.5)

    with (
        make() as pool,
        likelihood_pool(killer(tmp_path / "mark"), pool) as workers,
        pytest.raises(cf.CropError, match=r"the pool that was given .* fit again"),
    ):
        workers.log_likelihoods(POINTS)


def test_a_pool_of_the_users_that_is_closed_is_told():
    with concurrent.futures.ProcessPoolExecutor(2, SPAWN) as pool:
        pass

    with (
        likelihood_pool(plain(), pool) as workers,
        pytest.raises(cf.CropError, match="cannot schedule new futures after shutdown"),
    ):
        workers.log_likelihoods(POINTS)


def test_an_exception_that_cannot_travel_is_told_all_the_same():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__("odd one")

    def raises(item):
        raise Odd(1, 2)

    with likelihood_pool(plain(), n_pool=2) as pool:
        with pytest.raises(cf.LikelihoodError, match="Odd: odd one"):
            pool.map(raises, range(4))
        with pytest.raises(cf.LikelihoodError, match="SystemExit: 3"):
            pool.map(sys.exit, [3, 3])
        assert pool.log_likelihoods(POINTS).tolist() == SUMS


def test_an_error_in_the_block_leaves_no_process_behind():
    workers = []

    def fail():
        with likelihood_pool(plain(), n_pool=3) as pool:
            workers.extend(pool._workers.pids())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert len(workers) == 3
    assert not any(map(alive, workers))


class TestOnAnotherHost:
    """Where workers cannot read the file that holds the problem."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch):
        monkeypatch.setattr(shared.Shared, "_write", lambda self: None)

    @pytest.fixture(params=["n_pool", "ProcessPoolExecutor", "dask"])
    def pool(self, request):
        if request.param == "n_pool":
            yield None
        elif request.param == "dask":
            from distributed import Client

            with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
                yield client
        else:
            with concurrent.futures.ProcessPoolExecutor(2, SPAWN) as executor:
                yield executor

    def test_a_worker_that_lacks_the_problem_gets_it(self, pool):
        def log_likelihood(p, data):
            return p.a + p.b + data[0]

        problem = bound(log_likelihood, np.zeros(100_000))
        with likelihood_pool(problem, pool, n_pool=None if pool else 2) as workers:
            for _ in range(40):
                assert workers.log_likelihoods(POINTS).tolist() == SUMS

        # A task that holds the problem may go to a worker that has it, but not for long.
        assert 1 <= workers.problems_sent < workers.tasks / 2
        if pool is None:
            assert workers.problems_sent == 2


def test_the_file_of_another_process_is_not_taken_for_the_problem(tmp_path):
    """On another host the same path may lead to anything."""
    other = tmp_path / "other"
    other.write_bytes(b"x" * 200)
    pipe, end = os.pipe()
    try:
        for path in (str(other), str(tmp_path), f"/proc/{os.getpid()}/fd/{pipe}", "/nowhere"):
            assert shared.find("0" * 32, path, None) is None
    finally:
        os.close(pipe)
        os.close(end)


def test_a_likelihood_that_writes_into_its_data_does_so_alone():
    def log_likelihood(p, data):
        data[0] += 1
        return p.a + p.b

    data = np.zeros(100_000)
    with likelihood_pool(bound(log_likelihood, data), n_pool=2) as pool:
        assert pool.log_likelihoods(POINTS).tolist() == SUMS

        again = shared.find(pool._shared.digest, pool._shared.path, None)
        assert again.data[0] == 0
    assert data[0] == 0


def test_nothing_is_left_on_disk_at_any_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with likelihood_pool(plain(), n_pool=2) as pool:
        pool.log_likelihoods(POINTS)
        assert pool._shared.path
        assert os.listdir(tmp_path) == []


ORPHANS = """
    import ctypes, os, sys, time
    import numpy as np
    import cropfit as cf
    from cropfit.fitting.pools import likelihood_pool

    def log_likelihood(p, data):
        with open(f"{sys.path[-1]}/busy.{os.getpid()}", "w"):
            pass
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock
        return 0.0

    sys.path.append(sys.argv[1])
    problem = cf.Model(log_likelihood, {"a": cf.Uniform(0, 1)}, vectorized=False).bind(None)
    with likelihood_pool(problem, n_pool=2) as pool:
        pool.log_likelihoods(np.ones((2, 1)))
"""


@pytest.fixture
def busy(tmp_path):
    """A fit in a process group of its own, both of whose workers are in a long call."""
    script = tmp_path / "fit.py"
    script.write_text(textwrap.dedent(ORPHANS))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = []

    def both_work():
        found[:] = [int(n.rpartition(".")[2]) for n in os.listdir(tmp_path) if "busy." in n]
        return len(found) == 2

    wait_for(both_work)
    yield process, found
    for pid in [process.pid, *found]:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def test_ctrl_c_ends_the_fit_and_its_workers(busy):
    process, workers = busy

    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=200)[1]

    assert process.returncode == -signal.SIGINT
    assert errors.count("KeyboardInterrupt") == 1
    wait_for(lambda: not any(map(alive, workers)))


def test_workers_end_with_their_parent_whatever_they_are_doing(busy):
    process, workers = busy

    process.kill()

    wait_for(lambda: not any(map(alive, workers)))


def test_what_functions_of_samplers_refer_to_travels_without_the_data():
    problem = bound(lambda p, data: p.a + p.b + data[0], np.zeros(200_000))
    offset = 1.0

    def shifted(point):
        return problem.log_likelihood(point) + offset + problem.data[0]

    with likelihood_pool(problem, n_pool=2) as pool:
        found = pool.map(shifted, POINTS)
        nested = pool.map(lambda n: pool.log_likelihoods(POINTS[:n]).tolist(), [1, 2])

    assert found == [problem.log_likelihood(point) + 1 for point in POINTS]
    assert nested == [SUMS[:1], SUMS[:2]]
    assert pool.bytes_sent < 100_000


def test_several_threads_may_ask_one_pool():
    with likelihood_pool(plain(), n_pool=2) as pool:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            found = list(threads.map(pool.log_likelihoods, [POINTS] * 8))
        assert threading.active_count() >= 1

    assert [each.tolist() for each in found] == [SUMS] * 8


def test_threads_of_numerical_libraries_are_capped_in_workers_alone(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def said(_):
        return os.environ["OMP_NUM_THREADS"]

    with likelihood_pool(plain(), n_pool=2) as pool:
        assert set(pool.map(said, range(4))) == {"1"}
        pool.configure_threads(3)
        assert set(pool.map(said, range(4))) == {"3"}
        with pytest.raises(cf.DesignError, match="0"):
            pool.configure_threads(0)
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_pool_that_does_not_tell_its_size_is_told_of_and_can_be_helped():
    class Silent:
        def map(self, function, items):
            return map(function, items)

    with pytest.warns(RuntimeWarning, match="Say n_pool="):
        pool = likelihood_pool(plain(), Silent())
    with pool:
        assert pool.size is None
        assert pool.log_likelihoods(POINTS).tolist() == SUMS

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with likelihood_pool(plain(), Silent(), n_pool=7) as pool:
            assert pool.size == 7


def test_a_pool_that_costs_more_than_it_saves_is_told_of_once(monkeypatch):
    monkeypatch.setattr(likelihood, "ENOUGH", 20)

    with likelihood_pool(plain(), n_pool=2) as pool, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(60):
            pool.log_likelihoods(POINTS[:2])

    assert [str(each.message)[:27] for each in told] == ["the pool makes this slower:"]


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "2"])
def test_what_is_no_number_of_workers_is_refused(number):
    with pytest.raises(cf.DesignError, match="n_pool must be"):
        likelihood_pool(plain(), n_pool=number)


def test_what_is_no_pool_is_refused():
    with pytest.raises(cf.DesignError, match="not a str; n_pool="):
        likelihood_pool(plain(), "loky")


def test_data_that_cannot_travel_are_told_before_anything_starts():
    with pytest.raises(cf.FunctionError, match=r"cannot be pickled.*lock"):
        likelihood_pool(bound(lambda p, data: p.a, threading.Lock()), n_pool=2)


def test_one_worker_or_none_is_this_process():
    for n_pool in (None, 1):
        with likelihood_pool(plain(), n_pool=n_pool) as pool:
            assert (pool.size, pool.queue_size) == (1, 16)
            assert pool.map(lambda _: os.getpid(), [1]) == [os.getpid()]
            assert pool.log_likelihoods(POINTS).tolist() == SUMS


MPIEXEC = Path(sys.executable).with_name("mpiexec")
LOOPBACK = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "_"]
MPI = """
    import numpy as np
    import cropfit as cf
    from cropfit.fitting.pools import likelihood_pool
    from mpi4py.futures import MPIPoolExecutor

    def log_likelihood(p, data):
        return p.a + data[0]

    if __name__ == "__main__":
        priors = {"a": cf.Uniform(0, 1)}
        problem = cf.Model(log_likelihood, priors, vectorized=False).bind(np.zeros(100_000))
        points = np.linspace(0, 1, 50)[:, None]
        with MPIPoolExecutor() as executor:
            with likelihood_pool(problem, executor) as pool:
                for _ in range(5):
                    assert (pool.log_likelihoods(points) == points[:, 0]).all()
            print(pool.size, pool.problems_sent, pool.bytes_sent < 10_000 + 1000 * pool.tasks)
            print(executor.submit(int).result())
"""


@pytest.mark.needs("root", "unshare", "ip")
@pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec in this environment (pip: mpich)")
def test_ranks_of_mpi_are_a_pool(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(textwrap.dedent(MPI))

    done = subprocess.run(
        [*LOOPBACK, str(MPIEXEC), "-n", "3", sys.executable, "-m", "mpi4py.futures", str(script)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.stdout.split() == ["2", "0", "True", "0"], done.stderr
