"""A stage that fits a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cropfit.errors import DesignError, NotReadyError
from cropfit.fitting.derived import derived_names
from cropfit.fitting.fit import fit
from cropfit.fitting.identity import identity, told
from cropfit.fitting.model import Model
from cropfit.fitting.pipeline.inherit import Rules, applied, check_model
from cropfit.fitting.pipeline.work import Found, Job
from cropfit.fitting.samplers import SAMPLERS

__all__ = ["Fitting"]

HOW_LONG = ("checkpoint_every", "progress", "timeout")  # do not change what is found
OURS = ("model", "data", "checkpoint", "n_pool")


@dataclass(frozen=True)
class Fitting:
    """A fit.

    Parameters
    ----------
    model : Model
    sampler : str
    options : mapping
        Of `cropfit.fit`.
    """

    model: Model
    sampler: str = "dynesty"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The sampler's name."""
        return self.sampler

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise DesignError(
                f"There is no sampler {self.sampler!r}; there are {', '.join(SAMPLERS)}."
            )
        wrong = [name for name in OURS if name in self.options]
        if wrong:
            raise DesignError(f"The option {wrong[0]!r} of a fit is the pipeline's to set.")

    def identity(self) -> dict[str, str]:
        """Digests of the model, sampler and options."""
        parts = identity(self.model, None)
        del parts["the data"]
        options = {name: told(v) for name, v in self.options.items() if name not in HOW_LONG}
        return {**parts, "the sampler": told(self.sampler), **_named("option", options)}

    def gives(self) -> set[str]:
        """All free parameters and derived quantities."""
        return {*self.model.names, *derived_names(self.model)}

    def check(self, stage: str, rules: Rules, known: set[str] | None) -> None:
        """Refuse what the model or the sampler cannot take over."""
        check_model(stage, rules, self.model, self.sampler, known)

    def asks_for(self) -> set[str]:
        """No templates."""
        return set()

    def do(self, job: Job) -> Found:
        """Fit, going on from the sampler's checkpoint if there is one."""
        model, start, inherited, notes = applied(
            job.name, job.rules, self.model, self.sampler, job.best
        )
        options = {"seed": job.seed, "progress": False, **self.options}
        if start:
            given = options.get("start")
            options["start"] = {**start, **given} if isinstance(given, Mapping) else start
        pool = {"pool": options.pop("pool")} if "pool" in options else {}
        if job.n_cores > 1 and not pool:
            pool = {"n_pool": job.n_cores}
        found = fit(
            model, job.data, sampler=self.sampler, checkpoint=job.path("fit"), **pool, **options
        )
        if not len(found):
            raise NotReadyError(f"the fit ended without a sample: {found.why}")
        if not found.converged:
            notes.append(f"not converged: {found.why}")
        return Found(found, inherited=inherited, notes=notes)

    def prepare(self, job: Job) -> list[str]:
        """Say what would be fitted; there are no files."""
        return [f"fit {', '.join(self.model.names)} with {self.sampler}"]


def _named(what: str, parts: Mapping[str, str]) -> dict[str, str]:
    return {f"{what} {name!r}": digest for name, digest in parts.items()}
