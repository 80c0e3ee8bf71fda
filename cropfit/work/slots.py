"""Places of workers on this machine: which GPU each may see, and which cores it may use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from cropfit.errors import DesignError

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

Gpus = str | Sequence[int | str]
Affinities = str | Sequence[int | Iterable[int]]


@dataclass(frozen=True)
class Slot:
    """What one worker at a time has for itself.

    Parameters
    ----------
    gpu : str, optional
        The device that it sees, as ``CUDA_VISIBLE_DEVICES`` names it.
    cores : tuple of int, optional
        The cores that it may use.
    """

    gpu: str | None = None
    cores: tuple[int, ...] | None = None

    def environment(self) -> Mapping[str, str]:
        """Variables for the process that takes this slot."""
        return {} if self.gpu is None else dict.fromkeys(GPU_VARIABLES, self.gpu)


def make_slots(
    num_workers: int | None, gpus: Gpus | None = None, affinities: Affinities | None = None
) -> list[Slot]:
    """A slot for each worker, in the order in which GPUs and cores are named.

    Parameters
    ----------
    num_workers : int, optional
        How many workers; by default as many as there are GPUs or sets of cores.
    gpus : str or sequence, optional
        A device for each worker: ``"0,0,1,1"`` lets two share each of two.
    affinities : str or sequence, optional
        Cores for each worker: ``"0-3,4-7"``, or a number or numbers each.

    Raises
    ------
    DesignError
        There are fewer places than workers, or a core that this process may not use.
    """
    devices = gpus.split(",") if isinstance(gpus, str) else [str(gpu) for gpu in gpus or ()]
    cores = _read_cores(affinities)
    number = num_workers or min((len(named) for named in (devices, cores) if named), default=1)
    for name, places in (("gpus", devices), ("affinities", cores)):
        if places and len(places) < number:
            raise DesignError(
                f"{name}= names {len(places)} places for {number} workers. Name one for each, "
                "the same several times where workers are to share it."
            )
    return [
        Slot(devices[k].strip() if devices else None, cores[k] if cores else None)
        for k in range(number)
    ]


def _read_cores(affinities: Affinities | None) -> list[tuple[int, ...]]:
    if affinities is None:
        return []
    try:
        if isinstance(affinities, str):
            read = [_read_range(part) for part in affinities.split(",")]
        else:
            read = [(each,) if isinstance(each, int) else tuple(each) for each in affinities]
        wanted = {int(core) for core in chain.from_iterable(read)}
    except (TypeError, ValueError):
        raise DesignError(
            f"affinities={affinities!r} are no cores: give '0-3,4-7', or [[0, 1], [2, 3]]."
        ) from None
    if missing := sorted(wanted - os.sched_getaffinity(0)) or not all(read):
        there = sorted(os.sched_getaffinity(0))
        raise DesignError(f"affinities= names cores {missing}, but there are {there}.")
    return read


def _read_range(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    return tuple(range(int(first), int(last or first) + 1))
