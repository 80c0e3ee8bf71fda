"""How long a worker may go on, and under which job it runs."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import MutableMapping
from datetime import datetime, timedelta
from typing import SupportsFloat

from cropfit.errors import DesignError, NotFoundError

Duration = float | int | str | timedelta

# Variable that holds the second at which the job will be ended.
_ENDS = ("CROPFIT_DEADLINE", "SLURM_JOB_END_TIME")
# Variable that holds the seconds a job may take, counted from its start.
_LASTS = ("CROPFIT_WALLTIME", "PBS_WALLTIME")
# Job id and array index of each scheduler, in this order.
_JOBS = (
    ("CROPFIT_JOB", ""),
    ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"),
    ("SLURM_JOB_ID", ""),
    ("PBS_JOBID", "PBS_ARRAY_INDEX"),
    ("LSB_JOBID", "LSB_JOBINDEX"),
    ("JOB_ID", "SGE_TASK_ID"),
)
# Where each scheduler puts the index of an array's task.
TASKS = ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX")
_NO_TASK = ("", "undefined", "0")  # what Grid Engine and LSF say outside of an array
# What numerical libraries read when they are loaded.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)")


def seconds(duration: Duration) -> float:
    """A duration in seconds: a number of them, ``"[D-][[H:]M:]S"``, or a timedelta.

    Raises
    ------
    DesignError
        It is none of these, or not positive.

    Examples
    --------
    >>> seconds("1:30:00"), seconds("1-12:00:00"), seconds(90)
    (5400.0, 129600.0, 90.0)
    """
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, str):
        value = _read_clock(duration)
    else:
        value = float(duration) if isinstance(duration, SupportsFloat) else math.nan
    if not value > 0:
        raise DesignError(f"{duration!r} is not a positive duration.")
    return value


def _read_clock(text: str) -> float:
    found = _CLOCK.fullmatch(text.strip())
    if not found:
        raise DesignError(
            f"{text!r} is no duration: give seconds, 'MM:SS', 'H:MM:SS' or 'D-HH:MM:SS'."
        )
    days, first, second, last = found.groups()
    if first and not second:
        first, second = None, first
    return 86400 * int(days or 0) + 3600 * int(first or 0) + 60 * int(second or 0) + float(last)


def size_in_bytes(size: int | str) -> int:
    """Bytes, or what text such as ``"500M"`` or ``"2G"`` says; units are powers of 1024.

    Raises
    ------
    DesignError
        It is neither, or not positive.
    """
    found = _SIZE.fullmatch(str(size).strip())
    if isinstance(size, bool) or not found or not float(found[1]):
        raise DesignError(f"{size!r} is no size: give bytes, or such as 500M or 2G.")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def find_deadline(
    walltime: Duration | None = None, deadline: float | datetime | str | None = None
) -> float:
    """When this process must have left, in seconds since the epoch.

    Parameters
    ----------
    walltime : duration, optional
        How long it may take from now.
    deadline : float, datetime or ISO 8601 text, optional
        When it ends. The earlier of both counts; with neither, what the
        scheduler's environment says; with nothing said, infinity.
    """
    ends = [math.inf]
    if walltime is not None:
        ends.append(time.time() + seconds(walltime))
    if deadline is not None:
        ends.append(_moment(deadline))
    if len(ends) == 1:
        ends += [float(os.environ[name]) for name in _ENDS if _is_number(name)]
        ends += [time.time() + float(os.environ[name]) for name in _LASTS if _is_number(name)]
    return min(ends)


def _moment(deadline: float | datetime | str) -> float:
    try:
        if isinstance(deadline, str):
            deadline = datetime.fromisoformat(deadline)
        return deadline.timestamp() if isinstance(deadline, datetime) else float(deadline)
    except ValueError:
        raise DesignError(
            f"{deadline!r} is no moment: give ISO 8601 such as '2026-11-21T18:00'."
        ) from None


def _is_number(name: str) -> bool:
    return os.environ.get(name, "").replace(".", "", 1).isdigit()


def job_id() -> str | None:
    """Id of the batch system's job, with its array index; None outside of one."""
    for job, index in _JOBS:
        if os.environ.get(job):
            task = os.environ.get(index, "") if index else ""
            return os.environ[job] + (f"_{task}" if task not in _NO_TASK else "")
    return None


def task_index() -> int:
    """Index of this task in the array of whichever scheduler started it.

    Raises
    ------
    NotFoundError
        It is no task of an array.
    """
    for name in TASKS:
        value = os.environ.get(name, "")
        if value in _NO_TASK:
            continue
        if value.isdigit():
            return int(value)
        raise NotFoundError(f"{name} is {value!r}, which is no index of an array's task.")
    raise NotFoundError(
        f"This process is no task of an array: none of {', '.join(TASKS)} says which. Submit it "
        "as an array job, or name the batch."
    )


def cap_threads(number: int | None, environment: MutableMapping[str, str]) -> None:
    """Set how many threads numerical libraries start, for those that are loaded from now on."""
    if number is not None:
        environment.update(dict.fromkeys(THREADS, str(number)))


def mpi_size() -> int:
    """Number of MPI processes that this one was started with; 1 outside of mpiexec."""
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 1
