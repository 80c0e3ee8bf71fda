"""What a sowing consists of on disk: its arrays, its objects, and a folder a batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cropfit.batching import Batches, Sown
from cropfit.disk.layout import SHARD, STATES, Layout
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import ENDS, Arrays, sown_to_json
from cropfit.disk.objects import ObjectWriter
from cropfit.grid import Grid
from cropfit.work.request import Request, array_digest, hash_of

DIGESTS = "/digests"  # of the names of arrays that tell objects apart
TELL = 64  # folders from one telling of progress to the next

Progress = Callable[[int, int, str], None]


def write_objects(
    path: str, grid: Grid, arrays: Arrays, progress: Progress | None = None
) -> dict[str, list[str]]:
    """Write all objects of a sowing to one file; their places go into `arrays`.

    `progress` is told how many, of how many, and of what.

    Returns
    -------
    dict
        Fingerprints of the objects of each axis.
    """
    digests = {}
    writer = ObjectWriter(path)
    try:
        for name, axis in grid.axes.items():
            if axis.kind == "object":
                labels = axis.labels.tolist()
                values = _counted(axis.values or (), name, progress)
                arrays[name + ENDS], digests[name] = writer.add(name, labels, values)
                arrays[name + DIGESTS] = np.array(digests[name])
    finally:
        writer.close()
    return digests


def _counted(values: Sequence[Any], name: str, progress: Progress | None) -> Iterable[Any]:
    """The same values; each that is taken is told."""
    for number, value in enumerate(values):
        if progress is not None:
            progress(number, len(values), f"sow {name}")
        yield value


def entry(
    request: Request,
    sown: Sown,
    digests: Mapping[str, list[str]],
    identity: str,
    seed: int,
    arrays: Arrays,
) -> dict[str, Any]:
    """What ``crop.json`` says of a sowing."""
    wanted = replace(request, grid=sown.grid).fingerprint(digests)
    cut = dealt(sown.batches)
    return {
        "design": hash_of([wanted, identity, seed, cut, sown.first_case, sown.first_batch]),
        "wanted": wanted,
        "dealt": cut,
        "asked": {
            "batchsize": request.batchsize,
            "num_batches": request.num_batches,
            "shuffle": request.shuffle,
            "cost": request.cost is not None,
            "priority": request.priority is not None,
        },
        **sown_to_json(sown, arrays),
        "arrays": bool(arrays),
    }


def dealt(batches: Batches) -> str:
    """Fingerprint of which case is in which batch."""
    arrays = [a for a in (batches.order, batches.sizes) if a is not None]
    return hash_of([batches.num_batches, batches.batchsize, *map(array_digest, arrays)])


def make_states(layout: Layout) -> None:
    """Make the folders of the states."""
    for state in STATES:
        os.mkdir(layout.state(state), 0o700)


def make_batches(layout: Layout, batches: range, progress: Progress | None = None) -> None:
    """Make a folder for each batch, and where there are very many, for each shard."""
    if layout.sharded:
        for number in range(batches.start // SHARD, batches.stop // SHARD + 1):
            for state in ("sown", "grown"):
                os.makedirs(layout.shard(state, number * SHARD), 0o700, exist_ok=True)
    for batch in batches:
        os.mkdir(layout.batch("sown", batch), 0o700)
        if progress is not None and batch % TELL == 0:
            progress(batch - batches.start, len(batches), "sow")


def lost_batches(ledger: Ledger, batches: range) -> list[int]:
    """Batches that stand in no state. Looked for three times: they move while one looks.

    By listings alone: NFS may tell for half a minute that one name is not there.
    In a packed part of a crop nothing counts as lost: the rest stands at home.
    """
    lost = set() if os.path.exists(ledger.layout.parcel) else set(batches)
    for _ in range(3):
        for state in ("sown", "grown", "failed", "ignored"):
            lost -= set(ledger.numbers(state))
        lost -= {claim.batch for claim in ledger.claims()}
        if not lost:
            break
    return sorted(lost)
