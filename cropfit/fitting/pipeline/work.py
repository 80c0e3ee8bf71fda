"""What a stage is given, what it gives, and what every kind of work must be able to do."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cropfit.fitting.pipeline.inherit import Best, Inherited, Rules

__all__ = ["Found", "Job", "Work", "numbers_in"]

SIGMA = "_sigma"


@dataclass(frozen=True)
class Job:
    """What a stage is to be done with.

    Parameters
    ----------
    name : str
        The stage.
    data
        What the pipeline runs on.
    folder : str
        The stage's own.
    best : mapping
        Name → what the stages before it found.
    former : mapping
        Stage → its `Fit` or value.
    rules : mapping or False or None
        How values are taken over.
    n_cores : int
    seed : int
    """

    name: str
    data: Any
    folder: str
    best: Mapping[str, Best]
    former: Mapping[str, Any]
    rules: Rules
    n_cores: int
    seed: int

    def path(self, name: str) -> str:
        """A file in the stage's folder."""
        return os.path.join(self.folder, name)


@dataclass
class Found:
    """What a stage found.

    Parameters
    ----------
    value
        A `Fit`, or whatever a function or a reader returned.
    numbers : mapping
        Name → value and its error (NaN if unknown) that later stages may take over. Those
        of a fit are taken from it.
    inherited : list of Inherited
    notes : list of str
    """

    value: Any
    numbers: dict[str, tuple[float, float]] = field(default_factory=dict)
    inherited: list[Inherited] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Work(Protocol):
    """One kind of work."""

    @property
    def kind(self) -> str:
        """What tables call it."""

    def identity(self) -> dict[str, str]:
        """Digest of each part that must be the same for the work to be the same."""

    def gives(self) -> set[str] | None:
        """Names of the numbers that it will find; None if that is not known before."""

    def check(self, stage: str, rules: Rules, known: set[str] | None) -> None:
        """Refuse what cannot work; `known` are the names found before, None if any may be."""

    def asks_for(self) -> set[str]:
        """Names that its templates want to be filled in."""

    def do(self, job: Job) -> Found:
        """Do it."""

    def prepare(self, job: Job) -> list[str]:
        """Write the files that it can be started with; says what it would do."""


def numbers_in(value: Any) -> dict[str, tuple[float, float]]:
    """The numbers of a mapping; ``<name>_sigma`` is the error of another one."""
    if not isinstance(value, Mapping):
        return {}
    plain = {str(name): _number(each) for name, each in value.items()}
    numbers = {name: each for name, each in plain.items() if math.isfinite(each)}
    errors = {name: numbers[name + SIGMA] for name in numbers if name + SIGMA in numbers}
    return {name: (each, errors.get(name, math.nan)) for name, each in numbers.items()}


def _number(value: Any) -> float:
    """A number; NaN for anything else."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    is_number = isinstance(plain, int | float) and not isinstance(plain, bool)
    return float(plain) if is_number else math.nan
