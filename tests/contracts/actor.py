"""One process of one host that works on a ledger as it is told, a line of JSON at a time.

    test ──["claim", 3]──▶ actor, maybe on another host ──▶ ledger
    test ◀──{"is": true}──

So two hosts of the tests are two processes that share nothing but the file system.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cropfit.disk import frames
from cropfit.disk.codec import encode_results
from cropfit.disk.heart import Heart
from cropfit.disk.layout import Layout
from cropfit.disk.ledger import Claim, Ledger
from cropfit.disk.owner import Owner
from cropfit.disk.publish import clock
from cropfit.disk.records import RecordFile

PATIENCE = 150.0  # seconds; the first concurrent rename on a fresh NFS server may stall for 100


class Host:
    """A machine, as a test sees it: how to start a process there, and where it sees the files.

    Parameters
    ----------
    name : str
        Its host name.
    folder : str
        The folder that all hosts share, under the path that it has on this one.
    prefix : tuple of str
        What a command line begins with to run on this host.
    """

    def __init__(self, name: str, folder: str, prefix: tuple[str, ...] = ()) -> None:
        self.name = name
        self.folder = folder
        self.prefix = prefix
        self._started: list[Actor] = []

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *error: object) -> None:
        for actor in self._started:
            actor.close()

    @property
    def resident(self) -> Actor:
        """An actor that stays for all tests."""
        return self._started[0] if self._started else self.actor()

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a Python on this host."""
        return subprocess.Popen([*self.prefix, sys.executable, *command], **options)

    def actor(self) -> Actor:
        """Start an actor on this host."""
        # A host that is not real has but its name.
        actor = Actor(self, "" if self.prefix else self.name)
        self._started.append(actor)
        return actor


class Actor:
    """The test's end of an actor; commands are the methods of `_Acting`."""

    def __init__(self, host: Host, pretend: str) -> None:
        self.host = host
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = host.start("-m", "contracts.actor", pretend, env=_environment(), **pipe)

    def tell(self, command: str, *args: Any) -> None:
        """Send a command and do not wait."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([command, *args]).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """The answer to the oldest command that was not answered yet."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the actor on {self.host.name} died"
        answer = json.loads(line)
        if "raised" in answer:
            raise OSError(*answer["raised"])
        return answer["is"]

    def ask(self, command: str, *args: Any) -> Any:
        """Send a command and wait for its answer."""
        self.tell(command, *args)
        return self.hear()

    def kill(self) -> None:
        """Kill it as the OOM killer would."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Let it end."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait(PATIENCE)


def _environment() -> dict[str, str]:
    tests = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


class _Acting:
    """What an actor can be told."""

    def open(self, root: str, sharded: bool, lease: float) -> str:
        """Take up another crop, under a new name; returns that."""
        self.layout = Layout(root, sharded)
        self.ledger = Ledger(self.layout, Owner.here(), lease)
        self.mine: dict[int, Claim] = {}
        self.files: dict[int, RecordFile] = {}
        self.seen: Claim | None = None
        return str(self.ledger.owner)

    def claim(self, batch: int, source: str = "sown") -> bool:
        return self._keep(self.ledger.claim(batch, source))

    def look(self, batch: int) -> str:
        """Who holds the batch now; `take_over` will take it from nobody else."""
        (self.seen,) = (claim for claim in self.ledger.claims() if claim.batch == batch)
        return str(self.seen.owner)

    def take_over(self, batch: int) -> bool:
        if self.seen is None or self.seen.batch != batch:
            self.look(batch)
        other, self.seen = self.seen, None
        return self._keep(self.ledger.take_over(other))

    def _keep(self, claim: Claim | None) -> bool:
        if claim:
            self.mine[claim.batch] = claim
        return claim is not None

    def finish(self, batch: int) -> bool:
        return self.ledger.finish(self.mine.pop(batch))

    def fail(self, batch: int) -> bool:
        return self.ledger.fail(self.mine.pop(batch))

    def release(self, batch: int) -> bool:
        return self.ledger.release(self.mine.pop(batch))

    def shift(self, batch: int, source: str, target: str) -> bool:
        return self.ledger.shift(batch, source, target)

    def record(self, batch: int, value: float, last: bool = True) -> str:
        """Write a result into the file that this actor has in the batch's folder."""
        claim = self.mine[batch]
        path = f"{claim.path}/results.{claim.owner.token}"
        file = self.files.setdefault(batch, RecordFile(path, {"owner": str(claim.owner)}))
        for payload in encode_results([0], [0.0], [value], None)[0]:
            file.append(frames.RESULTS, *payload)
        if last:
            file.seal({"cases": 1}, sync=False)
            del self.files[batch]
        return os.path.basename(path)

    def race(self, batches: list[int]) -> list[int]:
        """Claim and finish what can be had of `batches`; what was had."""
        return [b for b in batches if self.claim(b) and (self.record(b, b), self.finish(b))[1]]

    def numbers(self, state: str) -> list[int]:
        return self.ledger.numbers(state)

    def counts(self) -> dict[str, int]:
        return self.ledger.counts()

    def where(self, batch: int) -> str | None:
        return self.ledger.where(batch)

    def held(self) -> list[tuple[int, str, float, bool]]:
        """Batch, owner, age and death of every claim."""
        return [(h.claim.batch, str(h.claim.owner), h.age, h.dead) for h in self.ledger.held()]

    def clock(self) -> float:
        return clock(self.layout.root)

    def beat(self, batch: int, every: float) -> None:
        """Keep the claim alive from now on; no batch ends it."""
        if batch:
            self.heart = Heart(every)
            self.heart.watch(self.mine[batch].path)
        else:
            self.heart.close()

    def lose_reply(self, code: str) -> None:
        """Let the next rename be done but reported as failed."""
        rename = os.rename

        def lossy(source: str, target: str) -> None:
            os.rename = rename
            rename(source, target)
            number = getattr(errno, code)
            raise OSError(number, os.strerror(number), source)

        os.rename = lossy  # type: ignore[assignment]

    def lose_request(self, code: str) -> None:
        """Let the next rename fail without being done."""
        rename = os.rename

        def refused(source: str, target: str) -> None:
            os.rename = rename
            number = getattr(errno, code)
            raise OSError(number, os.strerror(number), source)

        os.rename = refused  # type: ignore[assignment]

    def skew(self, seconds: float) -> None:
        """Set this host's clock forward."""
        real = time.time
        time.time = lambda: real() + seconds


def main() -> None:
    """Obey until the pipe is closed."""
    if sys.argv[1]:
        import socket

        socket.gethostname = lambda: sys.argv[1]
    acting = _Acting()
    for line in sys.stdin:
        command, *args = json.loads(line)
        try:
            answer = {"is": getattr(acting, command)(*args)}
        except OSError as error:
            answer = {"raised": (error.errno, error.strerror)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
