"""`fit_catalogue`: many objects, one model, any number of machines, nothing lost.

fit_catalogue(ids, model, load_data) ──sow──▶ a crop of labelled objects
.grow() / cropfit grow / .submit()          each object's fit, checkpoints inside its case
.merge()                                    the table so far, at any time
.reap()                                     Dataset, saved; then the crop goes
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from cropfit.attributes import to_plain
from cropfit.crop import LEASE, Crop
from cropfit.errors import DesignError, NotFoundError
from cropfit.fitting.catalogue.keeper import Keeper
from cropfit.fitting.catalogue.merging import DRAWS, OBJECT, ROW
from cropfit.fitting.catalogue.targets import Target, read_targets
from cropfit.picturing import PicturedCatalogue
from cropfit.work.context import Case

if TYPE_CHECKING:
    import pandas as pd

    from cropfit.fitting.catalogue.recipe import Recipe
    from cropfit.fitting.model import Model
    from cropfit.fitting.pipeline.run import Pipeline
    from cropfit.fitting.result import Fit
    from cropfit.work.sow import Exists

__all__ = ["Catalogue", "fit_catalogue"]


class Catalogue(PicturedCatalogue, Crop):
    """The fits of many objects: a crop, and the table that it becomes.

    Made by `fit_catalogue`, or from disk by ``Catalogue.load(run)``. All that a crop can do
    it can: `grow` here or on any host, `submit`, `status`, `errors`, `watch`, `stop`.
    """

    @classmethod
    def load(cls, crop: str | os.PathLike[str] | None = None, **options: Any) -> Catalogue:
        """The catalogue of that name or in that folder; see `Crop.load`.

        Raises
        ------
        NotFoundError
            There is none, or it is a crop that `fit_catalogue` did not sow.
        """
        found = super().load(crop, **options)
        if not isinstance(found, Catalogue) or not isinstance(found.farmer, Keeper):
            raise NotFoundError(f"{found.location} is no catalogue: fit_catalogue did not sow it.")
        return found

    def merge(self, to: str | os.PathLike[str] | None = None) -> pd.DataFrame:
        """The catalogue so far, one row an object; also written to a file.

        May be called at any time, from any process: workers do not notice.

        Parameters
        ----------
        to : path, optional
            A ``.csv``, ``.ecsv``, ``.fits``, ``.parquet`` or ``.nc`` file, replaced whole; by
            default the catalogue's own, ``<run>.csv`` beside the crop. CSV holds no units.

        Returns
        -------
        pandas.DataFrame
            By id: ``status`` (done, failed, fitting, waiting, ignored), ``<param>_16``, ``_50``,
            ``_84`` and ``_best``, or ``<param>`` where it is fixed, columns of the analysis, log
            evidence and its error, ess, calls, seconds. Units are in ``.attrs["units"]``.

        Notes
        -----
        Reads the batches that were finished since the last merge, then writes the whole
        table: 0.1 ms an object, and 0.5 ms for each that is new.
        """
        from cropfit.fitting.catalogue.merging import merge
        from cropfit.fitting.catalogue.table import to_frame, write_table

        frame = to_frame(merge(*self._open()))
        path = os.path.abspath(to) if to is not None else self.table
        write_table(frame, path)
        return frame

    @property
    def table(self) -> str:
        """The file that `merge` writes."""
        return os.path.join(os.path.dirname(self._root), self._keeper().table)

    def backlog(self) -> int:
        """Finished batches that no merge has taken in yet."""
        from cropfit.fitting.catalogue.merging import backlog

        return backlog(*self._open())

    def ids(self) -> list[str | int]:
        """All objects, in the order in which they were sown."""
        from cropfit.fitting.catalogue.merging import ids_of

        return ids_of(self._manifest())

    def add(self, ids: Any, settings: Any = None) -> None:
        """Add objects to a catalogue, while others are being fitted.

        Parameters
        ----------
        ids : iterable, or mapping of id to data
            Those that it has already are left as they are.
        settings : mapping or table, optional
            As of `fit_catalogue`.
        """
        from cropfit.farming.farmer import declared

        recipe = self._recipe()
        _check_data(ids, recipe.load_data)
        there = set(self.ids())
        targets = read_targets(ids, settings, recipe.model)
        new = {key: target for key, target in targets.items() if key not in there}
        if not new:
            self.say(f"{self.name}: all {len(targets)} objects are in it already.")
            return
        self.fn, self.constants = recipe, self._keeper().runner.constants
        self._declared = declared(self._manifest().outputs)
        self.sow_combos({OBJECT: new}, exists="append")

    def reap(self, to: str | os.PathLike[str] | bool | None = None, **options: Any) -> Any:
        """The Dataset of all objects, saved and verified; then the crop is deleted.

        Parameters
        ----------
        to : path or False, optional
            The ``.nc`` file or ``.zarr`` store, by default ``<run>.nc`` beside the crop. False
            keeps the Dataset in memory, and the crop.
        **options
            As of `Crop.reap`; ``load=False`` gives the Dataset as it is opened from its file, so
            that draws of many objects are never in memory at once.

        Returns
        -------
        xarray.Dataset
            ``<param>`` (object, quantile), ``<param>_best`` (object), ``<param>_sample`` (object,
            sample), log evidence and other numbers an object.
        """
        return super().reap(to, **options)

    def peek(self, **options: Any) -> Any:
        """The Dataset of what there is by now; nothing is saved or deleted."""
        wanted = {**options, **self._keeper().reaps_with}
        return self._keeper().collect(super().peek(**wanted), sync=False)

    def fit(self, key: str | int) -> Fit:
        """Fit one object here and now, as its worker would; for a closer look.

        Raises
        ------
        NotFoundError
            It is not in the catalogue.
        """
        manifest = self._manifest()
        for number, sown in enumerate(manifest.sowings):
            labels = sown.grid.axes[OBJECT].labels.tolist()
            if key in labels:
                place = labels.index(key)
                target = manifest.readers(number)[OBJECT](place)
                case = Case(int(manifest.data["seed"]))
                case.index = sown.first_case + place
                return self._recipe().fit(target, case.seed)
        raise NotFoundError(f"{self._root} has no object {key!r}; it has {len(self.ids())} others.")

    def _keeper(self) -> Keeper:
        keeper: Keeper = self.farmer
        return keeper

    def _recipe(self) -> Recipe:
        """What its workers do.

        Raises
        ------
        CropError
            The model cannot be loaded in this Python; says why.
        """
        recipe: Any = self._keeper().runner.fn
        if not hasattr(recipe, "model"):
            recipe()  # stands for one that cannot be loaded, and says so
        return cast("Recipe", recipe)


def fit_catalogue(
    ids: Any,
    model: Model | Pipeline,
    load_data: Callable[[Any], Any] | None = None,
    *,
    settings: Any = None,
    run: str = "catalogue",
    parent_dir: str | os.PathLike[str] | None = None,
    sampler: str = "dynesty",
    n_live: int | None = None,
    dlogz: float | None = None,
    seed: int | None = None,
    max_calls: int | None = None,
    timeout: Any = None,
    checkpoint_every: float = 60.0,
    n_pool: int | None = None,
    n_posterior: int = 500,
    analysis: Callable[[Fit], Mapping[str, Any]] | None = None,
    plots: bool = False,
    crop_per_stage: bool = False,
    table: str = "csv",
    exists: Exists = "keep",
    batchsize: int | None = None,
    num_batches: int | None = None,
    lease: float = LEASE,
    verbosity: int = 1,
    **sampler_options: Any,
) -> Catalogue:
    """Sow the fits of many objects.

    Nothing is fitted yet: ``.grow()`` does that here, ``cropfit grow <run>`` on any host that
    sees the folder. The same call again, in any session, gives the same catalogue with all
    that is done.

    Parameters
    ----------
    ids : iterable of str or int, or mapping of id to data
        The objects.
    model : Model or Pipeline
        Of all objects that have no other in `settings`. Each object runs its own pipeline inside
        its case; its row is the last fit's, with columns ``<stage>.<name>`` of the others.
    load_data : callable, optional
        ``load_data(id)`` → data, called on the worker. Not needed where `ids` has the data.
    settings : mapping of id to mapping, or DataFrame or astropy Table, optional
        What differs for an object, by its id: a parameter's number (which fixes it), number
        and ``<name>_sigma`` (a normal prior, cut off at three of them) or prior; "model"; and
        "sampler", "n_live", "dlogz", "max_calls", "timeout", "seed".
    run : str
        Names the crop, ``<run>.csv``, ``<run>.nc`` and ``<run>-plots``.
    parent_dir : path, optional
        Where they stand; by default the current folder.
    sampler, n_live, dlogz, max_calls, timeout, checkpoint_every
        As of `cropfit.fit`.
    seed : int, optional
        Of the whole catalogue: every object has its own by it and the order of sowing.
    n_pool : int, optional
        Processes that compute the likelihood of one object, unless `Catalogue.grow` says
        otherwise; by default one core an object.
    n_posterior : int
        Posterior draws that are kept of each object; 0 for none.
    analysis : callable, optional
        ``analysis(fit)`` → mapping of name → number or text: further columns.
    plots : bool
        Save corner and fit pictures of each object in ``<run>-plots`` as it ends.
    crop_per_stage : bool
        Of a pipeline: its last stage is the catalogue's, and each one before has a crop of its
        own, ``<run>-<stage>``. `submit` gives each its own resources, and lets it wait.
    table : {"csv", "ecsv", "fits", "parquet", "nc"}
        What `Catalogue.merge` writes: ``<run>.csv``; netCDF as ``<run>-table.nc``.
    exists : {"keep", "replace", "append"}
        Where the catalogue stands already; "append" adds the objects that are new.
    batchsize, num_batches : int, optional
        Objects a worker takes at a time; by default one, up to 1000 batches.
    lease, verbosity
        As of `Crop`.
    **sampler_options
        As of the sampler.

    Returns
    -------
    Catalogue

    Raises
    ------
    DesignError
        Ids come twice, settings name what is not there; says where. Nothing was written.
    ExistsError
        The catalogue stands there with another design; lists what differs.
    """
    from cropfit.farming.runner import Runner
    from cropfit.fitting.catalogue.recipe import Recipe
    from cropfit.fitting.catalogue.table import WRITERS

    if f".{table}" not in WRITERS:
        raise DesignError(f"table={table!r} is not one of {', '.join(w[1:] for w in WRITERS)}.")
    _check_data(ids, load_data)
    targets = read_targets(ids, settings, model)
    terms = {"sampler": sampler, "n_live": n_live, "dlogz": dlogz, "max_calls": max_calls}
    options = {**terms, "timeout": timeout, **sampler_options}
    options = _checked(model, options, targets.values())
    recipe = Recipe(
        model,
        load_data,
        {**options, "checkpoint_every": checkpoint_every, "n_pool": n_pool},
        n_posterior,
        analysis,
        f"{run}-plots" if plots else "",
        run if crop_per_stage else "",
    )
    design = _design(model, options, n_posterior)
    runner = Runner(recipe, [ROW, DRAWS], constants=design)
    parent = os.path.abspath(parent_dir or os.getcwd())
    stem = f"{run}-table" if table == "nc" else run  # <run>.nc is what a reap writes
    keeper = Keeper(runner, f"{parent}/{run}.nc", f"{stem}.{table}")
    kind = _staged(model, targets.values()) if crop_per_stage else Catalogue
    catalogue = kind(name=run, parent_dir=parent, farmer=keeper, lease=lease, verbosity=verbosity)
    if exists == "keep" and catalogue.is_prepared():
        targets = _as_sown(catalogue, targets)
    catalogue.sow_combos(
        {OBJECT: targets},
        seed=seed,
        batchsize=batchsize,
        num_batches=num_batches,
        exists=exists,
    )
    return catalogue


def _staged(model: Model | Pipeline, targets: Iterable[Target]) -> type[Catalogue]:
    """The kind of a catalogue whose stages are crops of their own."""
    from cropfit.fitting.pipeline.run import Pipeline
    from cropfit.staged import StagedCatalogue

    if not isinstance(model, Pipeline):
        raise DesignError("crop_per_stage=True wants a Pipeline instead of a model.")
    names = [stage.name for stage in model.stages]
    for target in targets:
        own = target.model
        if own is not None and [s.name for s in getattr(own, "stages", ())] != names:
            raise DesignError(f"{target.id!r}: its model must have the stages {', '.join(names)}.")
    return StagedCatalogue


def _check_data(ids: Any, load_data: Callable[[Any], Any] | None) -> None:
    if load_data is None and not isinstance(ids, Mapping):
        raise DesignError("Give load_data=, which loads an object by its id, or ids as id → data.")


def _as_sown(catalogue: Catalogue, targets: dict[str | int, Target]) -> dict[str | int, Target]:
    """The same objects in the order in which they stand: ids are keys, never positions."""
    ids = catalogue.ids()
    return {key: targets[key] for key in ids} if targets.keys() == set(ids) else targets


def _checked(
    model: Model | Pipeline, options: dict[str, Any], targets: Iterable[Target]
) -> dict[str, Any]:
    """The options of the fits; none for a pipeline, whose stages have their own."""
    from cropfit.fitting.catalogue.chains import check_chain
    from cropfit.fitting.pipeline.run import Pipeline

    if not isinstance(model, Pipeline):
        return options
    is_default = options.get("sampler") == "dynesty"
    check_chain(model, {**options, "sampler": None} if is_default else options, targets)
    return {}


def _design(
    model: Model | Pipeline, options: Mapping[str, Any], n_posterior: int
) -> dict[str, Any]:
    """What must be the same for results to belong together, as plain values that can be told."""
    from cropfit.fitting.identity import identity
    from cropfit.fitting.pipeline.run import Pipeline

    parts = model.identity() if isinstance(model, Pipeline) else identity(model, None)
    parts.pop("the data", None)
    told = {f"model: {name}": digest for name, digest in parts.items()}
    plain = {name: value for name, value in options.items() if value is not None}
    return {**told, **dict(to_plain(plain)), "n_posterior": n_posterior}
