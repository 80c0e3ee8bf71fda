"""Reading what workers left of one batch, and trusting none of it unchecked."""

from __future__ import annotations

import os
from typing import Any

from cropfit.disk.layout import RESULTS
from cropfit.disk.manifest import Manifest
from cropfit.disk.records import Records, read_records, read_summary


def record_files(folder: str) -> list[str]:
    """Paths of the record files in a batch's folder; usually one."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [f"{folder}/{name}" for name in names if name.startswith(RESULTS)]


def footer_of(folder: str) -> dict[str, Any] | None:
    """What the end of a batch's whole file tells; None if there is none."""
    for path in record_files(folder):
        try:
            _, footer = read_summary(path)
        except OSError:
            continue
        if footer:
            return footer
    return None


def read_batch(manifest: Manifest, batch: int, folder: str) -> Records | str:
    """The whole record file of a grown or failed batch, or what is wrong with it.

    More than one file may stand there: a worker that was taken over may still
    write its own, and that of a former try may not have been removed. Only a whole
    one of this crop and design counts, and of several the one with most results.
    """
    whole: list[Records] = []
    why = f"{folder} has no results"
    for path in record_files(folder):
        try:
            records = read_records(path)
        except OSError as error:
            why = f"{path}: {error}"
            continue
        wrong = _mismatch(manifest, batch, records)
        if wrong is None:
            whole.append(records)
        why = f"{path}: {wrong}"
    return max(whole, key=_num_results) if whole else why


def _num_results(records: Records) -> int:
    return sum(map(len, records.chunks))


def _mismatch(manifest: Manifest, batch: int, records: Records) -> str | None:
    if records.damage:
        return records.damage
    if records.header.get("design") != manifest.design(batch):
        return "it belongs to another design"
    if records.header.get("batch") != batch:
        return f"it belongs to batch {records.header.get('batch')}"
    if not records.sealed:
        return "it is not finished"
    return None


def find_damage(manifest: Manifest, batch: int) -> str | None:
    """What is wrong with a grown batch; None if every case has a whole result."""
    records = read_batch(manifest, batch, manifest.layout.batch("grown", batch))
    if isinstance(records, str):
        return records
    found = {offset for chunk in records.chunks for offset in chunk.offsets.tolist()}
    missing = manifest.size_of(batch) - len(found)
    return f"{missing} of its cases have no result" if missing else None


def read_partial(manifest: Manifest, batch: int, folder: str) -> Records:
    """What is recorded of a batch that is not grown, frame by frame."""
    best = Records()
    for path in record_files(folder):
        try:
            records = read_records(path)
        except OSError:
            continue  # it moved on
        header = records.header
        if (header.get("design"), header.get("batch")) == (manifest.design(batch), batch):
            best = max(best, records, key=lambda r: (_num_results(r), len(r.errors)))
    return best
