"""Submit, look and cancel: the only place where a scheduler's commands are run.

script ──submit──▶ job ids, noted in the crop ──look──▶ what the scheduler and the crop each think
└─────cancel──▶ gone from the queue
"""

from __future__ import annotations

import getpass
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cropfit.disk.layout import Layout
from cropfit.disk.ledger import Ledger
from cropfit.engines.schedulers.after import Former
from cropfit.engines.schedulers.dialect import Dialect, find_dialect
from cropfit.engines.schedulers.formats import ranges
from cropfit.engines.schedulers.records import Job, Recorder, read_jobs
from cropfit.engines.schedulers.script import Part, Script
from cropfit.errors import CropError, NotFoundError
from cropfit.wording import number_of

PATIENCE = 120.0  # seconds; a busy controller may take a while to answer
_GONE = re.compile(r"unknown job|not found|does not exist|invalid job id|has finished", re.I)


def run(command: Sequence[str], what: str, text: str | None = None) -> tuple[int, str, str]:
    """Run a scheduler's command: exit code, what it printed, and its messages.

    Raises
    ------
    NotFoundError
        There is no such program here.
    CropError
        It does not answer.
    """
    if shutil.which(command[0]) is None:
        raise NotFoundError(
            f"{command[0]} is not on PATH, so {what} is not possible here; do it where it is, "
            "such as on a login node."
        )
    try:
        done = subprocess.run(
            command, input=text or "", capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise CropError(f"{command[0]} did not answer within {PATIENCE:.0f} s.") from None
    return done.returncode, done.stdout, done.stderr.strip()


# -- submit ----------------------------------------------------------------------------


def submit(
    layout: Layout,
    script: Script,
    accepted: Callable[[Job], None],
    former: Former | None = None,
) -> list[Job]:
    """Submit all parts of a script.

    Parameters
    ----------
    layout : Layout
        The crop.
    script : Script
        What.
    accepted : callable
        Told each job as soon as it is accepted and noted.
    former : Former, optional
        What must be grown first.

    Raises
    ------
    CropError
        The scheduler refuses one; those before it are submitted.
    """
    dialect = find_dialect(script.scheduler)
    waits = [former.words(dialect, part) if former else [] for part in script.parts]
    recorder = Recorder(layout)
    jobs: list[Job] = []
    for number, part in enumerate(script.parts, start=1):
        path = recorder.keep_script(number, part.text)
        job = _submit(dialect, part, path, script.output_dir, waits[number - 1])
        recorder.note(job)
        jobs.append(job)
        accepted(job)
    return jobs


def _submit(dialect: Dialect, part: Part, path: str, output_dir: str, waits: Sequence[str]) -> Job:
    fill = {"{script}": path, "{log}": f"{output_dir}/{dialect.name}.log"}
    program, *words = dialect.submit
    command = [program, *waits, *(_filled(word, fill) for word in words)]
    text = dialect.stdin(part.text) if dialect.stdin else None
    command = [word.replace("{script}", path) for word in command]
    code, out, err = run(command, f"submitting to {dialect.title}", text)
    found = re.search(dialect.number, out, re.MULTILINE)
    if code or not found:
        raise CropError(
            f"{dialect.title} refused {path} ({command[0]} gave {code}): {err or out.strip()}. "
            "Limits of the site may be told by array_limit=, queue=, time=, mem= and extra=."
        )
    digits = re.match(r"\d+", found[1])
    return Job(
        dialect.name,
        found[1],
        digits[0] if digits else found[1],
        ranges(part.indices),
        None if part.batches is None else ranges(part.batches),
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        socket.gethostname(),
        path,
        output_dir,
    )


def _filled(word: str, fill: dict[str, str]) -> str:
    for name, value in fill.items():
        word = word.replace(name, value)
    return word


# -- look ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One task: which, what it grows, and what the scheduler and the crop say of it.

    Attributes
    ----------
    scheduler, job : str
        Whose, and the id of its job there.
    index : int
        Its index in the job's array; 0 without an array.
    batch : int or None
        What it grows; None for a worker that takes whatever is left.
    queue : str
        "waiting", "running", "held" or "ended"; "elsewhere" if only the computer where it
        was submitted can tell.
    crop : str or None
        State of the batch: "sown", "growing", "grown", "failed" or "ignored".
    """

    scheduler: str
    job: str
    index: int
    batch: int | None
    queue: str
    crop: str | None


@dataclass(frozen=True, repr=False)
class Jobs:
    """Every job of a crop, as the scheduler and the crop see it; shown as a table.

    Attributes
    ----------
    jobs : list of Job
        What was submitted, in this order.
    tasks : list of Task
        Their tasks.
    counts : dict
        Number of the crop's batches in each state.
    """

    name: str
    jobs: list[Job]
    tasks: list[Task]
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def queued(self) -> list[Task]:
        """Tasks that the scheduler still has."""
        return [task for task in self.tasks if task.queue in ("waiting", "running", "held")]

    @property
    def left_over(self) -> list[int]:
        """Batches whose last task has ended, and which nobody has grown or grows."""
        last = {task.batch: task for task in self.tasks if task.batch is not None}
        ended = [task for task in last.values() if task.queue == "ended" and task.crop == "sown"]
        return sorted(task.batch for task in ended if task.batch is not None)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        told = asdict(self)
        return {**told, "left_over": self.left_over}

    def __str__(self) -> str:
        if not self.jobs:
            return f"{self.name}: nothing was submitted"
        rows: list[tuple[str, ...]] = [("scheduler", "job", "submitted", "tasks", "their batches")]
        rows += [self._row(job) for job in self.jobs]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(map(str.ljust, row, widths)).rstrip()  # a column as wide as its widest
            for row in rows
        ]
        lines.append(f"{self.name}: batches {_counted(self.counts)}")
        if self.left_over:
            batches = number_of(len(self.left_over), "batch")
            lines.append(
                f"{batches} left over by tasks that have ended (first: {self.left_over[:5]}); "
                f"'cropfit submit {self.name}' submits them again, logs are in "
                f"{self.jobs[-1].output_dir}"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def _row(self, job: Job) -> tuple[str, ...]:
        tasks = [t for t in self.tasks if (t.scheduler, t.job) == (job.scheduler, job.id)]
        queue = Counter(task.queue for task in tasks)
        crop = Counter(task.crop for task in tasks if task.crop)
        return (
            job.scheduler,
            job.id,
            job.time,
            _counted(queue),
            _counted(crop) if crop else "whatever is left",
        )


def _counted(counts: Mapping[str, int]) -> str:
    """``3 grown, 1 failed``."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def look(name: str, layout: Layout, ledger: Ledger) -> Jobs:
    """Ask the scheduler once, list the crop once, and put both together.

    Raises
    ------
    CropError
        The scheduler does not answer.
    """
    known = read_jobs(layout)
    states: dict[int, str] = {}
    for state in ("sown", "grown", "failed", "ignored"):
        states.update(dict.fromkeys(ledger.numbers(state), state))
    states.update({held.claim.batch: "sown" if held.dead else "growing" for held in ledger.held()})
    tasks: list[Task] = []
    for scheduler in dict.fromkeys(job.scheduler for job in known):
        some = [job for job in known if job.scheduler == scheduler]
        queues = _ask(find_dialect(scheduler), some)
        for job, told in zip(some, queues, strict=True):
            for (index, batch), queue in zip(job.tasks(), told, strict=True):
                crop = None if batch is None else states.get(batch)
                tasks.append(Task(scheduler, job.id, index, batch, queue, crop))
    return Jobs(name, known, tasks, dict(Counter(states.values())))


def _ask(dialect: Dialect, jobs: Sequence[Job]) -> list[list[str]]:
    """What the scheduler says of each task of each job."""
    here = [job for job in jobs if not dialect.local or job.host == socket.gethostname()]
    out = ""
    if here:
        command = _with_ids(dialect.query, here)
        code, out, err = run(command, f"asking {dialect.title}")
        if code and err and not dialect.read(out) and not _GONE.search(err):
            raise CropError(f"{dialect.title} does not tell ({command[0]} gave {code}): {err}.")
    if dialect.local:  # another process may have got the number meanwhile
        out = "\n".join(line for line in out.splitlines() if _is_one_of(line, here))
    by_job: dict[str, dict[int, str]] = {}
    for (number, index), state in dialect.read(out).items():
        by_job.setdefault(number, {})[index] = state
    return [
        _states(job, by_job.get(job.number, {}), "ended" if job in here else "elsewhere")
        for job in jobs
    ]


def _is_one_of(process: str, jobs: Sequence[Job]) -> bool:
    number = process.split(maxsplit=1)[0]
    return any(number == job.id and job.script in process for job in jobs)


def _states(job: Job, told: Mapping[int, str], untold: str) -> list[str]:
    """State of each task, from those that the scheduler still tells, by index."""
    indices = [index for index, _ in job.tasks()]
    if job.is_array:
        return [told.get(index, untold) for index in indices]
    return [next(iter(told.values()), untold)] * len(indices)


def _with_ids(command: Sequence[str], jobs: Sequence[Job]) -> list[str]:
    """The command with one word for each job."""
    words: list[str] = []
    for word in command:
        if word == "{ids}":
            words += [job.id for job in jobs]
        else:
            words.append(word.replace("{user}", getpass.getuser()))
    return words


# -- cancel ----------------------------------------------------------------------------


def cancel(jobs: Jobs) -> list[Job]:
    """Take all jobs that the scheduler still has out of its queue; those that were.

    Raises
    ------
    CropError
        The scheduler refuses.
    """
    alive = {(task.scheduler, task.job) for task in jobs.queued}
    gone = [job for job in jobs.jobs if (job.scheduler, job.id) in alive]
    for scheduler in dict.fromkeys(job.scheduler for job in gone):
        dialect = find_dialect(scheduler)
        some = [job for job in gone if job.scheduler == scheduler]
        command = _with_ids(dialect.cancel, some)
        code, out, err = run(command, f"cancelling a job of {dialect.title}")
        if code and not _GONE.search(err):
            raise CropError(f"{dialect.title} does not cancel ({command[0]}): {err or out}.")
    return gone
