"""PBS Pro and OpenPBS."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cropfit.engines.schedulers.dialect import Asked, Dialect, State, Tasks, Wait

STATES: dict[str, State] = {
    "Q": "waiting",
    "W": "waiting",
    "T": "waiting",
    "B": "waiting",
    "R": "running",
    "E": "running",
    "S": "running",
    "U": "running",
    "H": "held",
    "X": "ended",
    "F": "ended",
    "C": "ended",
}
NO_REQUEUE = "it lets operators alone put a job back; submit what is left again instead"
_ID = re.compile(r"(\d+)(?:\[(\d*)\])?")


def read_table(text: str) -> Tasks:
    """From the table that ``qstat -t`` prints: the id first, the state last but one."""
    tasks: Tasks = {}
    for line in text.splitlines():
        fields = line.split()
        found = _ID.match(fields[0]) if len(fields) >= 5 else None
        if found and found[2] != "" and fields[-2] in STATES:
            tasks[found[1], int(found[2] or 0)] = STATES[fields[-2]]
    return tasks


def _after(how: Wait, ids: Sequence[str]) -> list[str]:
    """Arrays are waited for as a whole, so that one failed task does not hold all others back."""
    return ["-W", f"depend={'afterok' if how == 'one' else 'afterany'}:{':'.join(ids)}"]


DIALECT = Dialect(
    name="pbs",
    title="PBS",
    index="PBS_ARRAY_INDEX",
    job="${PBS_JOBID%%.*}",
    arrays="range",
    limit=10000,
    asked=Asked(("qmgr", "-c", "list server max_array_size"), r"max_array_size\s*=\s*(\d+)"),
    log=("", ""),
    submit=("qsub", "{script}"),
    number=r"^(\d+(?:\[\])?[^\s]*)",
    query=("qstat", "-t", "{ids}"),
    cancel=("qdel", "{ids}"),
    read=read_table,
    program="qsub",
    after=_after,
    lacks={"requeue": NO_REQUEUE},
)
