"""LSF."""

from __future__ import annotations

from collections.abc import Sequence

from cropfit.engines.schedulers.dialect import Asked, Dialect, State, Tasks, Wait, whole

STATES: dict[str, State] = {
    "PEND": "waiting",
    "WAIT": "waiting",
    "PROV": "waiting",
    "PSUSP": "held",
    "RUN": "running",
    "USUSP": "running",
    "SSUSP": "running",
    "UNKWN": "running",
}


def _read(text: str) -> Tasks:
    """From lines ``<job> <index> <state>``."""
    tasks: Tasks = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0].isdigit():
            index = int(fields[1]) if fields[1].isdigit() else 0
            tasks[fields[0], index] = STATES.get(fields[2], "ended")
    return tasks


def _after(how: Wait, ids: Sequence[str]) -> list[str]:
    form = {"each": "done({}[*])", "one": "done({})", "all": "ended({})"}[how]
    return ["-w", " && ".join(map(form.format, ids))]


DIALECT = Dialect(
    name="lsf",
    title="LSF",
    index="LSB_JOBINDEX",
    job="$LSB_JOBID",
    arrays="lists",
    limit=1000,
    asked=Asked(("bparams", "-a"), r"MAX_JOB_ARRAY_SIZE\s*=\s*(\d+)"),
    log=("%J.log", "%J.%I.log"),
    submit=("bsub",),
    stdin=whole,
    number=r"Job <(\d+)> is submitted",
    query=("bjobs", "-a", "-noheader", "-o", "jobid jobindex stat", "{ids}"),
    cancel=("bkill", "{ids}"),
    read=_read,
    program="bsub",
    after=_after,
)
