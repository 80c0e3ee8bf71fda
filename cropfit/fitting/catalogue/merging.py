"""The catalogue so far: rows of all objects, reading only what is new since the last merge.

    grown/ ──batches that no merge has seen──▶ rows ──append──▶ catalogue.jsonl in the crop
    failed/, growing/, sown/, ignored/ ──▶ the state of all others

Nothing is claimed, locked or moved: workers do not notice. What a merge knows is kept
beside the batches, so that the next one, in any process, need not read them again. Each
line of it has a checksum: one that two processes tore is a batch that is read again.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib

from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.disk.records import Records
from cropfit.fitting.catalogue.rows import (
    DONE,
    FAILED,
    FITTING,
    IGNORED,
    WAITING,
    Row,
    from_text,
)
from cropfit.work.results import read_batch, read_partial

KNOWN = "catalogue.jsonl"
ROW, DRAWS, OBJECT = "row", "draws", "object"  # outputs of the recipe, and its argument


def merge(manifest: Manifest, ledger: Ledger) -> list[Row]:
    """A row an object, in the order in which they were sown, each with its ``status``."""
    states, growing = states_of(manifest, ledger)
    known = _grown_rows(manifest, [b for b, state in states.items() if state == "grown"])
    rows: list[Row] = []
    for batch, state in states.items():
        if batch in known:
            rows += [{**row, "status": DONE} for row in known[batch].values()]
        else:
            folder = growing.get(batch) or manifest.layout.batch(state, batch)
            rows += rows_of(manifest, batch, state, folder)
    order = {key: place for place, key in enumerate(ids_of(manifest))}
    return sorted(rows, key=lambda row: order[row["id"]])


def ids_of(manifest: Manifest) -> list[str | int]:
    """All objects in the order in which they were sown."""
    return [label for sown in manifest.sowings for label in sown.grid.axes[OBJECT].labels.tolist()]


def backlog(manifest: Manifest, ledger: Ledger) -> int:
    """Finished batches that no merge has read."""
    return len(set(ledger.numbers("grown")) - _read_known(manifest).keys())


def states_of(manifest: Manifest, ledger: Ledger) -> tuple[dict[int, str], dict[int, str]]:
    """The state of every batch, and the folders of those that are claimed.

    One listing a state. A batch that a dead worker holds waits for another one.
    """
    states = dict.fromkeys(range(1, manifest.num_batches + 1), "sown")
    held = ledger.held()
    states |= {one.claim.batch: "growing" for one in held if not one.dead}
    for state in ("failed", "ignored", "grown"):
        states |= dict.fromkeys(ledger.numbers(state), state)
    folders = {one.claim.batch: one.claim.path for one in held}
    return states, {b: path for b, path in folders.items() if states[b] in ("sown", "growing")}


def _grown_rows(manifest: Manifest, grown: list[int]) -> dict[int, dict[int, Row]]:
    """Batch → offset → row of all grown batches that are whole; what is new is read, and noted."""
    known = _read_known(manifest)
    found = {batch: known[batch] for batch in grown if batch in known}
    new = {}
    for batch in grown:
        if batch not in found:
            records = read_batch(manifest, batch, manifest.layout.batch("grown", batch))
            if isinstance(records, Records):  # a torn one is for reap, or 'clean', to deal with
                new[batch] = rows_in(records)
    if new:
        _note(manifest, new)
    return found | new


def rows_in(records: Records) -> dict[int, Row]:
    """Offset → row of all cases that have a result."""
    rows: dict[int, Row] = {}
    for chunk in records.chunks:
        texts = chunk.columns[ROW].values()
        rows |= {k: from_text(text) for k, text in zip(chunk.offsets.tolist(), texts, strict=True)}
    return rows


def rows_of(manifest: Manifest, batch: int, state: str, folder: str) -> list[Row]:
    """Rows of a batch that is not grown, or torn: what is recorded, and the state of the rest."""
    sown, flat = manifest.cases_of(batch)
    labels = sown.grid.axes[OBJECT].labels[flat].tolist()
    records = read_partial(manifest, batch, folder)
    done = rows_in(records)
    errors = {e["offset"]: f"{e['type']}: {e['message']}" for e in records.errors if e["final"]}
    left = [offset for offset in range(len(labels)) if offset not in done]
    in_hand = next((k for k in left if k not in errors), left[0] if left else None)
    rows: list[Row] = []
    for offset, label in enumerate(labels):
        if offset in done:
            rows.append({**done[offset], "status": DONE})
        elif state == "growing" and offset == in_hand:
            rows.append({"id": label, "status": FITTING})
        elif offset in errors and state in ("failed", "growing"):
            rows.append({"id": label, "status": FAILED, "error": errors[offset].split("\n")[0]})
        else:
            rows.append({"id": label, "status": IGNORED if state == "ignored" else WAITING})
    return rows


# -- what former merges read -----------------------------------------------------------


def _read_known(manifest: Manifest) -> dict[int, dict[int, Row]]:
    """Rows of grown batches that were read before; a file that is torn or of another crop is none.

    Each line carries a checksum.
    """
    known: dict[int, dict[int, Row]] = {}
    try:
        with open(f"{manifest.layout.root}/{KNOWN}", encoding="utf-8") as file:
            for line in file:
                checksum, _, text = line.rstrip("\n").partition(" ")
                if checksum != _checksum(text):
                    continue
                crop, batch, rows = json.loads(text)
                if crop == manifest.data["id"]:
                    known[batch] = {int(offset): row for offset, row in rows.items()}
    except FileNotFoundError:
        pass
    return known


def _note(manifest: Manifest, new: dict[int, dict[int, Row]]) -> None:
    """Append the rows of batches; the first line begins anew, whatever a torn one left."""
    lines = []
    for batch, rows in new.items():
        text = json.dumps([manifest.data["id"], batch, rows], separators=(",", ":"))
        lines.append(f"\n{_checksum(text)} {text}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with contextlib.suppress(OSError):  # what is not noted, the next merge reads again
        descriptor = os.open(f"{manifest.layout.root}/{KNOWN}", flags, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            file.write("".join([*lines, "\n"]).encode())


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
