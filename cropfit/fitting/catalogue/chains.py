"""A catalogue whose objects each run a pipeline inside their case."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from cropfit.errors import DesignError, NotReadyError
from cropfit.fitting.catalogue.targets import Target
from cropfit.fitting.pipeline.cosmosis import CosmoSIS
from cropfit.fitting.pipeline.result import PipelineResult
from cropfit.fitting.pipeline.run import Pipeline
from cropfit.fitting.result import Fit

__all__ = ["check_chain", "run_chain"]


def check_chain(pipeline: Pipeline, options: Mapping[str, Any], targets: Iterable[Target]) -> None:
    """Refuse options of a fit: each stage has its own.

    Raises
    ------
    DesignError
        One is given, for all or for one object, or no stage is a fit.
    """
    if not any(s.model is not None or isinstance(s.work, CosmoSIS) for s in pipeline.stages):
        raise DesignError("No stage of the pipeline is a fit, which a catalogue is made of.")
    given = {name for name, value in options.items() if value is not None}
    for target in targets:
        given |= {f"{name} of {target.id!r}" for name in target.options if name != "seed"}
    if given:
        raise DesignError(
            f"{min(given)}: a pipeline's options are given to its stages, Stage(...)."
        )


def run_chain(
    pipeline: Pipeline, data: Any, seed: int, folder: str | None, n_pool: int | None
) -> tuple[Fit, dict[str, float]]:
    """Run an object's pipeline.

    Parameters
    ----------
    pipeline : Pipeline
    data
        Of the object.
    seed : int
    folder : str, optional
        Where finished stages are kept; by default nowhere.
    n_pool : int, optional
        Processes for fits that ask for no number of their own.

    Returns
    -------
    Fit
        Of the last stage that is one.
    dict
        ``<stage>.<name>`` and ``<stage>.<name>_err`` of what the other stages found.
    """
    cores = [
        n_pool if n_pool and stage.n_cores == 1 and stage.model is not None else stage.n_cores
        for stage in pipeline.stages
    ]
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="cropfit-") as scratch:
            result = pipeline.run(data, n_cores_list=cores, folder=f"{scratch}/run", seed=seed)
    else:
        result = pipeline.run(data, n_cores_list=cores, folder=folder, seed=seed)
    if result.fit is None:
        raise NotReadyError("No stage of the pipeline gave a fit.")
    return result.fit, _columns(result)


def _columns(result: PipelineResult) -> dict[str, float]:
    columns: dict[str, float] = {}
    for stage in result.stages:
        if stage.value is result.fit:
            continue
        for name, (value, sigma) in stage.numbers.items():
            column = f"{stage.name}.{name}".replace("/", "_")
            columns[column] = value
            if math.isfinite(sigma):
                columns[f"{column}_err"] = sigma
    return columns
