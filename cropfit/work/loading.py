"""What a worker needs of a crop before its first case: the function and what is known of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cropfit.disk.expect import Expected, expected_of
from cropfit.disk.functions import read_constants, read_work
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.work.results import footer_of

SAMPLE = 20  # grown batches to look into for how long a case takes

Call = Callable[..., Any]


def load_call(manifest: Manifest) -> Call:
    """The crop's function with its constants and resources bound."""
    work = read_work(manifest.layout.function, manifest.data["provenance"])
    given = {**work.constants, **work.resources}
    return functools.partial(work.function, **given) if given else work.function


def declared_dims(manifest: Manifest) -> Expected:
    """What the outputs' inner dimensions must be, by declaration and by constants."""
    outputs = manifest.outputs
    if not set(outputs.inner).isdisjoint(manifest.data["constants"]):
        outputs = outputs.with_constants(read_constants(manifest.layout.function))
    return expected_of(outputs)


def known_longest(manifest: Manifest, ledger: Ledger) -> float:
    """How long a case took at most, in a few of the batches that are grown."""
    grown = ledger.numbers("grown")
    some = grown[:: max(1, len(grown) // SAMPLE)]
    folders = (manifest.layout.batch("grown", batch) for batch in some)
    return max((float(f["longest"]) for f in map(footer_of, folders) if f), default=0.0)
