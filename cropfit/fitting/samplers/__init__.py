"""Samplers: one small file each behind one contract, `Task` in and `Draws` out.

A sampler's library is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cropfit.errors import DesignError, MissingDependencyError

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem
    from cropfit.fitting.samplers.base import Draws, Task

__all__ = ["SAMPLERS", "load_sampler"]

SAMPLERS = {
    "dynesty": ("cropfit.fitting.samplers.dynesty", "run", "fit"),
    "dynesty-dynamic": ("cropfit.fitting.samplers.dynesty", "run_dynamic", "fit"),
    "maxlike": ("cropfit.fitting.samplers.maxlike", "run", "fit"),
    "emcee": ("cropfit.fitting.samplers.emcee", "run", "fit"),
    "nautilus": ("cropfit.fitting.samplers.nautilus", "run", "nautilus"),
    "nessai": ("cropfit.fitting.samplers.nessai", "run", "nessai"),
    "ultranest": ("cropfit.fitting.samplers.ultranest", "run", "ultranest"),
}
"""Name → module, function, and the extra that installs what it needs."""


def load_sampler(name: str) -> Callable[[Problem, Task], Draws]:
    """The function that runs the sampler of that name.

    Raises
    ------
    DesignError
        There is no such sampler.
    MissingDependencyError
        Its library is not installed.
    """
    if name not in SAMPLERS:
        raise DesignError(f"There is no sampler {name!r}; there are {', '.join(SAMPLERS)}.")
    module, function, extra = SAMPLERS[name]
    try:
        run: Any = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise MissingDependencyError(
            f"sampler={name!r} needs a library that is not installed ({error}): "
            f"pip install 'cropfit[{extra}]'."
        ) from error
    return lambda problem, task: _run(run, name, extra, problem, task)


def _run(
    run: Callable[[Problem, Task], Draws], name: str, extra: str, problem: Problem, task: Task
) -> Draws:
    try:
        return run(problem, task)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"sampler={name!r} needs {error.name}: pip install 'cropfit[{extra}]'."
        ) from error
