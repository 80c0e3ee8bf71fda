"""Grid Engine (SGE) and its descendants."""

from __future__ import annotations

from collections.abc import Sequence

from cropfit.engines.schedulers.dialect import Asked, Dialect, State, Tasks, Wait
from cropfit.errors import DesignError


def _path(folder: str, name: str) -> str:
    """Grid Engine expands ``$`` and takes what precedes a colon for a host."""
    if set(folder) & set("$:\"'\\"):
        raise DesignError(
            f"{folder!r} cannot be the path of a Grid Engine log: give an output_dir= without any "
            "of $ : ' \" \\."
        )
    return f'"{folder}/{name}"' if " " in folder else f"{folder}/{name}"


def _read(text: str) -> Tasks:
    """From the table that ``qstat -g d`` prints, a line a task."""
    tasks: Tasks = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].isdigit():
            continue
        state: State = "waiting"
        if "E" in fields[4] or "h" in fields[4]:
            state = "held"
        elif set(fields[4]) & set("rtsSTd") and "q" not in fields[4]:
            state = "running"
        queued = "@" in fields[7]  # only what runs has a queue
        index = fields[9] if queued and len(fields) > 9 else ""
        if not queued:
            index = fields[8] if len(fields) > 8 else ""
        tasks[fields[0], int(index) if index.isdigit() else 0] = state
    return tasks


def _after(how: Wait, ids: Sequence[str]) -> list[str]:
    """Grid Engine begins the job also when the others failed."""
    return ["-hold_jid_ad" if how == "each" else "-hold_jid", ",".join(ids)]


DIALECT = Dialect(
    name="sge",
    title="Grid Engine",
    index="SGE_TASK_ID",
    job="$JOB_ID",
    arrays="range",
    limit=75000,
    asked=Asked(("qconf", "-sconf"), r"max_aj_tasks\s+([1-9]\d*)"),
    log=("$JOB_ID.log", "$JOB_ID.$TASK_ID.log"),
    submit=("qsub", "-terse", "{script}"),
    number=r"^(\d+)",
    query=("qstat", "-g", "d", "-u", "{user}"),
    cancel=("qdel", "{ids}"),
    read=_read,
    program="qsub",
    path=_path,
    after=_after,
    lacks={"nodes": "it has parallel environments instead: extra={'pe': 'mpi 64'}"},
)
