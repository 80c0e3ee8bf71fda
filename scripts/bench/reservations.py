"""Jobs reserved in a database, as DataJoint does it: a row a case, and three commits for each.

SQLite in WAL mode stands for the server, which a network would make slower.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

FILE = "jobs.sqlite"


def connect() -> sqlite3.Connection:
    found = sqlite3.connect(FILE, isolation_level=None, timeout=60)
    found.execute("PRAGMA journal_mode=WAL")
    found.execute("PRAGMA synchronous=NORMAL")
    return found


def sow(keys: Iterable[tuple[int, float, float]]) -> sqlite3.Connection:
    """Make the tables and put the keys in."""
    jobs = connect()
    jobs.execute("CREATE TABLE source (key INTEGER PRIMARY KEY, a, b)")
    jobs.execute("CREATE TABLE jobs (key INTEGER PRIMARY KEY, status TEXT)")
    jobs.execute("CREATE TABLE results (key INTEGER PRIMARY KEY, r)")
    jobs.execute("BEGIN")
    jobs.executemany("INSERT INTO source VALUES (?, ?, ?)", keys)
    jobs.execute("COMMIT")
    return jobs


def missing(jobs: sqlite3.Connection) -> list[int]:
    query = "SELECT key FROM source WHERE key NOT IN (SELECT key FROM results)"
    return [key for (key,) in jobs.execute(query)]


def populate(jobs: sqlite3.Connection, keys: Iterable[int], function: Callable[[int], int]) -> None:
    """Compute what nobody has reserved or finished."""
    for key in keys:
        try:
            jobs.execute("INSERT INTO jobs VALUES (?, 'reserved')", (key,))
        except sqlite3.IntegrityError:
            continue
        if not jobs.execute("SELECT 1 FROM results WHERE key = ?", (key,)).fetchone():
            found = function(key)
            jobs.execute("INSERT INTO results VALUES (?, ?)", (key, found))
        jobs.execute("DELETE FROM jobs WHERE key = ?", (key,))
