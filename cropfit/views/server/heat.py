"""The parameter space as it fills: one number over two parameters, read batch by batch once."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.disk.records import Records
from cropfit.errors import NotFoundError
from cropfit.work.results import read_partial
from cropfit.work.target import join_labels

SECONDS, FAILED = "seconds", "failed"  # what can be shown beside the function's outputs
MOST_CELLS = 200  # along an axis; more labels share cells
PATIENCE = 0.3  # seconds of reading at one look


class HeatMap:
    """The mean of one quantity over all cases that share two parameters.

    Parameters
    ----------
    manifest : Manifest
        The crop.
    x, y : str
        Parameters; `y` may be "" where there is only one.
    what : str
        "seconds", "failed" (the share of cases that failed), or a numeric output.

    Raises
    ------
    NotFoundError
        There is no such parameter.
    """

    def __init__(self, manifest: Manifest, x: str, y: str, what: str) -> None:
        self.what = what
        self._axes = [_Cells(manifest, name) for name in (y, x)]
        shape = tuple(len(axis.labels) for axis in self._axes)
        self._sum = np.zeros(shape)
        self._count = np.zeros(shape, np.int64)
        self._read: dict[str, set[int]] = {"grown": set(), "failed": set()}

    def update(self, manifest: Manifest, ledger: Ledger) -> bool:
        """Take in batches that ended since the last look; whether all are in by now."""
        end = time.monotonic() + PATIENCE
        for state, read in self._read.items():
            for batch in ledger.numbers(state):
                if batch in read:
                    continue
                if time.monotonic() > end:
                    return False
                again = batch in self._read["failed"]  # a retry that succeeded
                self._add(manifest, batch, manifest.layout.batch(state, batch), again)
                read.add(batch)
        return True

    def to_dict(self) -> dict[str, Any]:
        """Labels and means; None where nothing is known."""
        with np.errstate(invalid="ignore"):
            mean = self._sum / self._count
        known = np.isfinite(mean)
        return {
            "y": self._axes[0].labels,
            "x": self._axes[1].labels,
            "values": [
                [_rounded(v) if k else None for v, k in zip(row, there, strict=True)]
                for row, there in zip(mean, known, strict=True)
            ],
            "low": _rounded(mean[known].min()) if known.any() else None,
            "high": _rounded(mean[known].max()) if known.any() else None,
        }

    def _add(self, manifest: Manifest, batch: int, folder: str, again: bool) -> None:
        records = read_partial(manifest, batch, folder)
        offsets, values = self._values(records)
        if again and self.what != FAILED:
            return  # those of its cases that succeeded at first are in; the rest is little
        sown, flat = manifest.cases_of(batch)
        number = manifest.sowing_of(batch)
        positions = sown.grid.positions(flat[offsets])
        cells = tuple(axis.cells(number, positions) for axis in self._axes)
        np.add.at(self._sum, cells, values)
        np.add.at(self._count, cells, 1)

    def _values(self, records: Records) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Offsets of cases, and the quantity of each."""
        offsets, values = [np.empty(0, np.intp)], [np.empty(0)]
        for chunk in records.chunks:
            if self.what == SECONDS:
                found = chunk.seconds
            elif self.what == FAILED:
                found = np.zeros(len(chunk))
            else:
                column = chunk.columns.get(self.what)
                if column is None or column.kind != "array" or column.data.ndim != 1:
                    continue
                if column.data.dtype.kind not in "biuf":
                    continue
                found = column.data.astype(float)
            finite = np.isfinite(found)
            offsets.append(chunk.offsets[finite].astype(np.intp))
            values.append(np.asarray(found, float)[finite])
        if self.what == FAILED:
            failed = [error["offset"] for error in records.errors if error["final"]]
            offsets.append(np.array(failed, np.intp))
            values.append(np.ones(len(failed)))
        return np.concatenate(offsets), np.concatenate(values)


class _Cells:
    """One axis of the picture: labels of all sowings, at most `MOST_CELLS` of them apart."""

    def __init__(self, manifest: Manifest, name: str) -> None:
        self._name = name
        if not name:
            self.labels, self._places = [""], []
            return
        axes = [sown.grid.axes.get(name) for sown in manifest.sowings]
        there = [axis for axis in axes if axis is not None]
        if len(there) < len(axes):
            raise NotFoundError(f"{manifest.layout.root} has no parameter {name!r}.")
        labels, places = join_labels([axis.labels for axis in there])
        share = -(-len(labels) // MOST_CELLS)
        self._places = [np.asarray(place) // share for place in places]
        self.labels = [_text(label) for label in labels[::share]]

    def cells(self, sowing: int, positions: dict[str, NDArray[np.intp]]) -> NDArray[np.intp]:
        """The cell of each case."""
        if not self._name:
            return np.zeros(len(next(iter(positions.values()))), np.intp)
        found: NDArray[np.intp] = self._places[sowing][positions[self._name]]
        return found


def _text(label: Any) -> str:
    """A label for people: no more digits than needed."""
    return f"{label:g}" if isinstance(label, (float, np.floating)) else str(label)


def _rounded(value: float) -> float:
    """Few enough digits for a page."""
    return float(f"{value:.6g}")
