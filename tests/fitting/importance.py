"""A sampler small enough to see through: draws of the prior, weighted by their likelihood.

It keeps a checkpoint after each batch of `n_live` draws, so that a test can tell to the
call what a killed fit went on from.
"""

from __future__ import annotations

import os
import time

import numpy as np

from cropfit.fitting.problem import Problem
from cropfit.fitting.samplers.base import Draws, Task

BATCHES = 10


def run(problem: Problem, task: Task) -> Draws:
    size, batches = task.n_live or 100, task.options.get("batches", BATCHES)
    saved = task.checkpoint and f"{task.checkpoint}/state.npy"
    done = list(np.load(saved)) if saved and os.path.exists(saved) else []
    why = ""
    while len(done) < batches and not why:
        rng = np.random.default_rng((task.seed, len(done)))
        thetas = problem.transform(rng.random((size, problem.n_dim)))
        done.append(np.column_stack([thetas, problem.log_likelihoods(thetas)]))
        if saved:
            np.save(f"{saved}.draft.npy", np.array(done))
            os.replace(f"{saved}.draft.npy", saved)
        if task.progress:
            task.progress(calls=size * len(done), dlogz=0.5)
        if task.max_calls and size * len(done) >= task.max_calls:
            why = f"max_calls={task.max_calls}"
        elif time.time() >= task.deadline or (task.should_stop and task.should_stop()):
            why = "out of time"
    found = np.concatenate(done)
    return Draws(
        samples=found[:, :-1],
        log_weights=found[:, -1],
        log_likelihood=found[:, -1],
        log_evidence=float(np.logaddexp.reduce(found[:, -1]) - np.log(len(found))),
        log_evidence_error=0.1,
        calls=len(found),
        converged=len(done) == batches,
        why=why or "all batches are done",
        settings={"n_live": size, "batches": batches, "importance": "1.0"},
    )
