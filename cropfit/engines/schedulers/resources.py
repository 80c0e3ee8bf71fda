"""What a task may use, in whatever form the user gives it, and exactly in each scheduler's own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from cropfit.errors import DesignError
from cropfit.work.limits import Duration
from cropfit.work.limits import seconds as read_seconds

Memory = int | str

SHORTEST = 10  # seconds of walltime; less is a number of hours that was meant otherwise
SMALLEST = 2**20  # bytes of memory; less is a number of gigabytes that was meant otherwise
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_memory(memory: Memory) -> int:
    """Memory in bytes: a number of them, or ``"2G"``, ``"2000M"``; units are powers of 1024.

    Raises
    ------
    DesignError
        It is none of these, or less than 1 MiB.

    Examples
    --------
    >>> read_memory("2G"), read_memory("1.5 GiB"), read_memory(4 * 1024**3)
    (2147483648, 1610612736, 4294967296)
    """
    if isinstance(memory, str):
        found = _SIZE.fullmatch(memory.strip())
        if not found:
            raise DesignError(f"{memory!r} is no size of memory: give such as '2G' or '500M'.")
        size = math.ceil(float(found[1]) * (1 << 10 * " KMGT".index(found[2].upper() or " ")))
    elif isinstance(memory, bool) or not isinstance(memory, int):
        raise DesignError(f"{memory!r} is no size of memory: give such as '2G' or '500M'.")
    else:
        size = memory
    if size < SMALLEST:
        raise DesignError(f"mem={memory!r} means {size} bytes; give a unit, such as '2G'.")
    return size


def one_line(name: str, value: object) -> str:
    """`value` as text that stays on its line of a script's header.

    Raises
    ------
    DesignError
        It holds a line break or another control character.
    """
    text = str(value)
    if _CONTROL.search(text):
        raise DesignError(f"{name}={text!r} holds a control character; it must fit into a line.")
    return text


@dataclass(frozen=True)
class Resources:
    """What one task may use.

    Parameters
    ----------
    time : duration, optional
        Walltime: seconds, ``"1:30:00"``, ``"1-12:00:00"`` or a timedelta.
    mem : int or str, optional
        Memory of the task on each of its nodes: bytes, or such as ``"2G"``.
    cpus : int
        Cores on each node.
    gpus : int
        GPUs on each node.
    nodes : int
        Nodes; more than one are for a `launcher` such as ``mpiexec``.
    queue, account : str, optional
        Queue or partition, and who pays.
    extra : mapping
        Further options of the scheduler, written as they are: name without dashes →
        value, a list of values, or True for an option that takes none.
    """

    time: Duration | None = None
    mem: Memory | None = None
    cpus: int = 1
    gpus: int = 0
    nodes: int = 1
    queue: str | None = None
    account: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("cpus", 1), ("gpus", 0), ("nodes", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise DesignError(f"{name} must be an int of at least {least}, not {value!r}.")
        if self.seconds is not None and self.seconds < SHORTEST:
            raise DesignError(
                f"time={self.time!r} means {self.seconds:g} seconds, which no job can use; "
                "write hours as '1:00:00'."
            )
        _ = self.bytes
        for name in ("queue", "account"):
            value = getattr(self, name)
            if value is not None and (not value or value != "".join(value.split())):
                raise DesignError(f"{name}={value!r} cannot name one: it is empty or has spaces.")
        for name, value in self.extra.items():
            one_line("extra", name)
            one_line(f"extra[{name!r}]", value)

    @property
    def seconds(self) -> int | None:
        """Walltime in whole seconds, rounded up."""
        return None if self.time is None else math.ceil(read_seconds(self.time))

    @property
    def bytes(self) -> int | None:
        """Memory on each node in bytes."""
        return None if self.mem is None else read_memory(self.mem)

    @property
    def options(self) -> list[tuple[str, Any]]:
        """The further options, one value each."""
        pairs = []
        for name, value in self.extra.items():
            many = value if isinstance(value, list | tuple) else [value]
            pairs += [(name.lstrip("-"), None if each is True else each) for each in many]
        return pairs

    def altered(self, changes: Resources | Mapping[str, Any]) -> Resources:
        """These with `changes`; a whole `Resources` stands for itself.

        Raises
        ------
        DesignError
            There is no such resource.
        """
        if isinstance(changes, Resources):
            return changes
        known = [each.name for each in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise DesignError(f"resources are {', '.join(known)}; not {', '.join(unknown)}.")
        return replace(self, **changes)
