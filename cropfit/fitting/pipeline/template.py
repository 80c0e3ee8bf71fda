"""Text in which ``{name}`` stands for what stages found, and ``$NAME`` for the environment."""

from __future__ import annotations

import os
import string
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from cropfit.errors import DesignError
from cropfit.fitting.pipeline.inherit import Inherited
from cropfit.fitting.pipeline.work import Job

__all__ = ["expand", "fill", "known_before", "names_in", "values_for", "was_filled"]

OWN = ("folder", "here", "n_cores", "python", "seed")  # that every stage has


def names_in(text: str) -> set[str]:
    """The names that a template asks for.

    Raises
    ------
    DesignError
        Its braces do not match.
    """
    try:
        return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
    except ValueError as error:
        raise DesignError(
            f"{text!r} cannot be read ({error}); write {{{{ and }}}} for braces that stay."
        ) from error


def expand(text: str) -> str:
    """The text with environment variables and ``~`` expanded; unknown ones stay."""
    return os.path.expandvars(os.path.expanduser(text))


def known_before(data: Any) -> set[str]:
    """Names that are known before any stage runs: a stage's own, and plain values of the data."""
    return {*OWN, *_plain(data)}


def _plain(data: Any) -> dict[str, Any]:
    given = data if isinstance(data, Mapping) else {}
    return {str(k): v for k, v in given.items() if isinstance(v, str | int | float | np.generic)}


def values_for(job: Job) -> dict[str, Any]:
    """What templates of a stage may name: its own, plain values of the data, what was found."""
    own = {
        "folder": job.folder,
        "here": os.getcwd(),
        "n_cores": job.n_cores,
        "python": sys.executable,
        "seed": job.seed,
    }
    return {**own, **_plain(job.data), **{name: best.value for name, best in job.best.items()}}


def fill(text: str, values: Mapping[str, Any]) -> str:
    """The template with its values, numbers in full.

    Raises
    ------
    DesignError
        It names what is not there.
    """
    missing = sorted(names_in(text) - set(values))
    if missing:
        raise DesignError(
            f"{{{missing[0]}}} in {text!r} is not known; there are {', '.join(sorted(values))}. "
            "Write {{ and }} for braces that stay."
        )
    return string.Formatter().vformat(expand(text), (), values)


def was_filled(names: set[str], job: Job) -> list[Inherited]:
    """Which numbers of former stages went into templates."""
    return [
        Inherited(name, "fill", job.best[name].value, job.best[name].stage)
        for name in sorted(names & set(job.best))
    ]
