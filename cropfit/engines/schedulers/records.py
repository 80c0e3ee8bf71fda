"""What was submitted, as the crop remembers it.

    jobs/20261121T062233.123456-1a2b3c.jsonl    one line a job, written when it is accepted
    jobs/20261121T062233.123456-1a2b3c-1.sh     what was submitted, as it was

Each submission has a file of its own, so that no two writers meet in one, and a
submitter that is killed has noted every job that was accepted before.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass

from cropfit.disk.layout import Layout
from cropfit.engines.schedulers.formats import expand

ENDING = ".jsonl"


@dataclass(frozen=True)
class Job:
    """One job that a scheduler accepted.

    Parameters
    ----------
    scheduler : str
        Which.
    id : str
        As its commands take it.
    number : str
        The part of it that is the same for all tasks.
    indices : str
        Indices of the tasks, as ``1-3,7``; 0 for a job without an array.
    batches : str or None
        The batch of each; None for workers.
    time, host, script : str
        When and where it was submitted, and what.
    output_dir : str
        Where its logs are.
    """

    scheduler: str
    id: str
    number: str
    indices: str
    batches: str | None
    time: str
    host: str
    script: str
    output_dir: str

    @property
    def is_array(self) -> bool:
        """Whether the scheduler tells its tasks apart."""
        return self.indices != "0" and self.scheduler != "parallel"

    def tasks(self) -> list[tuple[int, int | None]]:
        """Index and batch of each task."""
        indices = expand(self.indices)
        batches: list[int | None] = [None] * len(indices)
        if self.batches is not None:
            batches = [*expand(self.batches)]
        return list(zip(indices, batches, strict=True))


class Recorder:
    """Notes the jobs of one submission.

    Parameters
    ----------
    layout : Layout
        The crop.
    """

    def __init__(self, layout: Layout) -> None:
        os.makedirs(layout.jobs, mode=0o700, exist_ok=True)
        seconds, rest = divmod(time.time_ns(), 10**9)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
        self._stem = f"{layout.jobs}/{stamp}.{rest // 1000:06d}-{os.urandom(3).hex()}"

    def keep_script(self, number: int, text: str) -> str:
        """Write the text that is about to be submitted; its path."""
        path = f"{self._stem}-{number}.sh"
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def note(self, job: Job) -> None:
        """Append a job, on disk before the next one is submitted."""
        line = json.dumps(asdict(job), ensure_ascii=False) + "\n"
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        handle = os.open(self._stem + ENDING, flags, 0o600)
        with open(handle, "wb") as file:
            file.write(line.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())


def read_jobs(layout: Layout) -> list[Job]:
    """All jobs of a crop, in the order in which they were submitted."""
    try:
        names = sorted(name for name in os.listdir(layout.jobs) if name.endswith(ENDING))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        with open(f"{layout.jobs}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                if line.endswith("\n"):  # one that is not was being written when its writer died
                    found.append(Job(**json.loads(line)))
    return found


def attempts(layout: Layout) -> Counter[int]:
    """How often each batch was submitted."""
    return Counter(
        batch for job in read_jobs(layout) for _, batch in job.tasks() if batch is not None
    )
