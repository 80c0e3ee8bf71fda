"""nessai: nested sampling with normalising flows, good where calls are dear."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.fitting.samplers.base import Draws, Halt, Task, missing
from cropfit.fitting.samplers.evaluations import Evaluations

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["run"]


def run(problem: Problem, task: Task) -> Draws:
    """Nested sampling in the unit cube; options as of ``nessai.flowsampler.FlowSampler``.

    A fit that is cut short gives no samples; with a checkpoint it goes on from there.
    """
    try:
        import nessai
        from nessai.flowsampler import FlowSampler
    except ImportError as error:
        raise missing("nessai", "nessai", "nessai") from error
    evaluations = Evaluations(problem, task)
    evaluations.look = evaluations.check
    options = {"nlive": task.n_live, "stopping": task.dlogz}
    options = {name: value for name, value in options.items() if value is not None}
    options |= dict(task.options)
    settings = {**options, "nessai": nessai.__version__}
    with tempfile.TemporaryDirectory() as scratch:
        sampler = FlowSampler(
            _model(problem, evaluations),
            output=task.checkpoint or scratch,
            resume=task.checkpoint is not None,
            seed=task.seed,
            signal_handling=False,
            checkpoint_interval=task.checkpoint_every,
            checkpoint_on_iteration=False,
            **options,
        )
        try:
            sampler.run(plot=False, save=False)
        except Halt as halt:
            return Draws.none(problem, evaluations.calls, str(halt), settings)
    inner = sampler.ns
    points = np.asarray(inner.nested_samples)
    cube = np.stack([points[name] for name in problem.names], axis=-1)
    return Draws(
        samples=problem.transform(cube),
        log_weights=np.asarray(inner.state.log_posterior_weights),
        log_likelihood=np.asarray(points["logL"]),
        log_evidence=float(sampler.log_evidence),
        log_evidence_error=float(sampler.log_evidence_error),
        calls=evaluations.calls,
        converged=True,
        why="converged",
        settings=settings,
    )


def _model(problem: Problem, evaluations: Evaluations) -> Any:
    """The unit cube as a model of nessai's."""
    from nessai.livepoint import live_points_to_array
    from nessai.model import Model

    class Cube(Model):  # type: ignore[misc]
        allow_vectorised = True

        def __init__(self) -> None:
            self.names = list(problem.names)
            self.bounds = {name: [0.0, 1.0] for name in problem.names}

        def log_prior(self, x: Any) -> Any:
            return np.log(self.in_bounds(x), dtype=float)

        def log_likelihood(self, x: Any) -> Any:
            cube = np.atleast_2d(live_points_to_array(x, self.names))
            found = evaluations.many(problem.transform(cube))
            return found if np.ndim(x) else found[0]

    return Cube()
