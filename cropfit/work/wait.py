"""Waiting for others to grow a crop, for as long as that can end."""

from __future__ import annotations

import time
from collections.abc import Callable

from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.errors import NotReadyError

LONGEST_PAUSE = 5.0  # seconds between two listings while waiting


def wait_until_grown(
    manifest: Manifest,
    ledger: Ledger,
    progress: Callable[[int, int], None],
    *,
    allow_incomplete: bool = False,
) -> None:
    """Return when every batch is grown, or with `allow_incomplete` when the rest cannot be.

    Raises
    ------
    NotReadyError
        All that is left has failed, so waiting would never end.
    """
    pause = 0.05
    while True:
        counts = ledger.counts()
        done = counts["grown"] + counts["ignored"]
        progress(done, manifest.num_batches)
        if done >= manifest.num_batches:
            return
        if not counts["sown"] and not counts["growing"] and counts["failed"]:
            if allow_incomplete:
                return
            raise NotReadyError(
                f"{manifest.layout.root}: {counts['failed']} batches have failed and nothing else "
                f"is left to wait for. See 'cropfit errors {manifest.name}', then retry or ignore "
                "them, or reap with allow_incomplete=True."
            )
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.5)
