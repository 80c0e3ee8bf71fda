"""Two real clients of one real NFS server: the ledger's promises, and whole crops.

Run by `make test-nfs`, which boots the server. Each client has its own caches, its own
network and its own host name; what is awaited through a local folder is no part of the crop.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.actor import PATIENCE, Host
from contracts.ledger import LedgerContract, eventually

from cropfit.disk.layout import STATES, Layout

pytestmark = [pytest.mark.nfs, pytest.mark.timeout(300)]

LEASE = 5.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    """The two clients. The first concurrent renames after a boot may stall: they are done here."""
    name = f"tests-{os.getpid()}"
    folders = [f"{os.environ[mount]}/{name}" for mount in ("NFS_A", "NFS_B")]
    prefixes = [tuple(os.environ[prefix].split()) for prefix in ("NFS_AS_A", "NFS_AS_B")]
    crop = Layout(f"{folders[0]}/warm-up")
    for state in STATES:
        os.makedirs(crop.state(state))
    for batch in range(30):
        os.mkdir(crop.batch("sown", batch))
    with (
        Host("node-a", folders[0], prefixes[0]) as a,
        Host("node-b", folders[1], prefixes[1]) as b,
    ):
        for host in (a, b):
            host.resident.ask("open", f"{host.folder}/warm-up", False, LEASE)
        for host in (a, b):
            host.resident.tell("race", list(range(30)))
        assert sum(len(host.resident.hear()) for host in (a, b)) == 30
        yield a, b


class TestLedgerOnNfs(LedgerContract):
    """One folder holds all batches of a state."""


class TestLedgerOfACropInShardsOnNfs(LedgerContract):
    sharded = True
    first = 11_960


# -- whole crops -----------------------------------------------------------------------

SOW = """
import os, socket, sys, time
import cropfit as cf

folder, log, cases, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
event = os.path.exists

def work(x):
    host = socket.gethostname()
    with open(f"{log}/{host}.{os.getpid()}", "a") as file:
        print(x, file=file)
    if event(f"{log}/hold-{host}-{x}"):
        open(f"{log}/held-{host}-{x}", "w").close()
        while not event(f"{log}/let-go"):  # a local file: the network may be cut
            time.sleep(0.01)
    return [float(x)] * size if size > 1 else x * x

crop = cf.Crop(
    work, "field", parent_dir=folder, batchsize=1, lease=5.0, verbosity=0,
    var_names="y", var_dims={"y": ["t"]} if size > 1 else None,
)
crop.sow_combos({"x": range(cases)})
"""

GROW = """
import json, sys
import cropfit as cf

report = cf.grow(None, sys.argv[1], wait=sys.argv[2] == "wait")
print(json.dumps([report.grown, report.failed, report.cases, report.notes]))
"""

REAP = """
import json, os, sys
import xarray as xr
import cropfit as cf

ds = cf.Crop.load(sys.argv[1]).reap()
saved = xr.load_dataset(os.path.dirname(sys.argv[1]) + "/field.nc")
assert saved.equals(ds)
print(json.dumps(ds.y.values.tolist()))
"""


class Field:
    """A crop that both hosts see, and a local folder for what its function tells."""

    def __init__(self, hosts: tuple[Host, Host], name: str, log: Path) -> None:
        self.a, self.b = hosts
        self.name = name
        self.log = log
        os.mkdir(f"{self.a.folder}/{name}")

    def at(self, host: Host) -> str:
        """The crop's folder as `host` sees it."""
        return f"{host.folder}/{self.name}/.crop-field"

    def run(self, host: Host, code: str, *args: str) -> Any:
        """Run a program on `host` to its end; what it printed, as JSON."""
        worker = self.start(host, code, *args)
        return self.end(worker)

    def start(self, host: Host, code: str, *args: str) -> subprocess.Popen[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return host.start("-c", code, *args, **pipes)

    def end(self, worker: subprocess.Popen[bytes]) -> Any:
        out, err = worker.communicate(timeout=PATIENCE)
        assert worker.returncode == 0, err.decode()
        return json.loads(out.splitlines()[-1]) if out else None

    def sow(self, cases: int, size: int = 1) -> None:
        self.run(self.a, SOW, f"{self.a.folder}/{self.name}", str(self.log), str(cases), str(size))

    def grow(self, host: Host, how: str = "") -> subprocess.Popen[bytes]:
        """Start a worker on `host`."""
        return self.start(host, GROW, self.at(host), how)

    def tree(self, host: Host) -> dict[str, list[str]]:
        """State → its batches, as `host` sees them."""
        found = {state: sorted(os.listdir(f"{self.at(host)}/{state}")) for state in STATES}
        return {state: names for state, names in found.items() if names}

    def calls(self) -> dict[str, Counter[int]]:
        """Host → how often it computed each case."""
        found: dict[str, Counter[int]] = {"node-a": Counter(), "node-b": Counter()}
        for path in self.log.glob("node-*"):
            found[path.name.partition(".")[0]].update(map(int, path.read_text().split()))
        return found

    def hold(self, host: Host, case: int) -> None:
        """Let the function wait in this case on this host."""
        (self.log / f"hold-{host.name}-{case}").touch()

    def is_held(self, host: Host, case: int) -> bool:
        return eventually((self.log / f"held-{host.name}-{case}").exists)

    def let_go(self) -> None:
        (self.log / "let-go").touch()


def batches(numbers: Any) -> list[str]:
    return [f"{n:06d}" for n in numbers]


@pytest.fixture
def sow(
    hosts: tuple[Host, Host], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Field]:
    def make(cases: int, size: int = 1) -> Field:
        field = Field(hosts, request.node.name[:40], tmp_path)
        field.sow(cases, size)
        return field

    return make


def test_six_workers_on_two_hosts_grow_each_case_exactly_once(sow):
    """Sown on one host, reaped on the other; the crop is gone on both when it is saved."""
    field = sow(200)

    workers = [field.grow(host) for host in (field.a, field.b) * 3]
    reports = [field.end(worker) for worker in workers]
    result = field.run(field.b, REAP, field.at(field.b))

    calls = field.calls()
    assert calls["node-a"] + calls["node-b"] == Counter(range(200))
    assert calls["node-a"]
    assert calls["node-b"]
    assert sorted(n for grown, *_ in reports for n in grown) == list(range(1, 201))
    assert result == [x * x for x in range(200)]
    assert os.listdir(f"{field.a.folder}/{field.name}") == ["field.nc"]


def test_who_waits_takes_over_from_a_dead_host_when_its_lease_has_ended(sow):
    """No process of the other host can be looked at: only the silence of its heart tells."""
    field = sow(3)
    field.hold(field.b, 0)
    dying = field.grow(field.b)
    assert field.is_held(field.b, 0)
    waiting = field.grow(field.a, "wait")
    done = f"{field.at(field.a)}/grown"
    assert eventually(lambda: sorted(os.listdir(done)) == batches([2, 3]))

    dying.kill()
    killed = time.monotonic()
    grown, failed, cases, notes = field.end(waiting)
    took = time.monotonic() - killed
    dying.communicate()

    print(f"taken over {took:.1f} s after the death, with a lease of {LEASE:.0f} s")
    assert took > LEASE / 2
    assert (sorted(grown), failed, cases) == ([1, 2, 3], [], 3)
    assert "taken over from node-b" in notes[0]
    assert field.calls() == {"node-a": Counter(range(3)), "node-b": Counter([0])}
    assert field.tree(field.b) == {"grown": batches([1, 2, 3])}
    assert field.run(field.b, REAP, field.at(field.b)) == [0, 1, 4]


def test_a_live_worker_of_another_host_is_left_alone_however_long_it_takes(sow):
    """Its function lasts for more than two leases; the other host waits for it."""
    field = sow(2)
    field.hold(field.b, 0)
    slow = field.grow(field.b)
    assert field.is_held(field.b, 0)
    waiting = field.grow(field.a, "wait")

    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(2.2 * LEASE)
    field.let_go()

    assert field.end(slow)[0] == [1]
    assert field.end(waiting)[0] == [2]
    assert field.calls() == {"node-a": Counter([1]), "node-b": Counter([0])}


def test_a_worker_that_was_taken_over_while_it_was_stopped_discards_its_batch(sow):
    """Its heart was stopped with it, as when a laptop sleeps."""
    field = sow(2)
    field.hold(field.b, 0)
    late = field.grow(field.b)
    assert field.is_held(field.b, 0)
    family = _family(late.pid)
    for pid in family:
        os.kill(pid, signal.SIGSTOP)

    grown, *_ = field.end(field.grow(field.a, "wait"))
    before = {n: _content(field, n) for n in grown}
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    field.let_go()
    late_grown, _, _, notes = field.end(late)

    assert sorted(grown) == [1, 2]
    assert late_grown == []
    assert "taken over by another worker" in notes[0]
    assert _unchanged(field, before)
    assert field.calls() == {"node-a": Counter([0, 1]), "node-b": Counter([0])}
    assert field.run(field.b, REAP, field.at(field.b)) == [0, 1]


def test_a_host_that_was_cut_off_with_a_claim_comes_back_and_nothing_is_lost_or_double(sow):
    field = sow(4)
    field.hold(field.b, 0)
    cut = field.grow(field.b)
    assert field.is_held(field.b, 0)
    _link("down")
    try:
        grown, *_ = field.end(field.grow(field.a, "wait"))
    finally:
        _link("up")
    before = {n: _content(field, n) for n in grown}
    field.let_go()
    late_grown, _, _, notes = field.end(cut)

    assert sorted(grown) == [1, 2, 3, 4]
    assert late_grown == []
    assert "taken over by another worker" in notes[0]
    assert _unchanged(field, before)
    assert field.tree(field.b) == field.tree(field.a) == {"grown": batches([1, 2, 3, 4])}
    assert field.calls() == {"node-a": Counter(range(4)), "node-b": Counter([0])}
    assert field.run(field.b, REAP, field.at(field.b)) == [0, 1, 4, 9]


def test_a_server_that_fills_up_loses_nothing(sow):
    """NFS says so only when a file is closed; what was finished stays, the rest is sown again."""
    field = sow(40, size=8192)  # 64 KiB a batch
    used = _export("used")
    _export(f"{used + (1 << 20)}")  # room for about 16 batches
    try:
        workers = [field.grow(host) for host in (field.a, field.b)]
        told = [worker.communicate(timeout=PATIENCE) for worker in workers]
        first = field.tree(field.a)
    finally:
        _export("50%")
    assert all(b"No space left" in err for _, err in told), told
    assert first.keys() <= {"sown", "grown"}
    assert 5 < len(first["grown"]) < 20
    assert sorted(first["sown"] + first["grown"]) == batches(range(1, 41))

    again = [field.end(field.grow(host)) for host in (field.b, field.a)]

    assert sorted(again[0][0] + again[1][0]) == [int(n) for n in first["sown"]]
    result = field.run(field.a, REAP, field.at(field.a))
    assert result == [[float(x)] * 8192 for x in range(40)]


def _unchanged(field: Field, before: dict[int, dict[str, bytes]]) -> bool:
    """Whether all files stand as they stood before.

    A late worker's own file may have come to stand beside them: the client still knows the
    folder, whatever its name is by now.
    """
    return all(files.items() <= _content(field, n).items() for n, files in before.items())


def _content(field: Field, batch: int) -> dict[str, bytes]:
    folder = Path(f"{field.at(field.a)}/grown/{batch:06d}")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _family(pid: int) -> list[int]:
    """A process and its children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [*map(int, file.read().split()), pid]


def _link(state: str) -> None:
    """Cut the second client's network, or mend it."""
    subprocess.run(["ip", "link", "set", "srvb", state], check=True)


def _export(size: str) -> int:
    """Set the size of the server's disk; returns the bytes in use."""
    where = os.environ["NFS_EXPORT"]
    if size != "used":
        subprocess.run(["mount", "-o", f"remount,size={size}", where], check=True)
    found = os.statvfs(where)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
