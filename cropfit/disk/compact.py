"""Many small frames become few, so that reaping costs by the value and not by the case."""

from __future__ import annotations

from typing import Any

from cropfit.disk import frames
from cropfit.disk.codec import decode_results, encode_results
from cropfit.disk.frames import Part

Merged = list[tuple[int, list[Part]]]


def merge_frames(data: bytes, names: tuple[str, ...] | None) -> Merged | None:
    """Encode all results of a record file anew, as one run.

    Parameters
    ----------
    data : bytes
        The file.
    names : tuple of str or None
        Declared outputs.

    Returns
    -------
    list of (kind, payload) or None
        Errors first, in their order, then the results; None where values would
        have to be unpickled, or are Datasets, and so stay as they are.
    """
    found: dict[int, tuple[float, Any]] = {}
    others: Merged = []
    for kind, payload in frames.iter_frames(data):
        if kind == frames.ERROR:
            others.append((kind, [payload]))
        if kind != frames.RESULTS:
            continue
        chunk = decode_results(payload)
        plain = set(chunk.columns) == set(names or ("",))
        if not plain or any(column.kind == "pickle" for column in chunk.columns.values()):
            return None
        columns = [chunk.columns[name].values() for name in names or ("",)]
        results = columns[0] if len(columns) == 1 else zip(*columns, strict=True)
        rows = zip(chunk.offsets.tolist(), chunk.seconds.tolist(), results, strict=True)
        found.update((offset, (seconds, result)) for offset, seconds, result in rows)
    offsets = sorted(found)
    payloads, refused = encode_results(
        offsets, [found[k][0] for k in offsets], [found[k][1] for k in offsets], names
    )
    if refused:
        return None
    return others + [(frames.RESULTS, payload) for payload in payloads]
