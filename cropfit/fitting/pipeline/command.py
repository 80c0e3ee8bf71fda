"""A stage that runs a program."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cropfit.disk.owner import Owner
from cropfit.disk.publish import write_whole
from cropfit.errors import DamagedError, DesignError, NotFoundError, StageError
from cropfit.fitting.identity import told
from cropfit.fitting.pipeline import template
from cropfit.fitting.pipeline.inherit import Rules
from cropfit.fitting.pipeline.process import LINES, run_logged, tail
from cropfit.fitting.pipeline.work import Found, Job, numbers_in
from cropfit.work.limits import Duration, seconds

__all__ = ["LOG", "MPIEXEC", "Command", "execute", "under_mpi"]

LOG = "log.txt"
MPIEXEC = ("mpiexec",)
Input = str | Path | Callable[[Any, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Command:
    """A program with its files.

    ``{name}`` in the arguments, inputs and environment stands for a number that a former
    stage found, a plain value of the data, or ``folder``, ``here`` (where the pipeline was
    started), ``n_cores``, ``seed``, ``python``; ``$NAME`` for the environment's. No shell
    reads the arguments.

    Parameters
    ----------
    args : sequence of str
        With more than one core they go behind ``mpiexec -n N``.
    inputs : mapping
        File in the stage's folder → template, or `Path` of a file that is copied, or
        ``function(data, former)`` → text or bytes.
    reader : callable or str, optional
        ``reader(folder)`` → the stage's value, whose numbers are handed on if it is a mapping;
        or the name of a JSON file. What was printed is in ``log.txt``.
    environment : mapping
        What is added to this process's.
    cwd : str, optional
        Where it runs; by default in the stage's folder.
    timeout : duration, optional
        After which it is ended and the stage has failed.
    mpiexec : sequence of str
        With its options.
    """

    args: Sequence[str]
    inputs: Mapping[str, Input] = field(default_factory=dict)
    reader: Callable[[Path], Any] | str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    timeout: Duration | None = None
    mpiexec: Sequence[str] = MPIEXEC
    kind = "command"

    def __post_init__(self) -> None:
        if isinstance(self.args, str) or not self.args:
            raise DesignError(f"A command is a list of words, not {self.args!r}.")
        object.__setattr__(self, "args", tuple(str(each) for each in self.args))
        for name, given in self.inputs.items():
            if not isinstance(given, str | Path) and not callable(given):
                raise DesignError(f"inputs: {name!r} is no text, Path or function but {given!r}.")
            if os.path.basename(name) != name or not name or name in (LOG, os.curdir, os.pardir):
                raise DesignError(f"inputs: {name!r} must be a file name in the stage's folder.")
        if self.timeout is not None:
            seconds(self.timeout)

    def identity(self) -> dict[str, str]:
        """Digests of the words, the inputs and the reader."""
        return {
            "the command": told([list(self.args), dict(self.environment), self.cwd]),
            "the inputs": told({name: _content(each) for name, each in self.inputs.items()}),
            "the reader": told(self.reader),
        }

    def gives(self) -> set[str] | None:
        """Not known before, if there is a reader."""
        return None if self.reader else set()

    def check(self, stage: str, rules: Rules, known: set[str] | None) -> None:
        """Refuse rules, and templates that cannot be read."""
        if rules:
            raise DesignError(
                f"Stage {stage!r} is a command: write {{name}} where a value is to stand, "
                "instead of inherit=."
            )
        self.asks_for()

    def asks_for(self) -> set[str]:
        """All names in its words, inputs, environment and folder."""
        texts = [*self.args, *self.environment.values(), self.cwd or ""]
        texts += [each for each in self.inputs.values() if isinstance(each, str)]
        return set().union(*map(template.names_in, texts))

    def do(self, job: Job) -> Found:
        """Write the inputs, run the program, read what it wrote."""
        values = template.values_for(job)
        self._write(job, values)
        args = [template.fill(each, values) for each in self.args]
        here = template.fill(self.cwd, values) if self.cwd else job.folder
        added = {name: template.fill(text, values) for name, text in self.environment.items()}
        limit = math.inf if self.timeout is None else seconds(self.timeout)
        args = under_mpi([_program(args[0]), *args[1:]], job.n_cores, self.mpiexec)
        execute(job, args, folder=here, environment=added, limit=limit)
        value = self._read(job)
        return Found(value, numbers_in(value), template.was_filled(self.asks_for(), job))

    def prepare(self, job: Job) -> list[str]:
        """Write those inputs for which all values are known."""
        values = template.values_for(job)
        words = under_mpi(list(self.args), job.n_cores, self.mpiexec)
        lines = [f"run {' '.join(words)}"]
        for name, each in self.inputs.items():
            open_names = template.names_in(each) - set(values) if isinstance(each, str) else set()
            if open_names or callable(each):
                waits = ", ".join(sorted(open_names)) or "former stages"
                lines.append(f"{name}: waits for {waits}")
            else:
                self._write(job, values, (name,))
                lines.append(f"wrote {job.path(name)}")
        return lines

    def _write(
        self, job: Job, values: Mapping[str, Any], names: Sequence[str] | None = None
    ) -> None:
        for name in self.inputs if names is None else names:
            content = self.inputs[name]
            if isinstance(content, Path):
                data: Any = content.read_bytes()
            elif isinstance(content, str):
                data = template.fill(content, values)
            else:
                data = content(job.data, job.former)
            data = data.encode() if isinstance(data, str) else bytes(data)
            write_whole(job.path(name), data, str(Owner.here()))

    def _read(self, job: Job) -> Any:
        if self.reader is None:
            return None
        if callable(self.reader):
            return self.reader(Path(job.folder))
        path = job.path(self.reader)
        try:
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError as error:
            raise NotFoundError(f"the program wrote no {path}, which is to be read") from error
        except ValueError as error:
            raise DamagedError(f"{path} is no JSON: {error}") from error


def under_mpi(args: list[str], n_cores: int, mpiexec: Sequence[str]) -> list[str]:
    """The arguments behind ``mpiexec -n N``, if there is more than one core."""
    return [*mpiexec, "-n", str(n_cores), *args] if n_cores > 1 else args


def execute(
    job: Job, args: list[str], *, folder: str, environment: Mapping[str, str], limit: float
) -> None:
    """Run a program of a stage.

    Raises
    ------
    StageError
        It cannot be started, ended with another code than 0, or took too long.
    """
    log = job.path(LOG)
    everything = {**os.environ, **environment}
    if shutil.which(args[0], path=everything.get("PATH")) is None:
        raise StageError(f"{args[0]} is no program that can be run here", job.name, 127)
    try:
        code = run_logged(args, log, folder=folder, environment=everything, limit=limit)
    except TimeoutError as error:
        raise StageError(f"{args[0]}: {error}. {_said(log)}", job.name, None, tail(log)) from error
    if code:
        raise StageError(
            f"{args[0]} ended with exit code {code}. {_said(log)}", job.name, code, tail(log)
        )


def _said(log: str) -> str:
    text = tail(log)
    return f"Its last {LINES} lines, of {log}:\n{text}" if text else f"It printed nothing ({log})"


def _program(name: str) -> str:
    """A program that is named by a path is meant from here, not from the stage's folder."""
    return os.path.abspath(name) if os.path.basename(name) != name else name


def _content(given: Input) -> Any:
    """What tells an input: a file's bytes, a template, a function."""
    if not isinstance(given, Path):
        return given
    try:
        return given.read_bytes()
    except OSError as error:
        raise DesignError(f"The input {given} cannot be read: {error.strerror}.") from error
