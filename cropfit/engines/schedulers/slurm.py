"""Slurm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cropfit.engines.schedulers.dialect import Asked, Dialect, State, Tasks, Wait

STATES: dict[str, State] = {
    "PENDING": "waiting",
    "CONFIGURING": "waiting",
    "REQUEUED": "waiting",
    "REQUEUE_FED": "waiting",
    "REQUEUE_HOLD": "held",
    "SPECIAL_EXIT": "held",
    "RUNNING": "running",
    "COMPLETING": "running",
    "STAGE_OUT": "running",
    "SIGNALING": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
    "RESIZING": "running",
}

WAITS: dict[Wait, str] = {"each": "aftercorr", "one": "afterok", "all": "afterany"}


def _after(how: Wait, ids: Sequence[str]) -> list[str]:
    """What can never begin, as the task before it failed, leaves the queue."""
    return [f"--dependency={WAITS[how]}:{':'.join(ids)}", "--kill-on-invalid-dep=yes"]


def _option(name: str, value: Any) -> str:
    if len(name) == 1:
        return f"-{name}" if value is None else f"-{name} {value}"
    return f"--{name}" if value is None else f"--{name}={value}"


def _path(folder: str, name: str) -> str:
    """Slurm expands ``%`` in the path of a log, and takes double quotes around it."""
    escaped = folder.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    path = f"{escaped}/{name}"
    return path if re.fullmatch(r"[\w./+=@,%-]+", path) else f'"{path}"'


def _read(text: str) -> Tasks:
    """From lines ``<job>|<index or N/A>|<state>|<reason>``."""
    tasks: Tasks = {}
    for line in text.splitlines():
        job, index, state, reason = [*line.strip().split("|", 3), "", "", ""][:4]
        told = STATES.get(state, "ended")
        if told == "waiting" and "held" in reason.lower():
            told = "held"
        tasks[job, int(index) if index.isdigit() else 0] = told
    return tasks


DIALECT = Dialect(
    name="slurm",
    title="Slurm",
    index="SLURM_ARRAY_TASK_ID",
    job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}",
    arrays="lists",
    limit=1000,
    asked=Asked(("scontrol", "show", "config"), r"MaxArraySize\s*=\s*(\d+)", beyond=1),
    log=("%j.log", "%A_%a.log"),
    submit=("sbatch", "--parsable", "{script}"),
    number=r"^(\d+)",
    query=(
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        "--user={user}",
        "--format=%F|%K|%T|%r",
    ),
    cancel=("scancel", "{ids}"),
    read=_read,
    program="sbatch",
    option=_option,
    path=_path,
    after=_after,
)
