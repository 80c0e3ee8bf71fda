"""HTCondor: the submit description stands in the script's ``#CONDOR`` lines."""

from __future__ import annotations

from typing import Any

from cropfit.engines.schedulers.dialect import Dialect, State, Tasks

MARK = "#CONDOR "
STATES: dict[str, State] = {
    "1": "waiting",
    "2": "running",
    "5": "held",
    "6": "running",
    "7": "running",
}


def description(text: str) -> str:
    """The submit description in a script; the script itself is the executable."""
    lines = [line[len(MARK) :] for line in text.splitlines() if line.startswith(MARK)]
    return "\n".join([*lines, ""])


def _option(name: str, value: Any) -> str:
    return f"{name} = {'True' if value is None else value}"


def _read(text: str) -> Tasks:
    """From lines ``<cluster> <process, from 0> <state> <next process> <processes in all>``.

    Of a throttled cluster the queue shows those processes alone that had their turn.
    """
    tasks: Tasks = {}
    for line in text.splitlines():
        cluster, process, state, coming, total = [*line.split(), "", "", "", "", ""][:5]
        if not (cluster.isdigit() and process.isdigit()):
            continue
        tasks[cluster, int(process) + 1] = STATES.get(state, "ended")
        if coming.isdigit() and total.isdigit():
            for later in range(int(coming), int(total)):
                tasks[cluster, later + 1] = "waiting"
    return tasks


DIALECT = Dialect(
    name="condor",
    title="HTCondor",
    index="index",
    job="$CROPFIT_JOB",
    arrays="count",
    limit=20000,
    log=("$(Cluster).log", "$(Cluster).$(Process).log"),
    submit=("condor_submit", "-terse", "-append", "executable={script}", "-"),
    stdin=description,
    number=r"^(\d+)\.",
    query=(
        "condor_q",
        "-nobatch",
        "{ids}",
        "-autoformat",
        "ClusterId",
        "ProcId",
        "JobStatus",
        "JobMaterializeNextProcId",
        "TotalSubmitProcs",
    ),
    cancel=("condor_rm", "{ids}"),
    read=_read,
    program="condor_submit",
    option=_option,
    lacks={
        "nodes": "its jobs have one node each",
        "queue": "it has no queues; give requirements in extra=",
    },
)
