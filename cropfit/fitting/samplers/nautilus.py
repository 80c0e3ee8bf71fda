"""nautilus: importance nested sampling with neural networks, good where calls are dear."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from cropfit.fitting.samplers.base import Draws, Halt, Task, missing
from cropfit.fitting.samplers.evaluations import Evaluations

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["run"]

RUNNING = ("f_live", "n_shell", "n_eff", "n_like_max", "discard_exploration", "timeout")


def run(problem: Problem, task: Task) -> Draws:
    """Importance nested sampling; options as of ``nautilus.Sampler`` and its ``run``.

    Goes on from a checkpoint, which its library keeps, with other numbers than without.
    """
    try:
        import nautilus
    except ImportError as error:
        raise missing("nautilus", "nautilus-sampler", "nautilus") from error
    evaluations = Evaluations(problem, task)
    evaluations.look = evaluations.check
    making = {name: value for name, value in task.options.items() if name not in RUNNING}
    running = {name: value for name, value in task.options.items() if name in RUNNING}
    if task.n_live is not None:
        making["n_live"] = task.n_live
    if task.dlogz is not None:
        running["f_live"] = task.dlogz
    path = None if task.checkpoint is None else os.path.join(task.checkpoint, "nautilus.hdf5")
    sampler = nautilus.Sampler(
        problem.transform,
        evaluations.many,
        n_dim=problem.n_dim,
        vectorized=True,
        pass_dict=False,
        seed=task.seed,
        filepath=path,
        periodic=np.array(problem.periodic, int) if problem.periodic else None,
        **making,
    )
    settings = {**making, **running, "nautilus": nautilus.__version__}
    evaluations.calls = int(sampler.n_like)
    why = ""
    try:
        if not sampler.run(verbose=False, **running):
            why = "its limits were reached"
    except Halt as halt:
        why = str(halt)
    if sampler.n_like == 0 or not len(sampler.shell_log_l):
        return Draws.none(problem, evaluations.calls, why, settings)
    samples, log_weights, heights = sampler.posterior()
    return Draws(
        samples=samples,
        log_weights=log_weights,
        log_likelihood=heights,
        log_evidence=float(sampler.log_z),
        log_evidence_error=float(sampler.n_eff) ** -0.5,
        calls=evaluations.calls,
        converged=not why,
        why=why or "converged",
        settings=settings,
    )
