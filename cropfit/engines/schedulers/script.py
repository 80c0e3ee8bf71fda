"""The text of a job: which batches, in how many arrays, under which indices, in whose words."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cropfit.disk.layout import Layout
from cropfit.engines.schedulers.dialect import Dialect, find_dialect
from cropfit.engines.schedulers.environment import activation, python
from cropfit.engines.schedulers.formats import braces, ranges
from cropfit.engines.schedulers.jinja import Template
from cropfit.engines.schedulers.resources import Resources, one_line
from cropfit.errors import DesignError
from cropfit.wording import number_of
from cropfit.work.limits import THREADS

Escalation = Callable[[int, int], Resources | Mapping[str, Any]]

LONGEST_LIST = 200  # characters of an array's indices; longer ones are mapped in the script
REQUEUES = 10  # how often a task puts itself back, unless told otherwise
PATIENCE = 20.0  # seconds that a command of the scheduler may take to tell its limit


@dataclass(frozen=True)
class Order:
    """How a crop is to be grown by a scheduler; see `cropfit.Crop.script`."""

    scheduler: str | None = None
    mode: Literal["array", "workers"] = "array"
    workers: int | None = None
    needs: Resources = field(default_factory=Resources)
    resources: Escalation | None = None
    throttle: int | None = None
    array_limit: int | None = None
    requeue: bool | int = False
    threads: int | None = None
    setup: str | Sequence[str] = ()
    conda_env: str | bool | None = None
    launcher: str | Sequence[str] | None = None
    grow_args: str | Sequence[str] = ()
    output_dir: str | os.PathLike[str] | None = None
    template: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("array", "workers"):
            raise DesignError(f"mode is 'array' or 'workers', not {self.mode!r}.")
        if (self.mode == "workers") != (self.workers is not None):
            raise DesignError("workers= says how many there are, and belongs to mode='workers'.")
        if self.mode == "workers" and self.resources is not None:
            raise DesignError("resources= goes by batch, and belongs to mode='array'.")
        for name in ("workers", "throttle", "array_limit", "threads"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value < 1):
                raise DesignError(f"{name} must be an int of at least 1, not {value!r}.")


@dataclass(frozen=True)
class Part:
    """One submission: its text, and what each index of its array grows.

    Parameters
    ----------
    text : str
        The script.
    indices : tuple of int
        Indices of the array's tasks; of a single job the 0.
    batches : tuple of int, or None
        The batch of each index; None for workers that take whatever is left.
    """

    text: str
    indices: tuple[int, ...]
    batches: tuple[int, ...] | None


@dataclass(frozen=True)
class Script:
    """What is submitted: one text, or several where limits or resources ask for several.

    Parameters
    ----------
    scheduler : str
        Whose words it is in.
    parts : tuple of Part
        The submissions.
    output_dir : str
        Where logs go; it exists.
    """

    scheduler: str
    parts: tuple[Part, ...]
    output_dir: str

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each submission."""
        return tuple(part.text for part in self.parts)

    def __str__(self) -> str:
        return "\n".join(self.texts)


def write_script(
    layout: Layout, name: str, order: Order, batches: Sequence[int], attempts: Mapping[int, int]
) -> Script:
    """The script for `batches`, or for workers that take whatever is left.

    Parameters
    ----------
    layout : Layout
        The crop.
    name : str
        Its name.
    order : Order
        How.
    batches : sequence of int
        Which, ascending.
    attempts : mapping
        Batch → how often it was submitted before.

    Raises
    ------
    DesignError
        The scheduler cannot express what is asked for.
    """
    dialect = find_dialect(order.scheduler)
    output_dir = os.path.abspath(os.fspath(order.output_dir or layout.logs))
    os.makedirs(output_dir, exist_ok=True)  # without it many schedulers fail and say nothing
    limit = order.array_limit or _site_limit(dialect)
    writer = _Writer(layout, name, order, dialect, output_dir)
    parts = []
    if order.workers is not None:
        left = order.workers
        while left:
            parts.append(writer.write(order.needs, None, min(left, limit), limit))
            left -= min(left, limit)
    for needs, some in _by_needs(order, batches, attempts):
        chunks = [some[at : at + limit] for at in range(0, len(some), limit)]
        parts += [writer.write(needs, chunk, len(chunk), limit) for chunk in chunks]
    return Script(dialect.name, tuple(parts), output_dir)


def _site_limit(dialect: Dialect) -> int:
    """Largest index of an array: what the site says, or else what is usual."""
    asked = dialect.asked
    if asked is None or shutil.which(asked.command[0]) is None:
        return dialect.limit
    try:
        run = subprocess.run(
            asked.command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return dialect.limit
    found = re.search(asked.pattern, run.stdout)
    return max(1, int(found[1]) - asked.beyond) if found else dialect.limit


def _by_needs(
    order: Order, batches: Sequence[int], attempts: Mapping[int, int]
) -> list[tuple[Resources, list[int]]]:
    """Batches that need the same, together."""
    if order.workers is not None:
        return []
    if order.resources is None:
        return [(order.needs, list(batches))]
    groups: list[tuple[Resources, list[int]]] = []
    for batch in batches:
        needs = order.needs.altered(order.resources(batch, attempts.get(batch, 0) + 1))
        for known, members in groups:
            if known == needs:
                members.append(batch)
                break
        else:
            groups.append((needs, [batch]))
    return groups


def number_tasks(batches: Sequence[int], dialect: Dialect, limit: int) -> tuple[Sequence[int], str]:
    """Indices of an array's tasks, and what bash makes of an index to have the batch.

    The index is the batch's number where scheduler and site allow it, so that the
    queue's listing tells batches.
    """
    together = batches[-1] - batches[0] == len(batches) - 1
    starts_anywhere = dialect.arrays != "count" or batches[0] == 1
    if together and starts_anywhere and batches[-1] <= limit:
        return range(batches[0], batches[-1] + 1), f"${dialect.index}"
    short = len(ranges(batches)) <= LONGEST_LIST
    if dialect.arrays == "lists" and short and batches[-1] <= limit:
        return list(batches), f"${dialect.index}"
    indices = range(1, len(batches) + 1)
    if together:
        return indices, f"$(({dialect.index} + {batches[0] - 1}))"
    return indices, f"${{batches[{dialect.index} - 1]}}"


class _Writer:
    """Writes the texts of one order."""

    def __init__(
        self, layout: Layout, name: str, order: Order, dialect: Dialect, output_dir: str
    ) -> None:
        self.layout = layout
        self.name = name
        self.order = order
        self.dialect = dialect
        self.output_dir = output_dir
        self.template = Template(f"{dialect.name}.sh.j2", order.template)
        extra = order.grow_args
        more = shlex.split(extra) if isinstance(extra, str) else list(map(str, extra))
        grow = ["-m", "cropfit", "grow", layout.root, *more]
        self.command = [*python(order.launcher, order.conda_env), *grow]

    def write(
        self, needs: Resources, batches: Sequence[int] | None, tasks: int, limit: int
    ) -> Part:
        """The text for one array, or for a job of its own where there is one task."""
        indices: Sequence[int] = (0,)
        mapping: list[str] = []
        if batches is not None:
            indices, batch = number_tasks(batches, self.dialect, limit)
            if tasks == 1:
                indices, batch = (0,), str(batches[0])
            elif "batches[" in batch:
                mapping.append(f"batches=({braces(batches)})")
            mapping.append(f"batch={batch}")
        elif tasks > 1:
            indices = range(1, tasks + 1)
        self._check(needs)
        text = self.template.fill(
            **self._told(needs, tasks),
            array=ranges(indices),
            mapping=mapping,
            batches=batches,
            about=self._about(batches, tasks),
        )
        return Part(text, tuple(indices), None if batches is None else tuple(batches))

    def _check(self, needs: Resources) -> None:
        """Refuse what this scheduler cannot express."""
        asked = {
            "nodes": needs.nodes > 1,
            "queue": needs.queue,
            "account": needs.account,
            "mem": needs.mem is not None,
            "gpus": needs.gpus,
            "requeue": self.order.requeue,
        }
        for name, why in self.dialect.lacks.items():
            if asked[name]:
                raise DesignError(f"{self.dialect.title} takes no {name}=: {why}.")

    def _told(self, needs: Resources, tasks: int) -> dict[str, Any]:
        """What templates may use, apart from batches."""
        order, dialect = self.order, self.dialect
        setup = [order.setup] if isinstance(order.setup, str) else list(order.setup)
        return {
            "job_name": _job_name(self.name, dialect.name_length),
            "log": dialect.path(self.output_dir, dialect.log[tasks > 1]),
            "output_dir": self.output_dir,
            "stop": self.layout.stop,
            "tasks": tasks,
            "throttle": order.throttle,
            "requeue": REQUEUES if order.requeue is True else int(order.requeue),
            "seconds": needs.seconds,
            "grace": grace(needs.seconds),
            "bytes": needs.bytes,
            "cpus": needs.cpus,
            "gpus": needs.gpus,
            "nodes": needs.nodes,
            "queue": needs.queue,
            "account": needs.account,
            "options": [dialect.option(name, value) for name, value in needs.options],
            "threads": order.threads or needs.cpus,
            "thread_variables": THREADS,
            "folder": os.getcwd(),
            "activation": activation(order.conda_env),
            "setup": setup,
            "command": self.command,
            "index": dialect.index,
            "job": dialect.job,
        }

    def _about(self, batches: Sequence[int] | None, tasks: int) -> str:
        if batches is None:
            what = (
                f"{number_of(tasks, 'worker')}, each of which grows what is left until nothing is"
            )
        elif tasks == 1:
            what = f"batch {batches[0]}"
        else:
            what = f"{tasks} batches, one a task"
        return one_line("name", f"cropfit: {self.name}: {what}")


def grace(seconds: int | None) -> int:
    """How long before its end a job is warned; twice as long before it begins nothing new."""
    return 0 if seconds is None else max(2, min(60, seconds // 20))


def _job_name(name: str, longest: int) -> str:
    """The crop's name as any scheduler takes it: no spaces, and a letter first."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return (plain if plain[:1].isalpha() else f"crop-{plain}".rstrip("-"))[:longest]
