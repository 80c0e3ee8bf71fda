"""A catalogue whose objects each run a pipeline: inside their case, or stage by stage.

.crop-gal/             the catalogue: its cases do all stages, or the last one alone
.crop-gal/chains/<id>  then the pipeline's folder of each object, in which its stages meet
.crop-gal-coarse/      and a crop for each stage before
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from cropfit.disk.layout import folder_of
from cropfit.errors import DesignError, NotReadyError
from cropfit.fitting.catalogue.targets import Target
from cropfit.fitting.pipeline.cosmosis import CosmoSIS
from cropfit.fitting.pipeline.result import DONE, PipelineResult
from cropfit.fitting.pipeline.run import Pipeline
from cropfit.fitting.result import Fit
from cropfit.work.context import Case

__all__ = ["CHAINS", "chain_folder", "check_chain", "check_former", "run_chain", "to_fit"]

CHAINS = "chains"


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
) -> PipelineResult:
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
    """
    cores = [
        n_pool if n_pool and stage.n_cores == 1 and stage.model is not None else stage.n_cores
        for stage in pipeline.stages
    ]
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="cropfit-") as scratch:
            return pipeline.run(data, n_cores_list=cores, folder=f"{scratch}/run", seed=seed)
    return pipeline.run(data, n_cores_list=cores, folder=folder, seed=seed)


def chain_folder(case: Case, run: str, key: str | int) -> str:
    """Where an object's stages are kept that different crops do."""
    parent = os.path.dirname(os.path.dirname(os.path.dirname(case.folder)))
    return os.path.join(folder_of(parent, run), CHAINS, quote(str(key), safe=" +=,@()[]"))


def check_former(pipeline: Pipeline, data: Any, folder: str, run: str) -> None:
    """Refuse the last stage before those in front of it are done.

    Raises
    ------
    NotReadyError
        Says which is not, and how it is grown.
    """
    *former, last = pipeline.plan(data, folder=folder).stages
    for stage in former:
        if stage.state != DONE:
            raise NotReadyError(
                f"Stage {last.name!r} cannot begin: {stage.name!r} of this object is "
                f"{stage.state}. Grow it with 'cropfit grow {run}-{stage.name}', then retry this."
            )


def to_fit(result: PipelineResult) -> tuple[Fit, dict[str, float]]:
    """The last fit, and columns ``<stage>.<name>`` and ``..._err`` of what other stages found."""
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
