"""What a worker does with one object: load, fit, analyse, draw, and tell it as text."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cropfit.errors import DesignError
from cropfit.fitting.catalogue.chains import chain_folder, check_former, run_chain, to_fit
from cropfit.fitting.catalogue.rows import ENDINGS, NUMBERS, TEXT, pack_draws, to_row, to_text
from cropfit.fitting.catalogue.targets import Target
from cropfit.fitting.fit import fit
from cropfit.fitting.model import Model
from cropfit.fitting.pipeline.result import PipelineResult
from cropfit.fitting.pipeline.run import Pipeline
from cropfit.fitting.result import Fit
from cropfit.work.context import Case, current_case


@dataclass(frozen=True)
class Recipe:
    """The function that a catalogue's crop grows.

    Parameters
    ----------
    model : Model or Pipeline
        Of objects without a model of their own.
    load_data : callable or None
        ``load_data(id)`` → data; None if the data came with the objects.
    options : mapping
        Of `cropfit.fit`.
    n_posterior : int
        Posterior draws that are kept of each object.
    analysis : callable, optional
        ``analysis(fit)`` → mapping of name → number or text, further columns.
    plots : str
        Folder for pictures, relative to the crop's parent; "" for none.
    chains : str
        The crop that keeps the stages which other crops do before it; "" if this one does all.
    """

    model: Model | Pipeline
    load_data: Callable[[Any], Any] | None
    options: Mapping[str, Any] = field(default_factory=dict)
    n_posterior: int = 500
    analysis: Callable[[Fit], Mapping[str, Any]] | None = None
    plots: str = ""
    chains: str = ""

    def __call__(self, object: Target, **design: Any) -> tuple[str, str]:
        """Fit one object; its row and its posterior draws, as text."""
        case = current_case()
        found, of_stages = self._found(object, case.seed, self.kept(object, case))
        columns = {**of_stages, **self._analyse(found)}
        notes = self._draw(found, object, case) if self.plots else []
        row = to_row(object.id, found, columns, notes)
        return to_text(row), pack_draws(found, self.n_posterior)

    def fit(self, target: Target, seed: int, checkpoint: str | None = None) -> Fit:
        """Load an object's data and fit its model; `seed` unless it has its own."""
        return self._found(target, seed, checkpoint)[0]

    def _found(
        self, target: Target, seed: int, checkpoint: str | None
    ) -> tuple[Fit, dict[str, float]]:
        """The fit, and further columns: what the other stages of a pipeline found."""
        model, data, options = self.read(target, seed)
        if isinstance(model, Pipeline):
            return to_fit(self.run(model, data, options, checkpoint))
        return fit(model, data, **options, checkpoint=checkpoint, progress=False), {}

    def kept(self, target: Target, case: Case) -> str:
        """Where the fit goes on after a kill."""
        if self.chains:
            return chain_folder(case, self.chains, target.id)
        return os.path.join(case.checkpoint_dir, "fit")

    def read(self, target: Target, seed: int) -> tuple[Model | Pipeline, Any, dict[str, Any]]:
        """What is fitted, to what, and with which options."""
        data = self.load_data(target.id) if self.load_data else target.data
        told = current_case().n_pool
        pool = {} if told is None else {"n_pool": told if told > 1 else None}
        options = {"seed": seed, **self.options, **pool, **target.options}
        return target.fitted_by(self.model), data, options

    def run(
        self, model: Pipeline, data: Any, options: Mapping[str, Any], folder: str | None
    ) -> PipelineResult:
        """Run an object's pipeline; only its last stage, if other crops do those before."""
        if self.chains and folder is not None:
            check_former(model, data, folder, self.chains)
        return run_chain(model, data, options["seed"], folder, options.get("n_pool"))

    def _analyse(self, found: Fit) -> dict[str, Any]:
        if self.analysis is None:
            return {}
        columns = dict(self.analysis(found))
        taken = {"id", "object", "quantile", "sample", *TEXT, *NUMBERS, *found.fixed}
        taken |= {f"{name}{end}" for name in found.labels for end in ("", *ENDINGS)}
        for name, value in columns.items():
            plain = value.item() if hasattr(value, "item") else value
            if not isinstance(plain, (bool, int, float, str)):
                raise DesignError(
                    f"analysis gave {value!r} for {name!r}; a column takes a number or a text."
                )
            if name in taken or not isinstance(name, str) or not name or "/" in name:
                raise DesignError(f"analysis cannot name a column {name!r}: take another name.")
            columns[name] = plain
        return columns

    def _draw(self, found: Fit, target: Target, case: Case) -> list[str]:
        """Save pictures beside the crop; what went wrong is noted, not worth a fit."""
        crop = os.path.dirname(os.path.dirname(case.folder))
        folder = os.path.join(os.path.dirname(crop), self.plots)
        notes = []
        for kind, draw in pictures(found).items():
            try:
                os.makedirs(folder, exist_ok=True)
                _save(draw(), os.path.join(folder, picture_name(target.id, kind)))
            except Exception as error:
                why = str(error).split("\n")[0]
                notes.append(f"no {kind} picture: {type(error).__name__}: {why}")
        return notes


@dataclass(frozen=True)
class StageRecipe:
    """The function that the crop of one stage grows; its value stays in the chain's folder.

    Parameters
    ----------
    recipe : Recipe
        Of the catalogue.
    stage : str
        Which.
    """

    recipe: Recipe
    stage: str

    def __call__(self, object: Target, **design: Any) -> float:
        """Do the stage of one object; the seconds that it took."""
        case = current_case()
        pipeline, data, options = self.recipe.read(object, case.seed)
        if not isinstance(pipeline, Pipeline):
            raise DesignError(
                f"{object.id!r} has no stage {self.stage!r}: it is fitted by a model."
            )
        places = [stage.name for stage in pipeline.stages].index(self.stage)
        begin = Pipeline(pipeline.stages[: places + 1], name=pipeline.name)
        result = self.recipe.run(begin, data, options, self.recipe.kept(object, case))
        return result.stages[-1].seconds


def pictures(found: Fit) -> dict[str, Callable[[], Any]]:
    """What is drawn of an object: its corner plot, and its fit where the model predicts."""
    drawn: dict[str, Callable[[], Any]] = {"corner": found.plot_corner}
    if found.model is not None and found.model.predict is not None:
        drawn["fit"] = found.plot_fit
    return drawn


def picture_name(key: str | int, kind: str) -> str:
    """File name of a picture, whatever characters the id has."""
    return f"{quote(str(key), safe=' +=,@()[]')}-{kind}.png"


def _save(figure: Any, path: str) -> None:
    from cropfit.disk.owner import Owner
    from cropfit.disk.publish import DRAFT

    draft = f"{path}.{Owner.here()}{DRAFT}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure.savefig(draft, format="png", dpi=120)
        os.replace(draft, path)
    finally:
        import matplotlib.pyplot as plt

        plt.close(figure)
        if os.path.exists(draft):
            os.unlink(draft)
