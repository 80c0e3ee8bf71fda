"""The parameter space as it fills: one number over two parameters, read batch by batch once."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.disk.records import Records
from cropfit.errors import NotFoundError
from cropfit.work.results import read_partial
from cropfit.work.target import join_labels

SECONDS, FAILED = "seconds", "failed"  # what can be shown beside the function's outputs
MOST_CELLS = {"x": 200, "y": 100}  # along an axis; more labels share cells
PATIENCE = 0.3  # seconds of reading at one look
STRIDE = 0.6180339887  # of a turn: batches are read in an order that is spread over all of them


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
        self.version = 0
        self._axes = [_Cells(manifest, y, MOST_CELLS["y"]), _Cells(manifest, x, MOST_CELLS["x"])]
        shape = tuple(len(axis.labels) for axis in self._axes)
        self._sum = np.zeros(shape)
        self._count = np.zeros(shape, np.int64)
        self._read = np.zeros(0, bool)
        self._failed: dict[int, _Cases] = {}  # what failed batches gave, until they are retried

    def update(self, manifest: Manifest, ledger: Ledger) -> dict[str, int]:
        """Take in batches that ended since the last look.

        Where more ended than can be read at one look, those that are spread over all come
        first, so that the picture is soon right in outline.

        Returns
        -------
        dict of int
            How many ``ended``, and are ``read`` by now.
        """
        new_batches = manifest.num_batches + 1 - len(self._read)
        self._read = np.pad(self._read, (0, max(0, new_batches)))
        failed = self._inside(ledger.numbers("failed"))
        ended = np.concatenate([self._inside(ledger.numbers("grown")), failed])
        again = self._failed.keys() - set(failed.tolist())
        self._take(manifest, [self._failed.pop(batch) for batch in again], -1)
        self._read[list(again)] = False
        new = ended[~self._read[ended]]
        self._take(manifest, self._read_some(manifest, new, set(failed.tolist())), 1)
        return {"ended": len(ended), "read": int(self._read[ended].sum())}

    def _inside(self, numbers: list[int]) -> NDArray[np.intp]:
        found = np.array(numbers, np.intp)
        return found[(found > 0) & (found < len(self._read))]

    def _read_some(
        self, manifest: Manifest, new: NDArray[np.intp], failed: set[int]
    ) -> list[_Cases]:
        """Read as many batches as there is time for."""
        end = time.monotonic() + PATIENCE
        found = []
        for batch in new[np.argsort(new * STRIDE % 1.0)].tolist():
            if time.monotonic() > end:
                break
            self._read[batch] = True
            state = "failed" if batch in failed else "grown"
            records = read_partial(manifest, batch, manifest.layout.batch(state, batch))
            offsets, values = self._values(records)
            _, flat = manifest.cases_of(batch)
            found.append(_Cases(manifest.sowing_of(batch), flat[offsets], values))
            if state == "failed":
                self._failed[batch] = found[-1]
        return found

    def _take(self, manifest: Manifest, found: list[_Cases], sign: int) -> None:
        """Add cases to the picture, or take them out of it."""
        if found:
            self.version += 1
        for number in {cases.sowing for cases in found}:
            mine = [cases for cases in found if cases.sowing == number]
            flat = np.concatenate([cases.flat for cases in mine])
            positions = manifest.sowings[number].grid.positions(flat)
            cells = tuple(axis.cells(number, positions) for axis in self._axes)
            np.add.at(self._sum, cells, sign * np.concatenate([cases.values for cases in mine]))
            np.add.at(self._count, cells, sign)

    def to_dict(self) -> dict[str, Any]:
        """Labels and means; None where nothing is known.

        Bounded: as many cells as a page shows, each with few digits.
        """
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
            "version": self.version,
            "low": _rounded(mean[known].min()) if known.any() else None,
            "high": _rounded(mean[known].max()) if known.any() else None,
        }

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


class _Cases(NamedTuple):
    """What one batch gave: flat indices of cases in the grid of a sowing, and their values."""

    sowing: int
    flat: NDArray[np.intp]
    values: NDArray[np.float64]


class _Cells:
    """One axis of the picture: labels of all sowings, at most `most` of them apart."""

    def __init__(self, manifest: Manifest, name: str, most: int) -> None:
        self._name = name
        if not name:
            self.labels, self._places = [""], []
            return
        axes = [sown.grid.axes.get(name) for sown in manifest.sowings]
        there = [axis for axis in axes if axis is not None]
        if len(there) < len(axes):
            raise NotFoundError(f"{manifest.layout.root} has no parameter {name!r}.")
        labels, places = join_labels([axis.labels for axis in there])
        share = -(-len(labels) // most)
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
