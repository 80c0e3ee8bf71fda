"""A catalogue of pipelines with one crop a stage, so that a queue gives each stage its own terms.

    gal-coarse ──object by object──▶ gal-refine ──object by object──▶ gal
        └──────────── values, in .crop-gal/chains/<id> ─────────────────┘

All are sown alike: batch k of each holds the same objects. What a stage takes over is
read when the object's turn comes, so that nobody waits for other objects.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cropfit.catalogue import Catalogue
from cropfit.crop import Crop
from cropfit.errors import DesignError, NotReadyError
from cropfit.fitting.catalogue.chains import CHAINS

if TYPE_CHECKING:
    from cropfit.tending import Batches
    from cropfit.work.report import GrowReport

__all__ = ["StagedCatalogue"]


class StagedCatalogue(Catalogue):
    """The catalogue of the last stage, and the crops of those before it.

    Made by ``fit_catalogue(..., crop_per_stage=True)``, in any session anew.
    """

    @property
    def stages(self) -> list[str]:
        """Their names, in order."""
        pipeline: Any = self._recipe().model
        return [stage.name for stage in pipeline.stages]

    @property
    def former(self) -> list[Crop]:
        """The crops of all stages but the last, ``<run>-<stage>``, in order."""
        from cropfit.fitting.catalogue.recipe import StageRecipe

        recipe, runner = self._recipe(), self._keeper().runner
        return [
            Crop(
                StageRecipe(recipe, name),
                f"{self.name}-{name}",
                parent_dir=os.path.dirname(self._root),
                var_names="seconds",
                constants=runner.constants,
                lease=self.lease,
                verbosity=self.verbosity,
            )
            for name in self.stages[:-1]
        ]

    def sow_combos(self, combos: Any, cases: Any = None, **options: Any) -> None:
        """Sow the same objects, with the same seed, for every stage."""
        super().sow_combos(combos, cases, **options)
        os.makedirs(os.path.join(self._root, CHAINS), mode=0o700, exist_ok=True)
        same = {**options, "seed": int(self._manifest().data["seed"])}
        for crop in self.former:
            crop.sow_combos(combos, cases, **same)

    def grow(self, batches: Any = None, **options: Any) -> GrowReport:
        """Grow one stage after the other, here and now; options as of `Catalogue.grow`."""
        for crop in self.former:
            crop.grow(batches, **{**options, "wait": True})
        return super().grow(batches, **options)

    def submit(
        self,
        scheduler: str | None = None,
        *,
        batches: Batches = None,
        of_stage: Mapping[str, Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> list[str]:
        """Hand all stages to a batch system; each object's stage waits for its former one.

        Parameters
        ----------
        scheduler, batches
            As of `Crop.submit`.
        of_stage : mapping, optional
            Stage → options that are its own, as ``{"fine": {"time": "8:00:00", "cpus": 8}}``.
        **options
            Of all stages, as of `Crop.script`.

        Returns
        -------
        list of str
            Ids of the jobs, stage after stage.

        Raises
        ------
        CropError
            The scheduler refuses, or cannot let a job wait.
        NotReadyError
            Nothing is left to submit.
        """
        from cropfit.engines.schedulers.dialect import find_dialect

        dialect = find_dialect(scheduler)
        if dialect.after is None:
            raise DesignError(
                f"{dialect.title} lets no job wait for another one: leave crop_per_stage=True out, "
                "or submit each of .former and then this when the one before is grown."
            )
        names = self.stages
        own = dict(of_stage or {})
        if strange := sorted(own.keys() - set(names)):
            raise DesignError(f"of_stage: there is no {strange[0]!r}; stages: {', '.join(names)}.")
        ids: list[str] = []
        before: Crop | None = None
        for name, crop in zip(names, [*self.former, self], strict=True):
            terms = {**options, **own.get(name, {})}
            try:
                ids += Crop.submit(crop, scheduler, batches=batches, after=before, **terms)
            except NotReadyError:
                if crop is self and not ids:
                    raise
            before = crop
        return ids

    def cancel(self) -> list[str]:
        """Take the jobs of all stages out of the queue, the last stage's first."""
        gone = super().cancel()
        for crop in reversed(self.former):
            gone += crop.cancel()
        return gone

    def clean(self) -> dict[str, int]:
        """Give failed and dead objects of every stage back; nobody alive is disturbed."""
        for crop in self.former:
            crop.clean()
            crop.retry()
        return super().clean()

    def stop(self) -> None:
        """Ask the workers of all stages to finish their case and leave."""
        super().stop()
        for crop in self.former:
            crop.stop()

    def delete(self, *, force: bool = False) -> None:
        """Delete the crops of all stages with all their results."""
        former = self.former
        super().delete(force=force)
        for crop in former:
            crop.delete(force=force)

    def reap(self, to: str | os.PathLike[str] | bool | None = None, **options: Any) -> Any:
        """The Dataset of all objects, as of `Catalogue.reap`; then all crops are deleted."""
        former = self.former
        ds = super().reap(to, **options)
        if not os.path.exists(self._root):
            for crop in former:
                crop.delete()
        return ds
