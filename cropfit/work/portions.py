"""What each of several processes is told to grow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cropfit.disk.layout import STOP
from cropfit.disk.ledger import Ledger

PORTIONS = 4  # in which named batches are dealt to each worker, so that none idles for long
MOST = 5000  # batches in one portion: a command line has a limit


@dataclass(frozen=True)
class Order:
    """What a worker process is told to do, as JSON on its command line.

    Parameters
    ----------
    root : str
        The crop's folder.
    batches : list of int, optional
        Which batches; whatever is left if None.
    policy : dict
        Fields of a `Policy`.
    deadline : float, optional
        Seconds since the epoch.
    steal, wait, tell_cases : bool
        As of `Worker.grow_these`, `Worker.grow_left`; whether to tell each case.
    log : bool
        Write what the function prints into ``log.txt`` of each batch.
    turn : float, optional
        Seconds after which no other batch is begun.
    max_batches : int, optional
        How many batches to grow at most, all processes together.
    stop_sign : str
        As of `Worker`.
    """

    root: str
    batches: list[int] | None
    policy: dict[str, Any]
    deadline: float | None = None
    steal: bool = False
    wait: bool = False
    tell_cases: bool = False
    log: bool = False
    turn: float | None = None
    max_batches: int | None = None
    stop_sign: str = STOP


@dataclass(frozen=True)
class Portion:
    """A part of an order, for one process.

    Parameters
    ----------
    batches : tuple of int, optional
        Which batches; whatever is left if None.
    max_batches : int, optional
        How many of those at most.
    free : bool
        Whether nobody named them, so that others may have them by now.
    """

    batches: tuple[int, ...] | None = None
    max_batches: int | None = None
    free: bool = False

    def of(self, order: Order) -> Order:
        """What the process is told."""
        batches = None if self.batches is None else list(self.batches)
        return replace(order, batches=batches, max_batches=self.max_batches)

    def is_taken(self, ledger: Ledger) -> bool:
        """Whether a process would start in vain, as all is in the hands of others."""
        return self.free and all(ledger.where(batch) != "sown" for batch in self.batches or ())

    def without(self, ended: set[int]) -> Portion | None:
        """What is left to do of it when some batches have ended."""
        if self.batches is not None:
            rest = tuple(batch for batch in self.batches if batch not in ended)
            return replace(self, batches=rest, free=False) if rest else None
        if self.max_batches is None:
            return self
        most = self.max_batches - len(ended)
        return replace(self, max_batches=most) if most > 0 else None


def deal(order: Order, num_workers: int, fresh: bool, ledger: Ledger) -> list[Portion]:
    """Portions of an order, the first one last.

    Parameters
    ----------
    order : Order
        What is to be grown.
    num_workers : int
        Processes at a time.
    fresh : bool
        Whether every batch is to have a process of its own.
    ledger : Ledger
        What is left.
    """
    if order.batches is None and not fresh:
        return _shares(order.max_batches, num_workers)
    dead = [held.claim.batch for held in ledger.held() if held.dead]
    left = sorted({*ledger.numbers("sown"), *dead}) if order.batches is None else order.batches
    named = list(dict.fromkeys(left))[: order.max_batches]
    size = 1 if fresh else min(MOST, -(-len(named) // (PORTIONS * num_workers)))
    parts = [tuple(named[at : at + size]) for at in reversed(range(0, len(named), size or 1))]
    return [Portion(part, free=order.batches is None and part[0] not in dead) for part in parts]


def _shares(max_batches: int | None, num_workers: int) -> list[Portion]:
    """Whatever is left, for each worker; together no more than is allowed."""
    if max_batches is None:
        return [Portion()] * num_workers
    whole, more = divmod(max_batches, num_workers)
    shares = [whole + (k < more) for k in range(num_workers)]
    return [Portion(max_batches=share) for share in reversed(shares) if share]
