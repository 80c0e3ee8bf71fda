"""Run one function over very many inputs, on any machines, and lose no result.

>>> import cropfit as cf
>>> crop = cf.Crop(fn=simulate, var_names=["energy"])         # doctest: +SKIP
>>> crop.sow_combos({"temperature": temperatures, "size": [8, 16]})     # doctest: +SKIP
>>> crop.grow(num_workers=4)                                  # doctest: +SKIP
>>> ds = crop.reap()                                          # doctest: +SKIP

Names are loaded when they are first used: a worker that only grows imports numpy
and cloudpickle and nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cropfit._version import __version__

if TYPE_CHECKING:
    from cropfit.catalogue import Catalogue, fit_catalogue
    from cropfit.crop import Crop
    from cropfit.errors import (
        CaseError,
        ConflictError,
        CropError,
        DamagedError,
        DesignError,
        ExistsError,
        ForeignFileError,
        FunctionError,
        LikelihoodError,
        MissingDependencyError,
        NotFoundError,
        NotReadyError,
        ResultError,
        StageError,
    )
    from cropfit.farming.accessor import load_dataset, open_dataset
    from cropfit.farming.cultivate import cultivate, sow
    from cropfit.farming.files import load_ds, save_ds, save_merge_ds, trimna
    from cropfit.farming.harvester import Harvester
    from cropfit.farming.label import label
    from cropfit.farming.runner import Runner
    from cropfit.farming.runners import (
        case_runner,
        case_runner_to_df,
        case_runner_to_ds,
        combo_runner,
        combo_runner_to_df,
        combo_runner_to_ds,
    )
    from cropfit.farming.sampler import Sampler
    from cropfit.fitting.fit import fit
    from cropfit.fitting.model import Model
    from cropfit.fitting.pipeline.command import Command
    from cropfit.fitting.pipeline.cosmosis import CosmoSIS
    from cropfit.fitting.pipeline.inherit import around
    from cropfit.fitting.pipeline.run import Pipeline
    from cropfit.fitting.pipeline.stage import Stage
    from cropfit.fitting.priors import (
        Conditional,
        Distribution,
        Fixed,
        LogNormal,
        LogUniform,
        Normal,
        Uniform,
    )
    from cropfit.fitting.result import Fit
    from cropfit.rounds.rounds import auto_grow
    from cropfit.shortcuts import grow, load_crops
    from cropfit.work.care import Status
    from cropfit.work.context import Case, current_case
    from cropfit.work.report import GrowReport

_WHERE = {
    "Catalogue": "cropfit.catalogue",
    "fit_catalogue": "cropfit.catalogue",
    "Crop": "cropfit.crop",
    "auto_grow": "cropfit.rounds.rounds",
    "load_crops": "cropfit.shortcuts",
    "grow": "cropfit.shortcuts",
    "load_dataset": "cropfit.farming.accessor",
    "open_dataset": "cropfit.farming.accessor",
    "Case": "cropfit.work.context",
    "current_case": "cropfit.work.context",
    "GrowReport": "cropfit.work.report",
    "Harvester": "cropfit.farming.harvester",
    **dict.fromkeys(("load_ds", "save_ds", "save_merge_ds", "trimna"), "cropfit.farming.files"),
    "Runner": "cropfit.farming.runner",
    "cultivate": "cropfit.farming.cultivate",
    "sow": "cropfit.farming.cultivate",
    "Sampler": "cropfit.farming.sampler",
    "label": "cropfit.farming.label",
    "Status": "cropfit.work.care",
    "Fit": "cropfit.fitting.result",
    "Model": "cropfit.fitting.model",
    "fit": "cropfit.fitting.fit",
    "Command": "cropfit.fitting.pipeline.command",
    "CosmoSIS": "cropfit.fitting.pipeline.cosmosis",
    "Pipeline": "cropfit.fitting.pipeline.run",
    "Stage": "cropfit.fitting.pipeline.stage",
    "around": "cropfit.fitting.pipeline.inherit",
    **dict.fromkeys(
        (
            "Conditional",
            "Distribution",
            "Fixed",
            "LogNormal",
            "LogUniform",
            "Normal",
            "Uniform",
        ),
        "cropfit.fitting.priors",
    ),
    **dict.fromkeys(
        (
            "case_runner",
            "case_runner_to_df",
            "case_runner_to_ds",
            "combo_runner",
            "combo_runner_to_df",
            "combo_runner_to_ds",
        ),
        "cropfit.farming.runners",
    ),
    **dict.fromkeys(
        (
            "CaseError",
            "ConflictError",
            "CropError",
            "DamagedError",
            "DesignError",
            "ExistsError",
            "ForeignFileError",
            "FunctionError",
            "LikelihoodError",
            "MissingDependencyError",
            "NotFoundError",
            "NotReadyError",
            "ResultError",
            "StageError",
        ),
        "cropfit.errors",
    ),
}

__all__ = [
    "Case",
    "CaseError",
    "Catalogue",
    "Command",
    "Conditional",
    "ConflictError",
    "CosmoSIS",
    "Crop",
    "CropError",
    "DamagedError",
    "DesignError",
    "Distribution",
    "ExistsError",
    "Fit",
    "Fixed",
    "ForeignFileError",
    "FunctionError",
    "GrowReport",
    "Harvester",
    "LikelihoodError",
    "LogNormal",
    "LogUniform",
    "MissingDependencyError",
    "Model",
    "Normal",
    "NotFoundError",
    "NotReadyError",
    "Pipeline",
    "ResultError",
    "Runner",
    "Sampler",
    "Stage",
    "StageError",
    "Status",
    "Uniform",
    "__version__",
    "around",
    "auto_grow",
    "case_runner",
    "case_runner_to_df",
    "case_runner_to_ds",
    "combo_runner",
    "combo_runner_to_df",
    "combo_runner_to_ds",
    "cultivate",
    "current_case",
    "fit",
    "fit_catalogue",
    "grow",
    "label",
    "load_crops",
    "load_dataset",
    "load_ds",
    "open_dataset",
    "save_ds",
    "save_merge_ds",
    "sow",
    "trimna",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cropfit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
