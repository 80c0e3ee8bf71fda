"""What a submission must wait for: tasks of another crop that the queue still has.

task k of this crop ──after──▶ task k of the other      where both have the same batches
                    ──after──▶ all that is queued       where they have not
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cropfit.engines.schedulers.dialect import Dialect
from cropfit.engines.schedulers.script import Part
from cropfit.errors import DesignError

if TYPE_CHECKING:
    from cropfit.engines.schedulers.queue import Jobs

__all__ = ["Former"]


@dataclass(frozen=True)
class Former:
    """Another crop that must be grown first.

    Parameters
    ----------
    jobs : Jobs
        What the queue has of it.
    alike : bool
        Whether its batches correspond to those that wait, number by number.
    """

    jobs: Jobs
    alike: bool

    def words(self, dialect: Dialect, part: Part) -> list[str]:
        """Options of the submission command by which a part waits; none if nothing is queued.

        Raises
        ------
        DesignError
            The scheduler cannot hold a job back, or the other crop is in another one's queue.
        """
        wanted = None if part.batches is None or not self.alike else set(part.batches)
        tasks = [
            task
            for task in self.jobs.queued
            if wanted is None or task.batch is None or task.batch in wanted
        ]
        ids = {task.job for task in tasks}
        jobs = [job for job in self.jobs.jobs if job.id in ids]
        if not jobs:
            return []
        if dialect.after is None:
            raise DesignError(
                f"{dialect.title} holds no job back until another one has ended: submit when "
                f"{self.jobs.name!r} is grown."
            )
        strange = [job.scheduler for job in jobs if job.scheduler != dialect.name]
        if strange:
            raise DesignError(f"{self.jobs.name!r} is in the queue of {strange[0]}, not here.")
        own = list(zip(part.indices, part.batches or (), strict=False))
        if wanted and len(jobs) == 1 and jobs[0].tasks() == own:
            return dialect.after("each" if jobs[0].is_array else "one", [jobs[0].id])
        return dialect.after("all", [job.id for job in jobs])
