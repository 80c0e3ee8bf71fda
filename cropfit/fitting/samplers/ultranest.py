"""ultranest: nested sampling in regions about the live points, slow and hard to mislead."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.fitting.samplers.base import Draws, Halt, Task, missing
from cropfit.fitting.samplers.evaluations import Evaluations

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["run"]


def run(problem: Problem, task: Task) -> Draws:
    """Reactive nested sampling; options as of ``ReactiveNestedSampler.run``.

    Its random numbers are numpy's global ones, so fits in two threads disturb each other's
    seeds. A fit that is cut short gives no samples; with a checkpoint it goes on.
    """
    try:
        import ultranest
    except ImportError as error:
        raise missing("ultranest", "ultranest", "ultranest") from error
    logging.getLogger("ultranest").setLevel(logging.WARNING)
    evaluations = Evaluations(problem, task)
    evaluations.look = evaluations.check
    running = {"min_num_live_points": task.n_live, "dlogz": task.dlogz}
    running = {name: value for name, value in running.items() if value is not None}
    running |= {"max_ncalls": task.max_calls, **task.options}
    settings = {**running, "ultranest": ultranest.__version__}
    np.random.seed(task.seed)  # noqa: NPY002 - it has no generator of its own
    sampler = ultranest.ReactiveNestedSampler(
        list(problem.names),
        lambda thetas: np.maximum(evaluations.many(thetas), -1e300),
        problem.transform,
        log_dir=task.checkpoint,
        resume="resume-similar" if task.checkpoint else "overwrite",
        vectorized=True,
        wrapped_params=[index in problem.periodic for index in range(problem.n_dim)],
    )
    try:
        found = sampler.run(show_status=False, viz_callback=False, **running)
    except Halt as halt:
        return Draws.none(problem, evaluations.calls, str(halt), settings)
    return _draws(found, evaluations, settings)


def _draws(found: dict[str, Any], evaluations: Evaluations, settings: dict[str, Any]) -> Draws:
    weighted = found["weighted_samples"]
    kept = np.asarray(weighted["weights"]) > 0
    limit = settings["max_ncalls"]
    ended = "max_calls" if limit is not None and evaluations.calls >= limit else ""
    return Draws(
        samples=np.asarray(weighted["points"])[kept],
        log_weights=np.log(np.asarray(weighted["weights"])[kept]),
        log_likelihood=np.asarray(weighted["logl"])[kept],
        log_evidence=float(found["logz"]),
        log_evidence_error=float(found["logzerr"]),
        calls=int(found["ncall"]),
        converged=not ended,
        why=ended or "converged",
        settings=settings,
    )
