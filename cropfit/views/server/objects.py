"""A catalogue's table as the page sees it: a page of it, sorted here, and objects' pictures.

    batches that moved since the last look ──read once──▶ rows ──sort, cut──▶ 50 of them

Nothing is written, no pickle is read: a picture is a file that the workers have drawn.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import Any

from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.errors import NotFoundError
from cropfit.fitting.catalogue.merging import ids_of, rows_of, states_of
from cropfit.fitting.catalogue.recipe import picture_name
from cropfit.fitting.catalogue.rows import LEVELS, NUMBERS, Row
from cropfit.views.listings import Listings

KINDS = ("fit", "corner")  # of pictures
ROWS = 50  # a page
MOST_COLUMNS = 60
LONGEST = 200  # characters of a cell
PATIENCE = 0.3  # seconds of reading at one look
SHOWN = [LEVELS[level] for level in ("50", "16", "84")]

Cells = dict[str, Any]  # by column: a number, a text, or a parameter's median and percentiles


@dataclass(frozen=True)
class Query:
    """Which rows, in which order.

    Parameters
    ----------
    number : int
        The page, from 0.
    sort : str
        A column; "" for the order of sowing.
    down : bool
        Largest first.
    find : str
        What ids, states or errors must contain, in any case.
    """

    number: int = 0
    sort: str = ""
    down: bool = False
    find: str = ""


class Objects:
    """The table of one catalogue, as far as it was read.

    Parameters
    ----------
    manifest : Manifest
        Of its crop.
    """

    def __init__(self, manifest: Manifest) -> None:
        root = manifest.layout.root
        self.version = 0
        self._folder = os.path.join(os.path.dirname(root), f"{manifest.name}-plots")
        self._listings: Listings[frozenset[str]] = Listings()
        self._pictures: frozenset[str] = frozenset()
        self._states: dict[int, str] = {}
        self._rows: dict[int, list[Cells]] = {}
        self._units: dict[str, str] = {}
        self._places: dict[str | int, int] = {}

    def update(self, manifest: Manifest, ledger: Ledger) -> None:
        """Read batches that moved since the last look, as many as there is time for."""
        pictures = self._listings.of(self._folder, lambda: _names_in(self._folder))
        ids = ids_of(manifest)
        if pictures != self._pictures or len(ids) != len(self._places):
            self.version += 1
        self._pictures = pictures
        self._places = {key: place for place, key in enumerate(ids)}
        states, folders = states_of(manifest, ledger)
        end = time.monotonic() + PATIENCE
        for batch, state in states.items():
            # Within a batch of many, objects end before it moves.
            if self._states.get(batch) == state and (
                state != "growing" or manifest.size_of(batch) == 1
            ):
                continue
            if time.monotonic() > end:
                return
            folder = folders.get(batch) or manifest.layout.batch(state, batch)
            rows = [self._cells(row) for row in rows_of(manifest, batch, state, folder)]
            self.version += rows != self._rows.get(batch)
            self._rows[batch], self._states[batch] = rows, state

    def page(self, query: Query) -> dict[str, Any]:
        """Columns, and the rows of one page."""
        rows = [row for rows in self._rows.values() for row in rows]
        read = len(rows)
        if query.find:
            rows = [row for row in rows if _matches(row, query.find.casefold())]
        rows = self._sorted(rows, query)
        names = _columns(self._rows)
        pages = max(1, -(-len(rows) // ROWS))
        first = min(max(query.number, 0), pages - 1) * ROWS
        shown = names[:MOST_COLUMNS]
        return {
            "columns": [{"name": name, "unit": self._units.get(name, "")} for name in shown],
            "hidden": len(names) - len(shown),
            "rows": [self._told(row, shown) for row in rows[first : first + ROWS]],
            "pages": pages,
            "page": first // ROWS,
            "found": len(rows),
            "read": read,
            "objects": len(self._places),
        }

    def picture(self, key: str, kind: str) -> bytes:
        """A picture of the object that is called `key`.

        Raises
        ------
        NotFoundError
            There is no such object, or no such picture of it.
        """
        if kind in KINDS and any(str(known) == key for known in self._places):
            path = os.path.join(self._folder, picture_name(key, kind))
            content = _read_plain(path)
            if content is not None:
                return content
        raise NotFoundError(f"There is no picture {kind!r} of {key!r}.")

    def _cells(self, row: Row) -> Cells:
        cells: Cells = {"id": row["id"], "status": row["status"], **row.get("fixed", {})}
        for name, each in row.get("parameters", {}).items():
            cells[name] = [each[level] for level in SHOWN]
            self._units[name] = each.get("unit") or ""
        cells |= row.get("analysis", {})
        cells |= {name: row[key] for name, key in NUMBERS.items() if key in row}
        notes = "; ".join(row.get("notes", []))
        return {**cells, "error": row.get("error", ""), "notes": notes}

    def _sorted(self, rows: list[Cells], query: Query) -> list[Cells]:
        if not query.sort:
            return sorted(rows, key=lambda row: self._places[row["id"]], reverse=query.down)
        ranks = [_rank(row.get(query.sort)) for row in rows]
        there = [place for place, rank in enumerate(ranks) if rank]
        there.sort(key=lambda place: ranks[place] or (), reverse=query.down)
        away = [place for place, rank in enumerate(ranks) if not rank]
        return [rows[place] for place in there + away]

    def _told(self, row: Cells, names: list[str]) -> Cells:
        kinds = [kind for kind in KINDS if picture_name(row["id"], kind) in self._pictures]
        return {
            "id": str(row["id"]),
            "pictures": kinds,
            "cells": [_short(row.get(name)) for name in names],
        }


def _columns(rows: dict[int, list[Cells]]) -> list[str]:
    """Names of all columns in the order of the table; those of texts only where there are any."""
    names = dict.fromkeys(name for each in rows.values() for row in each for name in row)
    ends = [*NUMBERS, "error", "notes"]
    texts = [name for name in ("error", "notes") if _any(rows, name)]
    middle = [name for name in names if name not in ("id", "status", *ends)]
    return ["status", *middle, *(name for name in NUMBERS if name in names), *texts]


def _any(rows: dict[int, list[Cells]], name: str) -> bool:
    return any(row[name] for each in rows.values() for row in each)


def _matches(row: Cells, text: str) -> bool:
    return any(text in str(row[name]).casefold() for name in ("id", "status", "error"))


def _rank(value: Any) -> tuple[int, Any] | None:
    """What a cell is sorted by; None for an empty one, which always comes last."""
    if isinstance(value, list):
        value = value[0]
    if isinstance(value, str):
        return (1, value.casefold()) if value else None
    return None if value is None or value != value else (0, value)


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()  # no picture yet


def _read_plain(path: str) -> bytes | None:
    """Content of a file, if it is one and no link to another, nor a pipe or a device."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(handle, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
