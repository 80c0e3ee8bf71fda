"""A crop whose function does, in whatever process and on whatever node, what files tell it to."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cropfit as cf
from cluster.sites import Site

PATIENCE = 180.0  # seconds; a busy machine may take long
LEASE = 10.0


def until(happened: Callable[[], Any], what: str, told: Callable[[], str] = str) -> Any:
    """Ask until something has happened; what it was."""
    end = time.monotonic() + PATIENCE
    while True:
        found = happened()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not happen.\n{told()}"
        time.sleep(0.2)


def obedient(folder: str) -> Callable[[int], int]:
    """The crop's function: it notes each call, and looks for files that are named as its case."""

    def work(x: int) -> int:
        import os
        import signal
        import socket
        import time

        def note(what: str) -> None:
            handle = os.open(f"{folder}/notes", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.write(handle, f"{what} {x} {socket.gethostname()}\n".encode())
            os.close(handle)

        note("begin")
        if os.path.exists(f"{folder}/fail-{x}"):
            raise ValueError(f"case {x} was told to fail")
        if os.path.exists(f"{folder}/deaf-{x}"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if os.path.exists(f"{folder}/stick-{x}"):
            os.rename(f"{folder}/stick-{x}", f"{folder}/stuck-{x}")
            time.sleep(3600)
        while os.path.exists(f"{folder}/hold-{x}"):
            time.sleep(0.02)
        time.sleep(0.01)  # what took no time at all is recorded together with the next case
        note("end")
        return x * x

    return work


class Field:
    """One crop on one site.

    Parameters
    ----------
    site : Site
        Where it is grown.
    folder : Path
        Where it stands; an empty folder.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.orders = folder / "orders"
        self.orders.mkdir()
        self.crop = cf.Crop(name="field", parent_dir=folder)

    def sow(self, cases: int, batchsize: int = 1) -> cf.Crop:
        """Sow cases 0, 1, ...; batch 1 has the first ones."""
        self.crop = cf.Crop(
            obedient(str(self.orders)),
            "field",
            parent_dir=self.folder,
            batchsize=batchsize,
            lease=LEASE,
            var_names="y",
            verbosity=0,
        )
        self.crop.sow_combos({"x": range(cases)})
        return self.crop

    def tell(self, order: str, *cases: int) -> None:
        """Give an order: "fail", "deaf", "stick" (once) or "hold"."""
        for case in cases:
            (self.orders / f"{order}-{case}").touch()

    def untell(self, order: str, *cases: int) -> None:
        """Take an order back."""
        for case in cases:
            (self.orders / f"{order}-{case}").unlink()

    def submit(self, **options: Any) -> list[str]:
        """Submit with what tests need no say in."""
        return self.crop.submit(self.site.name, **options)

    # -- what was seen ---------------------------------------------------------------

    def notes(self) -> list[tuple[str, int, str]]:
        """What the function noted: "begin" or "end", case, host."""
        try:
            lines = (self.orders / "notes").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(what, int(case), host) for what, case, host in map(str.split, lines)]

    def calls(self) -> dict[int, int]:
        """How often each case was begun."""
        return dict(
            sorted(Counter(case for what, case, _ in self.notes() if what == "begin").items())
        )

    def most_at_once(self) -> int:
        """How many cases were computed at the same time at most."""
        most = now = 0
        for what, _, _ in self.notes():
            now += 1 if what == "begin" else -1
            most = max(most, now)
        return most

    def begun(self, *cases: int) -> None:
        """Wait until these cases were begun."""
        until(lambda: {*cases} <= {*self.calls()}, f"that {cases} begin", self.told)

    def ended(self, jobs: Iterable[str]) -> None:
        """Wait until the scheduler has no task of these jobs any more."""
        until(lambda: not any(self.site.queue(job) for job in jobs), f"that {jobs} end", self.told)

    def told(self) -> str:
        """All that may tell why something did not happen."""
        logs = [f"{path}:\n{path.read_text()}" for path in Path(self.folder).rglob("*.log")]
        return "\n".join([str(self.crop.jobs()), str(self.calls()), *logs])

    def state(self, state: str) -> list[str]:
        """Names in one of the crop's folders."""
        return sorted(os.listdir(f"{self.crop.location}/{state}"))

    def reap(self) -> None:
        """Reap; every result must be right, and nothing of the crop may be left."""
        values = self.crop.reap()
        assert values.y.values.tolist() == [x * x for x in values.x.values.tolist()]
        assert not os.path.exists(self.crop.location)
