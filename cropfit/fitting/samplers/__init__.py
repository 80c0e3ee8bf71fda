"""Samplers behind one contract: ``run(problem, task)`` → `Draws`.

Each stands in a module of its own, which is loaded, with the library that it drives, when
it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from cropfit.errors import DesignError

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem
    from cropfit.fitting.samplers.base import Draws, Task

__all__ = ["SAMPLERS", "load_sampler"]

SAMPLERS = {
    "dynesty": "dynesty:run",
    "dynesty-dynamic": "dynesty:run_dynamic",
    "maxlike": "maxlike:run",
    "emcee": "emcee:run",
    "nautilus": "nautilus:run",
    "nessai": "nessai:run",
    "ultranest": "ultranest:run",
}


def load_sampler(name: str) -> Callable[[Problem, Task], Draws]:
    """The function that runs the sampler of that name.

    Raises
    ------
    DesignError
        There is none; says which there are.
    """
    if name not in SAMPLERS:
        raise DesignError(f"There is no sampler {name!r}; there are {', '.join(SAMPLERS)}.")
    module, _, function = SAMPLERS[name].partition(":")
    run: Callable[[Problem, Task], Draws]
    run = getattr(importlib.import_module(f"cropfit.fitting.samplers.{module}"), function)
    return run
