"""How rounds are made: a TOML file beside the crops, read again whenever it changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from cropfit.errors import DesignError
from cropfit.work.batch import Policy
from cropfit.work.employ import Terms
from cropfit.work.limits import THREADS, Duration, seconds, size_in_bytes
from cropfit.work.slots import Affinities, Gpus, Slot, make_slots

FILE = ".cropfit-auto-grow.toml"


@dataclass(frozen=True)
class Rules:
    """How to grow all crops of a folder.

    Parameters
    ----------
    num_workers : int, optional
        Processes at a time; by default as many as there are cores, or as `gpus` or
        `affinities` name. 0 pauses: what runs ends its turn, and nothing is begun.
    num_threads : int, optional
        Thread cap of each; by default the cores are shared out.
    turn : float
        Seconds after which a process makes room for the next crop, between batches.
    scan_interval : float
        Seconds between two looks for crops that have work.
    gpus, affinities, retries, max_fails, fresh, timeout, max_memory, log
        As of `cropfit.Crop.grow`; `max_memory` also as ``"2G"``.
    """

    num_workers: int | None = None
    num_threads: int | None = None
    turn: float = 10.0
    scan_interval: float = 2.0
    gpus: Gpus | None = None
    affinities: Affinities | None = None
    retries: int = 0
    max_fails: int | None = None
    fresh: bool = False
    timeout: Duration | None = None
    max_memory: int | str | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if self.num_workers is not None and (
            not isinstance(self.num_workers, int) or self.num_workers < 0
        ):
            raise DesignError(f"num_workers must be a number from 0 up, not {self.num_workers!r}.")
        for name in ("turn", "scan_interval"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value > 0:
                raise DesignError(f"{name} must be seconds above 0, not {value!r}.")
        self.slots()
        self.terms()

    def slots(self) -> list[Slot]:
        """A place for each process."""
        number = self.num_workers
        if number == 0:
            return []
        if number is None and self.gpus is None and self.affinities is None:
            number = _cores()
        return make_slots(number, self.gpus, self.affinities)

    def terms(self) -> Terms:
        """How each crop is grown."""
        Policy(retries=self.retries, max_fails=self.max_fails)  # raises for what makes none
        return Terms(
            retries=self.retries,
            max_fails=self.max_fails,
            fresh=self.fresh or self.timeout is not None or self.max_memory is not None,
            timeout=None if self.timeout is None else seconds(self.timeout),
            max_memory=None if self.max_memory is None else size_in_bytes(self.max_memory),
            log=self.log,
        )

    def threads(self, slot: Slot) -> int | None:
        """Thread cap of the process that takes a place."""
        if self.num_threads is not None:
            return self.num_threads
        if any(name in os.environ for name in THREADS):
            return None
        return len(slot.cores) if slot.cores else max(1, _cores() // max(1, len(self.slots())))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


class RulesFile:
    """The rules as a file says them now, options given in person before it.

    Parameters
    ----------
    path : str
        The file; it need not be there.
    given : mapping
        Fields of `Rules` that hold whatever the file says.
    say : callable
        Told when rules have changed, or cannot be read.

    Raises
    ------
    DesignError
        What is given, or what the file says now, makes no rules.
    """

    def __init__(self, path: str, given: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.path = path
        self._given = dict(given)
        self._say = say
        self._seen = self._look()
        self._rules = self._read()

    def now(self) -> Rules:
        """The rules that hold; those before if the file cannot be read."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._rules = self._read()
            except DesignError as error:
                self._say(f"{error} The rules before it hold on.")
            else:
                self._say(f"{self.path} was read again.")
        return self._rules

    def _look(self) -> tuple[int, int, int] | None:
        try:
            seen = os.stat(self.path)
        except FileNotFoundError:
            return None
        return seen.st_ino, seen.st_mtime_ns, seen.st_size

    def _read(self) -> Rules:
        told = {} if self._seen is None else _read_toml(self.path)
        known = {field.name for field in fields(Rules)}
        if unknown := sorted(told.keys() - known):
            raise DesignError(
                f"{self.path}: there is no rule {', '.join(unknown)}; there are "
                f"{', '.join(sorted(known))}."
            )
        try:
            return replace(Rules(), **{**told, **self._given})
        except (DesignError, TypeError) as error:
            raise DesignError(f"{self.path if told else 'auto-grow'}: {error}") from error


def _read_toml(path: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:
        raise DesignError(f"{path} cannot be read: {error}.") from error
