"""`Crop`: sow, grow and reap, and see how it goes. It delegates; nothing is decided here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from cropfit.carrying import Carried
from cropfit.disk.functions import short_name
from cropfit.disk.layout import check_name, folder_of, name_of
from cropfit.errors import DesignError, NotFoundError
from cropfit.find import find_crop
from cropfit.picturing import Pictured
from cropfit.progress import PATIENCE, Bar, Progress
from cropfit.queueing import Queued
from cropfit.tending import Batches
from cropfit.work.employ import Terms, conclude, employ
from cropfit.work.limits import Duration
from cropfit.work.report import GrowReport
from cropfit.work.slots import Affinities, Gpus

if TYPE_CHECKING:
    from cropfit.farming.farmer import Farmer
    from cropfit.grid import Grid
    from cropfit.work.request import Measure
    from cropfit.work.sow import Exists

LEASE = 120.0  # seconds; well above the stalls that network file systems have
MAX_DEATHS = 3


class Crop(Queued, Carried, Pictured):
    """One sowing: a function, its cases, and the folder that holds them.

    Parameters
    ----------
    fn : callable, optional
        What to call for each case. Not needed for a crop that is sown already.
    name : str, optional
        Names the folder ``.crop-<name>``; by default the function's name.
    parent_dir : path, optional
        Where the folder stands; by default the current folder.
    batchsize : int, optional
        Cases a batch.
    num_batches : int, optional
        Number of batches. With neither, one case a batch up to 1000 batches, and
        evenly filled ones beyond.
    shuffle : bool or int
        Spread the cases over the batches at random; a number is the seed.
    var_names : str or sequence of str, optional
        Names of what the function returns. Without them results are a list in
        case order, unless the function returns a dict, Dataset or DataArray.
    var_dims : mapping, optional
        Name → inner dimensions, for outputs that are arrays.
    var_coords : mapping, optional
        Inner dimension → its coordinate.
    var_attrs : mapping, optional
        Name → attributes, such as ``{"units": "Msun"}``.
    attrs : mapping, optional
        Attributes of the Dataset.
    constants, resources : mapping, optional
        Arguments that are the same for every case. Resources are not recorded.
    lease : float
        Seconds without a sign of life after which a worker on another host
        counts as dead.
    max_deaths : int
        How many workers may die in one case before it counts as failed.
    verbosity : int
        0 says nothing; 1 says what was done, with bars where somebody looks.
    farmer : Runner, Harvester or Sampler, optional
        Gives the function, its outputs and constants, and takes in what is reaped.

    Examples
    --------
    >>> crop = Crop(fn=simulate, name="grid", var_names=["energy"])  # doctest: +SKIP
    >>> crop.sow_combos({"temperature": [0.1, 0.2], "size": [8, 16]})  # doctest: +SKIP
    >>> crop.grow()  # doctest: +SKIP
    >>> ds = crop.reap()  # doctest: +SKIP
    """

    def __init__(
        self,
        fn: Callable[..., Any] | None = None,
        name: str | None = None,
        *,
        parent_dir: str | os.PathLike[str] | None = None,
        batchsize: int | None = None,
        num_batches: int | None = None,
        shuffle: bool | int = False,
        var_names: str | Iterable[str] | None = None,
        var_dims: Any = None,
        var_coords: Mapping[str, Any] | None = None,
        var_attrs: Mapping[str, Mapping[str, Any]] | None = None,
        attrs: Mapping[str, Any] | None = None,
        constants: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        lease: float = LEASE,
        max_deaths: int = MAX_DEATHS,
        verbosity: int = 1,
        farmer: Farmer | None = None,
    ) -> None:
        outputs = {
            "var_names": var_names,
            "var_dims": var_dims,
            "var_coords": var_coords,
            "var_attrs": var_attrs,
            "attrs": attrs,
        }
        if farmer is not None:
            from cropfit.farming.farmer import equip

            fn, outputs, constants, resources = equip(farmer, fn, outputs, constants, resources)
        if name is None and fn is None:
            raise DesignError("A crop needs a function or a name: Crop(fn=...) or Crop(name=...).")
        name = short_name(fn) if name is None else name
        root = folder_of(os.path.abspath(parent_dir or os.getcwd()), check_name(name))
        super().__init__(root, name, verbosity)
        self.fn = fn
        self.batchsize = batchsize
        self.num_batches = num_batches
        self.shuffle = shuffle
        self.constants = dict(constants or {})
        self.resources = dict(resources or {})
        self.lease = float(lease)
        self.max_deaths = max_deaths
        self._declared = outputs
        self._farmer = farmer

    @classmethod
    def load(cls, crop: str | os.PathLike[str] | None = None, **options: Any) -> Crop:
        """The crop of that name or in that folder.

        Parameters
        ----------
        crop : str or path, optional
            A name (looked for in the current folder), a path of a crop's folder, or
            None: the current folder if it is a crop, or the only crop in it.

        Raises
        ------
        NotFoundError
            There is none, or more than one could be meant.
        """
        folder = find_crop(None if crop is None else os.fspath(crop))
        found = cls(name=name_of(folder), parent_dir=os.path.dirname(folder), **options)
        found._root = folder  # which may go by another name, as a link does
        found._manifest()
        return found

    # -- sow -----------------------------------------------------------------------

    def sow_combos(
        self,
        combos: Any,
        cases: Any = None,
        *,
        constants: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        shuffle: bool | int | None = None,
        seed: int | None = None,
        cost: Measure = None,
        priority: Measure = None,
        batchsize: int | None = None,
        num_batches: int | None = None,
        exists: Exists = "keep",
    ) -> None:
        """Put all combinations of values on disk as batches to be grown.

        Parameters
        ----------
        combos : mapping
            Name → values. A tuple of names takes tuples of values that belong
            together: ``{("a", "b"): [(1, 2), (3, 4)]}``. Values that are objects
            take their labels from a mapping: ``{"galaxy": {"NGC3198": arrays}}``.
        cases : list of mappings, optional
            Explicit cases; every case is combined with every combination.
        constants, resources : mapping, optional
            Further arguments for every case.
        shuffle : bool or int, optional
            Spread cases over the batches at random; a number is the seed.
        seed : int, optional
            Root of the random numbers that cases get by `current_case`; drawn and
            recorded if not given.
        cost : callable or array-like, optional
            Expected cost of each case: the longest are dealt out first, so that
            batches take equally long.
        priority : callable or array-like, optional
            The lower, the earlier: batch 1 holds the most urgent cases.
        batchsize, num_batches : int, optional
            As of the crop.
        exists : {"keep", "replace", "append"}
            Where the crop stands already: the same design is left as it is, with all
            its results. Another one is refused, or replaced, or its new cases added.

        Raises
        ------
        DesignError, FunctionError
            The request cannot be sown; says what is wrong. Nothing was written.
        ExistsError
            The crop stands there with another design; lists what differs.
        CropError
            The disk is full, read-only or missing. Nothing was left behind.

        Notes
        -----
        A grid is stored as its axes: the cost follows the number of batches.
        """
        from cropfit.grid import build_grid

        options: dict[str, Any] = {
            "constants": constants,
            "resources": resources,
            "shuffle": shuffle,
            "seed": seed,
            "cost": cost,
            "priority": priority,
            "batchsize": batchsize,
            "num_batches": num_batches,
        }
        self.sow_grid(build_grid(combos, cases), exists=exists, **options)

    def sow_cases(self, fn_args: Any, cases: Any, combos: Any = None, **options: Any) -> None:
        """Put explicit cases on disk as batches to be grown.

        Parameters
        ----------
        fn_args : str or sequence of str
            Names of the arguments, in the order in which `cases` gives them.
        cases : list of tuples or mappings, or DataFrame
            One row a case.
        combos : mapping, optional
            Every case is combined with every combination of these.
        **options
            As of `sow_combos`.
        """
        from cropfit.grid import build_grid

        self.sow_grid(build_grid(combos or {}, cases, fn_args), **options)

    def sow_samples(
        self,
        n: int,
        combos: Mapping[str, Any] | None = None,
        *,
        method: Literal["random", "latin", "sobol"] = "random",
        seed: int | None = None,
        **options: Any,
    ) -> None:
        """Sow `n` samples as `Sampler.sample_combos` draws them; options as of `sow_combos`."""
        from cropfit.farming.farmer import draw_for

        if seed is None and self.is_prepared():  # the same again: it keeps its seed
            seed = int(self._manifest().data["seed"])
        drawn = draw_for(self.farmer, n, combos, method, seed)
        self.sow_grid(drawn.grid, told=drawn.told, **{**options, "seed": drawn.seed})

    def sow_grid(
        self, grid: Grid, *, exists: Exists = "keep", told: Mapping[str, Any] = {}, **options: Any
    ) -> None:
        """Sow what was read already, as `sow_combos` does; `told` joins the farmer's record."""
        from cropfit.farming.sowing import request_of
        from cropfit.work.sow import sow

        request = request_of(self, grid, self._declared, self._farmer, options, told)
        terms: Any = {"exists": exists, "lease": self.lease, "max_deaths": self.max_deaths}
        with Progress(self.verbosity, 1, what="sow", unit="", delay=PATIENCE) as bar:
            done = sow(self._root, request, **terms, progress=bar.tell)
        self.say(done)

    # -- grow ----------------------------------------------------------------------

    def grow(
        self,
        batches: Batches = None,
        *,
        num_workers: int | None = None,
        on_error: Literal["record", "raise"] = "record",
        retries: int = 0,
        max_fails: int | None = None,
        max_batches: int | None = None,
        steal: bool = False,
        wait: bool = False,
        walltime: Duration | None = None,
        deadline: float | datetime | str | None = None,
        fresh: bool = False,
        timeout: Duration | None = None,
        max_memory: int | None = None,
        num_threads: int | None = None,
        mpi: bool | None = None,
        gpus: Gpus | None = None,
        affinities: Affinities | None = None,
        log: bool = False,
        n_pool: int | None = None,
        executor: Any = None,
        ship: bool = False,
    ) -> GrowReport:
        """Compute batches, here and now.

        Parameters
        ----------
        batches : int or list of int, optional
            Which ones, failed ones included; by default whatever is left, shared
            with all other workers on any host.
        num_workers : int, optional
            Grow in so many new processes instead of this one.
        on_error : {"record", "raise"}
            Whether to go on after a case that raises. It is recorded in any case.
        retries : int
            How often such a case is tried again at once.
        max_fails : int, optional
            Leave after so many failed cases.
        max_batches : int, optional
            Leave after so many batches, all new processes together.
        steal : bool
            Take the named batches even from workers that seem alive.
        wait : bool
            Stay until batches that others grow are finished too.
        walltime : duration, optional
            Begin nothing that cannot be expected to end within it: seconds,
            ``"1:30:00"``, ``"1-12:00:00"`` or a timedelta. By default what the
            scheduler's environment tells.
        deadline : float, datetime or str, optional
            The same as a moment.
        fresh : bool
            A new process for every batch, so that a crash costs one case.
        timeout : duration, optional
            What a case may take, with ``fresh=True``.
        max_memory : int, optional
            Bytes that a case may hold, with ``fresh=True``.
        num_threads : int, optional
            Thread cap for numerical libraries, with new processes.
        mpi : bool, optional
            Whether all ranks of an ``mpiexec`` compute each case together, rank 0
            alone writing. By default if the function uses mpi4py; otherwise each rank
            is a worker of its own.
        gpus : str or sequence, optional
            A device for each of `num_workers` new processes, by default as many as are
            named: ``"0,0,1,1"`` lets two workers share each of two GPUs.
        affinities : str or sequence, optional
            Cores for each of them: ``"0-3,4-7"``, or ``[[0, 1], [2, 3]]``.
        log : bool
            Grow in new processes, and keep what the function prints; see `log`.
        n_pool : int, optional
            How many processes a case may start, for functions that ask
            ``cf.current_case().n_pool``: fits compute their likelihood in so many.
        executor : str or pool, optional
            Grow by the workers of a pool: what has ``submit`` or ``apply_async``, or by
            name: "loky", "threads", "processes", "dask", "ray", "mpi", "joblib". They must
            see the crop's folder, unless `ship`. A given pool stays open.
        ship : bool
            Send batches through the executor, and write here what comes back.

        Returns
        -------
        GrowReport
            What was done, and why it ended.

        Raises
        ------
        CaseError
            A case raised and `on_error` is "raise".
        KeyboardInterrupt, SystemExit
            Interrupted; what is finished is recorded and the batch given back.
        """
        terms = Terms(
            batches,
            num_workers,
            on_error,
            retries,
            max_fails,
            max_batches,
            steal,
            wait,
            walltime,
            deadline,
            fresh,
            timeout,
            max_memory,
            num_threads,
            mpi,
            gpus,
            affinities,
            log,
            n_pool,
        )
        manifest, ledger = self._open()
        with Bar(self.verbosity, manifest.num_batches, ledger) as bar:
            if executor is None and not ship:
                report = employ(manifest, ledger, terms, bar)
            else:
                from cropfit.engines.executors import employ_pool

                report = employ_pool(manifest, ledger, terms, executor, bar, ship=ship)
        return GrowReport() if report is None else conclude(report, self._root, self.say)

    def grow_missing(self, **options: Any) -> GrowReport:
        """Grow whatever is not grown, failed batches included; options as of `grow`."""
        self.retry()
        return self.grow(**options)

    def rehearse(self, batch: int | None = None) -> GrowReport:
        """Grow one batch in a fresh interpreter, before a thousand are submitted.

        Raises
        ------
        CaseError
            A case of it raised.
        """
        numbers = self._open()[1].numbers("sown")
        if batch is None and not numbers:
            raise NotFoundError(f"{self._root} has no batch left to rehearse.")
        return self.grow(numbers[0] if batch is None else batch, num_workers=1, on_error="raise")
