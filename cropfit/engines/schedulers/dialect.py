"""How one scheduler wants to be spoken to; what differs between them stands in tables of these."""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cropfit.errors import DesignError, NotFoundError

NAMES = ("slurm", "sge", "pbs", "torque", "lsf", "condor", "parallel")
ALIASES = {
    "gridengine": "sge",
    "uge": "sge",
    "ge": "sge",
    "openpbs": "pbs",
    "pbspro": "pbs",
    "htcondor": "condor",
    "gnu-parallel": "parallel",
}

# What a scheduler may say of a task, in the words that all share.
State = Literal["waiting", "running", "held", "ended", "elsewhere"]
# How a job waits: its task k for task k of another array, it for another job, in both cases
# only if that succeeded; or it for others, however they end.
Wait = Literal["each", "one", "all"]
Tasks = dict[tuple[str, int], State]  # (number of the job, index of the task or 0) → state

_PLAIN = re.compile(r"[\w./+=@,-]+")


@dataclass(frozen=True)
class Asked:
    """How a site tells its largest array: a command, and a pattern with `beyond` above it."""

    command: tuple[str, ...]
    pattern: str
    beyond: int = 0


def plain_path(folder: str, name: str) -> str:
    """The path of a log as it can stand in a header that knows no quoting.

    Raises
    ------
    DesignError
        It holds spaces or characters that mean something there.
    """
    if not _PLAIN.fullmatch(folder):
        raise DesignError(
            f"{folder!r} cannot stand in the header of a script: give an output_dir= without "
            "spaces and special characters."
        )
    return f"{folder}/{name}"


def dashed(name: str, value: Any) -> str:
    """An option as ``-name value``."""
    return f"-{name}" if value is None else f"-{name} {value}"


def whole(text: str) -> str:
    """What a submission command reads from its standard input: the script itself."""
    return text


@dataclass(frozen=True)
class Dialect:
    """One scheduler.

    Parameters
    ----------
    name, title : str
        As users type it, and as people write it. The template is ``<name>.sh.j2``.
    index, job : str
        Shell expressions: the index of an array's task, the id of the job.
    arrays : {"lists", "range", "count"}
        Which indices an array may have: ``1-3,7``, one range, or 1 to N alone.
    limit : int
        Largest index of an array, where the site does not tell another.
    log : tuple of str
        Names of the log of a single job, and of an array's task.
    submit : tuple of str
        Command; ``{script}`` is the script's path, ``{log}`` a file for the job's output.
    number : str
        Pattern of the job's number in what that command prints.
    query, cancel : tuple of str
        Commands; ``{ids}`` becomes one word a job, ``{user}`` the user's name.
    read : callable
        Tasks and their states from what the query prints.
    program : str
        Whose presence on PATH tells that this scheduler is there.
    asked : Asked, optional
        How the site tells its largest index.
    stdin : callable, optional
        What the submission command reads from its standard input, from the script's text.
    option : callable
        Writes a further option of the header.
    path : callable
        Writes folder and name of a log in the header, or refuses them.
    after : callable, optional
        Options of the submission command that hold a job back until others have ended.
    name_length : int
        Longest name of a job.
    lacks : dict
        Option that it cannot express → why.
    local : bool
        Whether its jobs are processes of the computer where they were submitted.
    """

    name: str
    title: str
    index: str
    job: str
    arrays: Literal["lists", "range", "count"]
    limit: int
    log: tuple[str, str]
    submit: tuple[str, ...]
    number: str
    query: tuple[str, ...]
    cancel: tuple[str, ...]
    read: Callable[[str], Tasks]
    program: str
    asked: Asked | None = None
    stdin: Callable[[str], str] | None = None
    option: Callable[[str, Any], str] = dashed
    path: Callable[[str, str], str] = plain_path
    after: Callable[[Wait, Sequence[str]], list[str]] | None = None
    name_length: int = 64
    lacks: dict[str, str] = field(default_factory=dict)
    local: bool = False


def find_dialect(scheduler: str | None = None) -> Dialect:
    """The scheduler of that name; without one, the one that is installed here.

    Raises
    ------
    DesignError
        There is no such scheduler.
    NotFoundError
        None is installed here.
    """
    name = _installed() if scheduler is None else str(scheduler).lower()
    name = ALIASES.get(name, name)
    if name not in NAMES:
        raise DesignError(f"The schedulers are {', '.join(NAMES)}; not {scheduler!r}.")
    dialect: Dialect = importlib.import_module(f"cropfit.engines.schedulers.{name}").DIALECT
    return dialect


def _installed() -> str:
    """Name of the scheduler whose commands are on PATH."""
    if shutil.which("qsub") and not shutil.which("sbatch"):
        if os.environ.get("SGE_ROOT") or shutil.which("qconf"):
            return "sge"
        return "pbs" if shutil.which("pbs_rsub") or shutil.which("pbs_probe") else "torque"
    programs = {"slurm": "sbatch", "lsf": "bsub", "condor": "condor_submit", "parallel": "parallel"}
    for name, program in programs.items():
        if shutil.which(program):
            return name
    raise NotFoundError(
        f"No scheduler is installed here; name the one that is meant: {', '.join(NAMES)}."
    )
