"""Workers are killed, crash, hang and are told to leave; every case is computed, and once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cropfit as cf
from faults.harness import FULL, Log, account, report, scaled, tree

GROW = "import sys, cropfit; sys.exit(cropfit.grow(crop=sys.argv[1]).exit_code)"
# A worker that everybody takes for one on another host: only its heartbeat tells that it lives.
ELSEWHERE = (
    "import socket, sys; socket.gethostname = lambda: 'elsewhere'; import cropfit;"
    "report = cropfit.grow(crop=sys.argv[1], wait=True); print(report.cases, 'cases')"
)

TELLING = 0.0011  # seconds; a case that takes longer is on disk before the next one begins


def start(program: str, crop: cf.Crop, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, crop.location],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that must not outlive the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for worker in started:
        worker.kill()
        worker.wait()
        if worker.stdout:
            worker.stdout.close()


def until(what: Callable[[], Any], seconds: float = 100) -> Any:
    """Wait for an event of another process that can only be looked for."""
    end = time.monotonic() + seconds
    while not (seen := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)
    return seen


def begun_by(worker: subprocess.Popen[str], log: Log) -> bool:
    """Whether a worker has begun a case, or ended."""
    begun = any(line.endswith(f" {worker.pid}") for line in log.lines())
    return begun or worker.poll() is not None


def sown(folder: Path, fn: Callable[..., Any], xs: Any, **options: Any) -> cf.Crop:
    batching = {key: options.pop(key) for key in ("batchsize",) if key in options}
    crop = cf.Crop(
        fn,
        "it",
        parent_dir=folder,
        var_names=options.pop("var_names", ["z"]),
        verbosity=0,
        **{"max_deaths": 10_000, **options},
    )
    crop.sow_combos({"x": xs}, **batching)
    return crop


def states(crop: cf.Crop) -> dict[str, int]:
    told = crop.status().to_dict()
    kinds = ("sown", "growing", "grown", "failed", "ignored")
    return {kind: told[kind] for kind in kinds if told[kind]}


# -- storms ----------------------------------------------------------------------------


@pytest.mark.timeout(scaled(600, 900))
@pytest.mark.parametrize("batchsize", [1, 7])
def test_a_storm_of_kills_costs_each_worker_its_case_in_hand(
    tmp_path: Path, workers: list[subprocess.Popen[str]], batchsize: int
) -> None:
    """Eight workers on one crop; one that has begun a case is killed, and another put in its place.

    Some cases fail. No more than the failure of a case may come of a kill, either.
    """
    kills, log, rng = scaled(20, 120), Log(tmp_path / "log"), random.Random(batchsize)
    xs, enough = range(kills * 8), tmp_path / "enough"
    last = xs[-8 * batchsize]  # a batch for each worker, so that they do not end too soon

    def work(x: int) -> tuple[int, np.ndarray[Any, Any]]:
        log.add("start", x)
        time.sleep(0.02 + 0.004 * (x % 10))
        if x >= last:
            until(enough.exists)
        if x % 50 == 13:
            raise ValueError("unlucky")
        log.add("end", x)
        return 3 * x, np.full(5, x)

    field = tmp_path / "field"
    field.mkdir()
    options = {"var_names": ["z", "line"], "var_dims": {"line": ["k"]}, "batchsize": batchsize}
    crop = sown(field, work, xs, **options)
    killed = _storm(crop, log, kills, workers, rng, enough)
    unlucky = [x for x in xs if x % 50 == 13]

    assert crop.clean()["dead"] == 0  # the living took up what the dead had left
    assert states(crop).keys() <= {"grown", "failed"}
    assert [failure["case"] for failure in crop.errors()] == unlucky
    assert {failure["type"] for failure in crop.errors()} == {"ValueError"}
    told = account(log.lines(), xs, killed)
    assert (told.lost, told.unexplained) == ([], [])
    ends = Counter(int(line.split()[1]) for line in log.lines() if line.startswith("end"))
    assert sum(ends.values()) - len(ends) <= told.repeated <= len(killed)

    ds = crop.reap(allow_incomplete=True, clean_up=True)
    good = np.array([x % 50 != 13 for x in xs])
    assert np.array_equal(ds["z"].values[good], 3.0 * np.array(xs)[good])
    assert np.array_equal(ds["line"].values[good], np.array(xs, float)[good, None].repeat(5, 1))
    assert np.isnan(ds["z"].values[~good]).all()
    with xr.open_dataset(field / "it.nc") as saved:
        assert saved["z"].equals(ds["z"])
    assert tree(field) == ["it.nc"]
    wrong = 0  # of the assertions above
    figures = {"kills": len(killed), "cases": len(xs), "lost": len(told.lost), "wrong": wrong}
    report(storm=f"batchsize {batchsize}", **figures, repeated=told.repeated)


def _storm(
    crop: cf.Crop,
    log: Log,
    kills: int,
    workers: list[subprocess.Popen[str]],
    rng: random.Random,
    enough: Path,
) -> list[int]:
    """Keep eight workers at it, kill one that has begun a case, at a random moment; who died."""
    killed: list[int] = []
    running: list[subprocess.Popen[str]] = []
    while len(killed) < kills:
        while len(running) < 8:
            running.append(start(GROW, crop))
            workers.append(running[-1])

        def ready() -> list[subprocess.Popen[str]]:
            begun = {int(line.split()[2]) for line in log.lines()}
            return [worker for worker in running if worker.pid in begun]

        victim = rng.choice(until(ready))
        time.sleep(rng.random() * 0.05)
        assert victim.poll() is None, victim.communicate()[0]
        victim.kill()
        victim.communicate()
        killed.append(victim.pid)
        running.remove(victim)
    enough.touch()
    for worker in running:
        said, _ = worker.communicate(timeout=200)
        assert worker.returncode in (0, 1), said
    return killed


def test_the_supervisor_replaces_a_worker_that_was_killed(tmp_path: Path) -> None:
    """However many die: each costs its case in hand."""
    log, marks = Log(tmp_path / "log"), tmp_path

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(TELLING)
        mark = marks / f"died-{x}"
        if x % 5 == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sown(tmp_path, work, range(60), batchsize=6)
    told = crop.grow(num_workers=4)

    assert states(crop) == {"grown": 10}
    assert (told.reason, told.failures) == ("done", [])
    begun = Counter(int(line.split()[1]) for line in log.lines())
    assert begun == {x: 2 if x % 5 == 2 else 1 for x in range(60)}
    assert crop.reap(to=False, clean_up=True)["z"].values.tolist() == [*range(60)]


@pytest.mark.timeout(scaled(600, 900))
def test_a_storm_over_trivial_cases_leaves_no_wrong_result(
    tmp_path: Path, workers: list[subprocess.Popen[str]]
) -> None:
    """Thousands of cases a batch, written in runs and rewritten as one in the end.

    Each kill has a crop of its own: a worker may be done with it before it is killed.
    """
    kills, rng, xs = scaled(6, 40), random.Random(3), range(20_000)
    killed = tried = 0

    def work(x: int) -> float:
        return sum(range(x % 300)) + x / 7

    while killed < kills and tried < 20 * kills:
        crop = sown(tmp_path, work, xs, batchsize=2000)
        worker = start(GROW, crop)
        workers.append(worker)
        until(lambda crop=crop, worker=worker: crop.status().growing or worker.poll() is not None)
        time.sleep(rng.random() * 0.01)
        worker.kill()
        killed += worker.wait() == -signal.SIGKILL
        tried += 1
        crop.grow()

        assert states(crop) == {"grown": 10}
        files = [path.name for path in Path(crop.location).glob("grown/*/*")]
        assert len(files) == 10  # one a batch
        ds = crop.reap(clean_up=True, to=False)
        assert ds["z"].values.tolist() == [work(x) for x in xs]
        assert tree(tmp_path) == []
    assert killed == kills
    report(storm="trivial cases", kills=kills, cases=tried * len(xs), lost=0, wrong=0)


@pytest.mark.timeout(scaled(600, 900))
def test_a_supervisor_stands_a_storm_over_its_workers(
    tmp_path: Path, workers: list[subprocess.Popen[str]]
) -> None:
    """Killed from outside, whatever they are doing: starting, computing, between two batches."""
    kills, rng, log = scaled(10, 60), random.Random(4), Log(tmp_path / "log")
    xs, enough = range(kills * 12), tmp_path / "enough"
    last = xs[-8]  # a batch for each worker, so that they do not end too soon

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(0.03)
        if x >= last:
            until(enough.exists)
        return x

    crop = sown(tmp_path, work, xs, batchsize=2)
    program = "import sys, cropfit; cropfit.grow(crop=sys.argv[1], num_workers=4)"
    workers.append(start(program, crop))
    killed: set[int] = set()

    def others() -> list[int]:
        return [pid for pid in children(workers[0].pid) if pid not in killed]

    while len(killed) < kills:
        victim = rng.choice(until(others))
        time.sleep(rng.random() * 0.2)
        assert workers[0].poll() is None, workers[0].communicate()[0]
        killed.add(victim)
        os.kill(victim, signal.SIGKILL)
    enough.touch()
    said, _ = workers[0].communicate(timeout=200)

    assert workers[0].returncode == 0, said
    told = account(log.lines(), xs, killed)
    assert (told.lost, told.unexplained) == ([], [])
    assert crop.reap(to=False, clean_up=True)["z"].values.tolist() == [*xs]
    assert tree(tmp_path) == ["enough", "log"]
    report(storm="supervised", kills=kills, cases=len(xs), lost=0, wrong=0, repeated=told.repeated)


def children(pid: int) -> list[int]:
    """Processes that `pid` started and that are there."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def test_workers_that_lose_their_supervisor_give_back_what_they_hold(
    tmp_path: Path, workers: list[subprocess.Popen[str]]
) -> None:
    log = Log(tmp_path / "log")

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(0.05)
        return x

    crop = sown(tmp_path, work, range(60), batchsize=3)
    program = "import sys, cropfit; cropfit.grow(crop=sys.argv[1], num_workers=3)"
    workers.append(start(program, crop))
    until(lambda: len(log.lines()) > 6)
    workers[0].kill()
    workers[0].communicate()  # ends when the last worker has ended: they hold its output
    assert "growing" not in states(crop)

    crop.grow()
    told = account(log.lines(), range(60), [])
    assert (told.lost, told.repeated) == ([], 0)
    assert crop.reap(to=False)["z"].values.tolist() == [*range(60)]


# -- crashes ---------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 3])
def test_a_case_that_kills_its_workers_fails_alone(tmp_path: Path, num_workers: int) -> None:
    log = Log(tmp_path / "log")

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(TELLING)
        if x in (4, 5):
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sown(tmp_path, work, range(9), batchsize=3, max_deaths=3)
    told = crop.grow(num_workers=num_workers)

    assert states(crop) == {"grown": 2, "failed": 1}
    failures = crop.errors()
    assert [(f["case"], f["type"], f["attempt"]) for f in failures] == [
        (4, "WorkerDied", 3),
        (5, "WorkerDied", 3),
    ]
    assert "3 workers died" in failures[0]["message"]
    assert told.exit_code == 1
    begun = Counter(int(line.split()[1]) for line in log.lines())
    assert begun == {x: 3 if x in (4, 5) else 1 for x in range(9)}
    values = crop.reap(to=False, allow_incomplete=True)["z"].values
    assert [x for x in range(9) if values[x] == x] == [0, 1, 2, 3, 6, 7, 8]


CRASHES = {
    1: ("Killed", "SIGSEGV"),
    3: ("Exited", "3"),
    4: ("Killed", "SIGKILL"),
    6: ("Timeout", "10 s"),
    8: ("OutOfMemory", "300 MiB"),
}


@pytest.mark.parametrize("batchsize", [1, 10])
def test_each_crash_costs_one_case_and_is_recorded_as_what_it_was(
    tmp_path: Path, batchsize: int
) -> None:
    log = Log(tmp_path / "log")

    def work(x: int) -> int:
        log.add("start", x)
        if x == 1:
            ctypes.string_at(0)
        elif x == 3:
            os._exit(3)
        elif x == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        elif x == 6:
            time.sleep(60)
        elif x == 8:
            hoard = np.ones(1 << 26)
            time.sleep(60)
            del hoard
        return x

    crop = sown(tmp_path, work, range(10), batchsize=batchsize)
    told = crop.grow(fresh=True, num_workers=2, timeout=10, max_memory=300 << 20)

    failures = {f["case"]: f for f in crop.errors()}
    assert {case: f["type"] for case, f in failures.items()} == {
        case: kind for case, (kind, _) in CRASHES.items()
    }
    for case, (_, word) in CRASHES.items():
        assert word in failures[case]["message"]
    assert (told.exit_code, len(told.failures)) == (1, 5)
    begun = Counter(int(line.split()[1]) for line in log.lines())
    assert begun == dict.fromkeys(range(10), 1)
    values = crop.reap(to=False, allow_incomplete=True)["z"].values
    assert [x for x in range(10) if values[x] == x] == [0, 2, 5, 7, 9]


def test_workers_that_cannot_begin_are_not_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = sown(tmp_path, lambda x: x, range(4))
    (tmp_path / "cropfit.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(cf.CropError, match="Workers die before they claim a batch"):
        crop.grow(num_workers=2)
    assert states(crop) == {"sown": 4}


@pytest.mark.parametrize("fresh", [False, True])
def test_what_stops_one_worker_is_told_by_its_own_error(tmp_path: Path, fresh: bool) -> None:
    crop = sown(tmp_path, lambda x: x, range(4))
    path = Path(crop.location) / "function.pkl"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(cf.DamagedError, match=r"function\.pkl is torn"):
        crop.grow(num_workers=2, fresh=fresh)
    assert states(crop) == {"sown": 4}


def test_the_errors_of_a_batch_without_any_result_are_told(tmp_path: Path) -> None:
    """They are read from the record file, which holds nothing else here."""

    def work(x: int) -> int:
        raise ValueError(f"no {x}")

    crop = sown(tmp_path, work, range(2), batchsize=2)
    crop.grow()
    assert [failure["message"] for failure in crop.errors()] == ["no 0", "no 1"]


# -- dead or slow ----------------------------------------------------------------------


def test_a_child_of_the_function_does_not_keep_a_dead_workers_claim_alive(
    tmp_path: Path, workers: list[subprocess.Popen[str]]
) -> None:
    """The child holds the pipe of the heart; the heart sees that its parent is another."""
    log = Log(tmp_path / "log")

    def work(x: int) -> int:
        if socket_name() != "elsewhere":
            child = os.fork()
            if child == 0:
                log.add("child", x)
                time.sleep(600)
                os._exit(0)
            log.add("start", x)
            time.sleep(600)
        return x

    crop = sown(tmp_path, work, [0], lease=2)
    workers.append(start(GROW, crop))
    lines = until(lambda: len(log.lines()) == 2 and log.lines())
    child = next(int(line.split()[2]) for line in lines if line.startswith("child"))
    try:
        workers[0].kill()
        begun = time.monotonic()
        other = start(ELSEWHERE, crop)
        workers.append(other)
        said, _ = other.communicate(timeout=200)
        took = time.monotonic() - begun
        os.kill(child, 0)  # it is there all the time
    finally:
        os.kill(child, signal.SIGKILL)
    assert "1 case" in said
    assert took > 1.5
    assert crop.reap(to=False)["z"].values.tolist() == [0]


def test_a_worker_whose_function_left_a_child_behind_comes_to_its_end(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")

    def work(x: int) -> int:
        if os.fork() == 0:
            log.add("child", x)
            time.sleep(600)
            os._exit(0)
        return x

    crop = sown(tmp_path, work, [0])
    crop.grow()
    (line,) = until(log.lines)
    os.kill(int(line.split()[2]), signal.SIGKILL)  # an error if it were not there any more
    assert states(crop) == {"grown": 1}


def socket_name() -> str:
    import socket

    return socket.gethostname()


def test_a_host_that_slept_beyond_the_lease_loses_its_batch_and_knows_it(
    tmp_path: Path, workers: list[subprocess.Popen[str]]
) -> None:
    """Its late finish is refused: what the other recorded stands."""
    log = Log(tmp_path / "log")

    def work(x: int) -> str:
        log.add("start", x)
        if socket_name() != "elsewhere" and x == 1:
            until((tmp_path / "go").exists)
        return f"{x} by {socket_name()}"

    crop = sown(tmp_path, work, range(3), batchsize=3, lease=2)
    workers.append(start(GROW, crop))
    until(lambda: len(log.lines()) == 2)
    asleep = [workers[0].pid, *children(workers[0].pid)]
    assert len(asleep) == 2  # it and its heart
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    other = start(ELSEWHERE, crop)
    workers.append(other)
    said, _ = other.communicate(timeout=200)
    assert "Batch 1 was taken over" in said
    (tmp_path / "go").touch()
    for pid in reversed(asleep):  # the heart first: the worker may take it with it
        os.kill(pid, signal.SIGCONT)
    late, _ = workers[0].communicate(timeout=200)

    assert workers[0].returncode == 0, late
    assert "what this one computed of it is discarded" in late
    assert [*Path(crop.location).glob("growing/*")] == []
    values = crop.reap(to=False)["z"].values.tolist()
    assert values[1:] == ["1 by elsewhere", "2 by elsewhere"]
    assert values[0].startswith("0 by ")


def hearts_of(pid: int) -> list[int]:
    """Children that beat for a worker; other tests' pools have helpers of theirs."""
    found = []
    for child in children(pid):
        with contextlib.suppress(OSError):  # it is gone
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"os.utime" in command or not command:
                found.append(child)
    return found


def test_a_heart_that_was_killed_is_replaced(tmp_path: Path) -> None:
    hearts = Log(tmp_path / "hearts")

    def work(x: int) -> int:
        if x == 0:
            for pid in hearts_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
        for pid in hearts_of(os.getpid()):
            hearts.add(pid, Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0])
        return x

    crop = sown(tmp_path, work, range(3))
    crop.grow()
    assert states(crop) == {"grown": 3}
    living = [line.split()[0] for line in hearts.lines() if line.split()[1] != "Z"]
    assert len(set(living)) == 1


def test_a_function_that_holds_the_gil_longer_than_the_lease_keeps_its_claim(
    tmp_path: Path, workers: list[subprocess.Popen[str]]
) -> None:
    log = Log(tmp_path / "log")

    def work(x: int) -> int:
        log.add("start", x)
        ctypes.PyDLL(None).usleep(11_000_000)  # PyDLL does not let go of the GIL
        log.add("end", x)
        return x

    crop = sown(tmp_path, work, [0], lease=5)
    workers.append(start(GROW, crop))
    until(log.lines)
    other = start(ELSEWHERE, crop)
    workers.append(other)
    said, _ = other.communicate(timeout=200)

    assert said.endswith("0 cases\n")
    assert "taken over" not in said
    assert [line.split()[0] for line in log.lines()] == ["start", "end"]
    assert workers[0].wait(100) == 0
    assert crop.reap(to=False)["z"].values.tolist() == [0]


def test_a_worker_whose_batch_was_taken_from_it_says_so_and_goes_on(
    tmp_path: Path, workers: list[subprocess.Popen[str]]
) -> None:
    """Before it recorded anything: the file that it wants to make has no folder any more."""
    log, taken = Log(tmp_path / "log"), tmp_path / "taken"

    def work(x: int) -> int:
        log.add("start", x)
        if "STUCK" in os.environ:
            until(taken.exists)
        return x

    crop = sown(tmp_path, work, range(4), batchsize=2)
    workers.append(start(GROW, crop, env={**os.environ, "STUCK": "1"}))
    until(log.lines)
    assert crop.grow(1, steal=True).grown == [1]
    taken.touch()
    said, _ = workers[0].communicate(timeout=200)

    assert workers[0].returncode == 0, said
    assert "Batch 1 was taken over by another worker meanwhile" in said
    assert "1 batch grown" in said
    assert [line.split()[1] for line in log.lines()] == ["0", "0", "1", "2", "3"]
    assert crop.reap(to=False)["z"].values.tolist() == [*range(4)]


# -- signals ---------------------------------------------------------------------------

CODES = {signal.SIGINT: (130, -signal.SIGINT), signal.SIGTERM: (143,)}


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("num_workers", [None, 2])
def test_a_signal_in_a_long_case_gives_the_batch_back(
    tmp_path: Path,
    workers: list[subprocess.Popen[str]],
    number: signal.Signals,
    num_workers: int | None,
) -> None:
    log, again = Log(tmp_path / "log"), tmp_path / "again"

    def work(x: int) -> int:
        log.add("start", x)
        if x in (2, 5) and not again.exists():
            time.sleep(60)
        return x

    crop = sown(tmp_path, work, range(6), batchsize=3)
    program = f"import sys, cropfit; cropfit.grow(crop=sys.argv[1], num_workers={num_workers})"
    workers.append(start(program, crop))
    stuck = 3 if num_workers is None else 6
    until(lambda: len(log.lines()) == stuck)
    workers[0].send_signal(number)
    said, _ = workers[0].communicate(timeout=200)

    assert workers[0].returncode in CODES[number], said
    assert states(crop) == {"sown": 2}
    again.touch()
    crop.grow()
    begun = Counter(int(line.split()[1]) for line in log.lines())
    interrupted = {2} if num_workers is None else {2, 5}
    assert begun == {x: 2 if x in interrupted else 1 for x in range(6)}
    assert crop.reap(to=False)["z"].values.tolist() == [*range(6)]


@pytest.mark.parametrize("how", ["returns", "raises"])
def test_a_function_that_swallows_the_signal_has_not_finished_its_case(
    tmp_path: Path, workers: list[subprocess.Popen[str]], how: str
) -> None:
    """Many a solver takes Ctrl-C as leave to return what it has by now."""
    log, again = Log(tmp_path / "log"), tmp_path / "again"

    def work(x: int) -> int:
        log.add("start", x)
        try:
            if x == 1 and not again.exists():
                time.sleep(60)
        except BaseException:
            if how == "raises":
                raise RuntimeError("what was that?") from None
            return -1
        return x

    crop = sown(tmp_path, work, range(3), batchsize=3)
    workers.append(start(GROW, crop))
    until(lambda: len(log.lines()) == 2)
    workers[0].send_signal(signal.SIGTERM)
    said, _ = workers[0].communicate(timeout=200)

    assert workers[0].returncode == 143, said
    assert states(crop) == {"sown": 1}
    again.touch()
    assert crop.grow().failures == []
    assert crop.reap(to=False)["z"].values.tolist() == [0, 1, 2]


def test_a_process_that_the_function_forked_obeys_signals_as_if_cropfit_were_not_there(
    tmp_path: Path,
) -> None:
    """A pool that is terminated must not wait for ever, nor go on growing."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # some pools leave a handler of their own

    def work(x: int) -> int:
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tell, b"!")  # Python forgets signals that come while it forks
            while True:  # signal.pause() would miss a signal that comes just before it
                time.sleep(0.01)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    crop = sown(tmp_path, work, [0])
    crop.grow()
    assert crop.reap(to=False)["z"].values.tolist() == [-signal.SIGTERM]


@pytest.mark.timeout(scaled(600, 900))
@pytest.mark.parametrize("number", CODES)
def test_signals_at_random_moments_lose_nothing(
    tmp_path: Path, workers: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    """Most of them come while books are kept: the cases are short and the batches small."""
    runs, rng = scaled(10, 80), random.Random(int(number))
    log, xs = Log(tmp_path / "log"), range(scaled(1500, 12000))
    enough = tmp_path / "enough"

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(TELLING)
        if x == xs[-1]:
            until(enough.exists)
        return 2 * x

    crop = sown(tmp_path, work, xs, batchsize=3)
    left = []
    while states(crop) != {"grown": len(xs) // 3}:
        worker = start(GROW, crop)
        workers.append(worker)
        if len(left) < runs:
            until(lambda worker=worker: begun_by(worker, log))
            time.sleep(rng.random() * 0.1)
            worker.send_signal(number)
            left.append(worker.pid)
        else:
            enough.touch()
        said, _ = worker.communicate(timeout=200)
        assert worker.returncode in (0, *CODES[number]), said
        assert set(states(crop)) <= {"sown", "grown"}
    told = account(log.lines(), xs, left)
    assert len(left) == runs
    assert (told.lost, told.unexplained) == ([], [])
    ds = crop.reap(clean_up=True, to=tmp_path / "it.nc")
    assert ds["z"].values.tolist() == [2 * x for x in xs]
    assert tree(tmp_path) == ["enough", "it.nc", "log"]
    report(signals=number.name, runs=runs, cases=len(xs), lost=0, repeated=told.repeated)


if FULL:
    pytestmark = pytest.mark.timeout(900)
