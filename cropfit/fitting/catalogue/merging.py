"""The catalogue so far: rows of all objects, reading only what is new since the last merge.

    grown/ ──batches that no merge has seen──▶ rows ──▶ catalogue.jsonl in the crop's folder
    failed/, growing/, sown/, ignored/ ──▶ the state of all others

Nothing is claimed, locked or moved: workers do not notice. What a merge knows is kept
beside the batches, so that the next one, in any process, need not read them again.
"""

from __future__ import annotations

import json
import zlib

from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.disk.publish import write_whole
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
_STATES = {"sown": WAITING, "ignored": IGNORED, "failed": FAILED}


def merge(manifest: Manifest, ledger: Ledger) -> list[Row]:
    """A row an object, in the order in which they were sown, each with its ``status``."""
    states = _states(manifest, ledger)
    known = _grown_rows(manifest, ledger, [b for b, state in states.items() if state == "grown"])
    rows: list[Row] = []
    for batch, state in states.items():
        if state == "grown":
            rows += [{**row, "status": DONE} for row in known.get(batch, {}).values()]
        else:
            rows += _rows_of(manifest, ledger, batch, state)
    order = {key: place for place, key in enumerate(ids_of(manifest))}
    return sorted(rows, key=lambda row: order[row["id"]])


def ids_of(manifest: Manifest) -> list[str | int]:
    """All objects in the order in which they were sown."""
    return [label for sown in manifest.sowings for label in sown.grid.axes[OBJECT].labels.tolist()]


def backlog(manifest: Manifest, ledger: Ledger) -> int:
    """Finished batches that no merge has read."""
    return len(set(ledger.numbers("grown")) - _read_known(manifest).keys())


def _states(manifest: Manifest, ledger: Ledger) -> dict[int, str]:
    """The state of every batch; one listing a state."""
    states = dict.fromkeys(range(1, manifest.num_batches + 1), "sown")
    states |= {claim.batch: "growing" for claim in ledger.claims()}
    for state in ("failed", "ignored", "grown"):
        states |= dict.fromkeys(ledger.numbers(state), state)
    return states


def _grown_rows(manifest: Manifest, ledger: Ledger, grown: list[int]) -> dict[int, dict[int, Row]]:
    """Batch → offset → row of all grown batches; what is new is read, and noted."""
    known = _read_known(manifest)
    found = {batch: known[batch] for batch in grown if batch in known}
    new = [batch for batch in grown if batch not in found]
    for batch in new:
        records = read_batch(manifest, batch, manifest.layout.batch("grown", batch))
        if isinstance(records, Records):  # a torn one is for reap, or 'clean', to deal with
            found[batch] = rows_in(records)
    if new:
        _write_known(manifest, ledger, found)
    return found


def rows_in(records: Records) -> dict[int, Row]:
    """Offset → row of all cases that have a result."""
    rows: dict[int, Row] = {}
    for chunk in records.chunks:
        texts = chunk.columns[ROW].values()
        rows |= {k: from_text(text) for k, text in zip(chunk.offsets.tolist(), texts, strict=True)}
    return rows


def _rows_of(manifest: Manifest, ledger: Ledger, batch: int, state: str) -> list[Row]:
    """Rows of a batch that is not grown: what is recorded of it, and the state of the rest."""
    sown, flat = manifest.cases_of(batch)
    labels = sown.grid.axes[OBJECT].labels[flat].tolist()
    records = Records()
    if state == "failed":
        records = read_partial(manifest, batch, manifest.layout.batch("failed", batch))
    elif state == "growing":
        for claim in ledger.claims():
            if claim.batch == batch:
                records = read_partial(manifest, batch, claim.path)
    done = rows_in(records)
    errors = {e["offset"]: f"{e['type']}: {e['message']}" for e in records.errors if e["final"]}
    first = next((k for k in range(len(labels)) if k not in done and k not in errors), None)
    rows: list[Row] = []
    for offset, label in enumerate(labels):
        if offset in done:
            rows.append({**done[offset], "status": DONE})
        elif offset in errors:
            rows.append({"id": label, "status": FAILED, "error": errors[offset].split("\n")[0]})
        elif state == "growing":
            rows.append({"id": label, "status": FITTING if offset == first else WAITING})
        else:
            rows.append({"id": label, "status": _STATES[state]})
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


def _write_known(manifest: Manifest, ledger: Ledger, known: dict[int, dict[int, Row]]) -> None:
    lines = []
    for batch, rows in known.items():
        text = json.dumps([manifest.data["id"], batch, rows], separators=(",", ":"))
        lines.append(f"{_checksum(text)} {text}\n")
    path = f"{manifest.layout.root}/{KNOWN}"
    write_whole(path, "".join(lines).encode(), str(ledger.owner))


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
