"""`Crop`: sow, grow and reap, and see how it goes. It delegates; nothing is decided here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from cropfit.disk.layout import check_name, folder_of, name_of
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest, read_manifest
from cropfit.disk.owner import Owner
from cropfit.errors import CaseError, DesignError, NotFoundError
from cropfit.find import crops_in, find_crop
from cropfit.progress import Bar
from cropfit.work.batch import Policy
from cropfit.work.grow import GrowReport, Worker
from cropfit.work.limits import Duration, find_deadline
from cropfit.work.limits import seconds as in_seconds

if TYPE_CHECKING:
    from cropfit.work.care import Status
    from cropfit.work.failures import Failure
    from cropfit.work.mpi import Ranks
    from cropfit.work.request import Measure
    from cropfit.work.target import Layout

LEASE = 120.0  # seconds; well above the stalls that network file systems have
MAX_DEATHS = 3

Batches = int | Iterable[int] | None


class Crop:
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
        0 says nothing, 1 says what was done, 2 shows progress on a terminal.

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
    ) -> None:
        if name is None:
            if fn is None:
                raise DesignError(
                    "A crop needs a function or a name: Crop(fn=...) or Crop(name=...)."
                )
            name = getattr(getattr(fn, "func", fn), "__name__", type(fn).__name__).strip("<>")
        self.fn = fn
        self.name = check_name(name)
        self.batchsize = batchsize
        self.num_batches = num_batches
        self.shuffle = shuffle
        self.constants = dict(constants or {})
        self.resources = dict(resources or {})
        self.lease = float(lease)
        self.max_deaths = max_deaths
        self.verbosity = verbosity
        self._declared = {
            "var_names": var_names,
            "var_dims": var_dims,
            "var_coords": var_coords,
            "var_attrs": var_attrs,
            "attrs": attrs,
        }
        self._root = folder_of(os.path.abspath(parent_dir or os.getcwd()), self.name)

    # -- where it is ---------------------------------------------------------------

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
        found._manifest()
        return found

    @property
    def location(self) -> str:
        """The crop's folder."""
        return self._root

    def _manifest(self) -> Manifest:
        return read_manifest(self._root)

    def _open(self) -> tuple[Manifest, Ledger]:
        manifest = self._manifest()
        return manifest, Ledger(manifest.layout, Owner.here(), float(manifest.data["lease"]))

    def _say(self, text: str) -> None:
        if self.verbosity:
            print(text)

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
        exists: Literal["keep", "replace", "append"] = "keep",
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

        options = {
            "constants": {**self.constants, **(constants or {})},
            "resources": {**self.resources, **(resources or {})},
            "shuffle": self.shuffle if shuffle is None else shuffle,
            "seed": seed,
            "cost": cost,
            "priority": priority,
            "batchsize": self.batchsize if batchsize is None else batchsize,
            "num_batches": self.num_batches if num_batches is None else num_batches,
        }
        self._sow(build_grid(combos, cases), exists, options)

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

        grid = build_grid(combos or {}, cases, fn_args)
        exists = options.pop("exists", "keep")
        given = {
            "shuffle": self.shuffle,
            "batchsize": self.batchsize,
            "num_batches": self.num_batches,
            **options,
            "constants": {**self.constants, **(options.get("constants") or {})},
            "resources": {**self.resources, **(options.get("resources") or {})},
        }
        self._sow(grid, exists, given)

    def _sow(self, grid: Any, exists: Any, options: dict[str, Any]) -> None:
        from cropfit.outputs import Outputs
        from cropfit.work.request import Request
        from cropfit.work.sow import sow

        if self.fn is None:
            raise DesignError(f"The crop {self.name!r} has no function to sow: give Crop(fn=...).")
        request = Request(self.fn, grid, Outputs.parse(**self._declared), **options)
        self._say(
            sow(self._root, request, exists=exists, lease=self.lease, max_deaths=self.max_deaths)
        )

    # -- grow ----------------------------------------------------------------------

    def grow(
        self,
        batches: Batches = None,
        *,
        num_workers: int | None = None,
        on_error: Literal["record", "raise"] = "record",
        retries: int = 0,
        max_fails: int | None = None,
        steal: bool = False,
        wait: bool = False,
        walltime: Duration | None = None,
        deadline: float | datetime | str | None = None,
        fresh: bool = False,
        timeout: Duration | None = None,
        max_memory: int | None = None,
        num_threads: int | None = None,
        mpi: bool | None = None,
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
        manifest, ledger = self._open()
        if on_error not in ("record", "raise"):
            raise DesignError(f"on_error is 'record' or 'raise', not {on_error!r}")
        if (timeout is not None or max_memory is not None) and not fresh:
            raise DesignError("timeout= and max_memory= need fresh=True: a process a batch.")
        policy = Policy(on_error == "raise", retries, max_fails, int(manifest.data["max_deaths"]))
        wanted = (
            None if batches is None else [batches] if isinstance(batches, int) else list(batches)
        )
        for batch in wanted or ():
            manifest.sowing_of(batch)
        end = find_deadline(walltime, deadline)
        with Bar(self.verbosity, manifest.num_batches, ledger) as bar:
            if num_workers is None and not fresh:
                report = self._grow_here(policy, end, bar, wanted, steal, wait, mpi)
            else:
                from cropfit.work.supervise import Order, Supervisor

                finite = None if end == float("inf") else end
                order = Order(self._root, wanted, policy.__dict__, finite, steal, wait)
                report = Supervisor(
                    manifest,
                    ledger,
                    num_workers or 1,
                    order,
                    fresh=fresh,
                    timeout=None if timeout is None else in_seconds(timeout),
                    max_memory=max_memory,
                    num_threads=num_threads,
                    progress=bar,
                ).run()
        return self._conclude(report)

    def _grow_here(
        self,
        policy: Policy,
        deadline: float,
        bar: Bar,
        batches: list[int] | None,
        steal: bool,
        wait: bool,
        mpi: bool | None,
    ) -> GrowReport:
        """Grow in this process; as one of several if they compute with MPI together."""
        ranks = self._ranks(mpi)
        if ranks and ranks.rank:
            self.verbosity = 0  # rank 0 speaks for all
            ranks.follow(self._manifest())
            return GrowReport()
        spread = ranks.lead if ranks else None
        worker = Worker(self._root, policy, deadline=deadline, progress=bar, spread=spread)
        if batches is None:
            report = worker.grow_left(wait=wait)
        else:
            report = worker.grow_these(batches, steal=steal)
        if ranks and report.reason in ("SIGINT", "SIGTERM"):
            ranks.abort(report.exit_code)
        elif ranks:
            ranks.dismiss()
        return report

    def _ranks(self, mpi: bool | None) -> Ranks | None:
        from cropfit.work.limits import mpi_size

        if mpi is False or (mpi is None and mpi_size() == 1):
            return None
        from cropfit.work.mpi import Ranks, uses_mpi

        return Ranks() if mpi or uses_mpi(self._manifest()) else None

    def _conclude(self, report: GrowReport) -> GrowReport:
        for note in report.notes:
            self._say(note)
        if report.reason == "SIGINT":
            raise KeyboardInterrupt
        if report.reason == "SIGTERM":
            raise SystemExit(143)
        if report.reason == "error":
            failure = report.failures[-1]
            raise CaseError(
                f"case {failure['case']} of {self._root} with {failure['arguments']} raised "
                f"{failure['type']}: {failure['message']}\n\n{failure['traceback']}"
            )
        self._say(str(report))
        if report.failures:
            first = report.failures[0]
            self._say(
                f"{len(report.failures)} cases failed, the first with {first['arguments']}: "
                f"{first['type']}: {first['message'].splitlines()[0] if first['message'] else ''}. "
                "See crop.errors(), then crop.retry()."
            )
        return report

    def grow_missing(self, **options: Any) -> GrowReport:
        """Grow whatever is not grown, failed batches included; options as of `grow`."""
        self.retry()
        return self.grow(**options)

    # -- reap ----------------------------------------------------------------------

    def reap(
        self,
        to: str | os.PathLike[str] | bool | None = None,
        *,
        wait: bool = False,
        allow_incomplete: bool = False,
        clean_up: bool | None = None,
        layout: Layout = "auto",
        fill_value: Any = None,
        diagnostics: bool = False,
        nested: bool = False,
        overwrite: bool = False,
        load: bool = True,
    ) -> Any:
        """Merge all results into a labelled Dataset that is safe on disk, then delete the folder.

        Parameters
        ----------
        to : path or False, optional
            The ``.nc``, ``.zarr`` or ``.pkl`` file; by default ``<name>.nc`` beside the
            crop. False keeps the results in memory alone, and the crop where it is.
        wait : bool
            Wait until everything is grown, or nothing can be any more.
        allow_incomplete : bool
            Take what is there. Cases without a result are missing values.
        clean_up : bool, optional
            Whether to delete the crop; by default if the results are complete and saved.
        layout : {"auto", "grid", "case"}
            One dimension a parameter, or one ``case`` dimension with the parameters as
            its coordinates; "auto" takes the latter where a grid would be mostly empty.
        fill_value : scalar or mapping, optional
            Stands for missing values and keeps the dtype. By default NaN, with ints and
            bools becoming floats where something is missing.
        diagnostics : bool
            Add status, seconds, host and attempts of every case.
        nested : bool
            Give results as nested tuples, one level a parameter.
        overwrite : bool
            Whether a file that stands there may be replaced.
        load : bool
            False streams straight into the file `to`, in bounded memory.

        Returns
        -------
        xarray.Dataset, list or tuple
            A list in case order where the function's outputs have no names.

        Raises
        ------
        NotReadyError
            Batches are missing or failed.
        DamagedError
            Files were torn or altered; their batches were sown again.
        ResultError
            Results do not fit together, or into a file.
        ExistsError
            The file `to` exists.
        """
        from cropfit.work.reap import Reaper, Wanted, wait_until_grown

        manifest, ledger = self._open()
        if wait:
            with Bar(self.verbosity, manifest.num_batches, ledger) as bar:
                wait_until_grown(manifest, ledger, lambda done, total: bar.update_to(done))
        where = to if to is None or isinstance(to, bool) else os.path.abspath(to)
        wanted = Wanted(
            where,
            allow_incomplete,
            clean_up,
            layout,
            fill_value,
            diagnostics,
            nested,
            overwrite,
            load,
        )
        reaper = Reaper(manifest, ledger, wanted)
        result = reaper.reap()
        if reaper.saved:
            gone = f" The crop {self._root} is deleted." if wanted.deletes else ""
            self._say(f"Saved and verified: {reaper.saved}.{gone}")
        return result

    def peek(self, **options: Any) -> Any:
        """What there is by now, without disturbing workers; nothing is saved or deleted.

        Takes `layout`, `fill_value`, `diagnostics` and `nested` as `reap` does.
        """
        from cropfit.work.reap import Reaper, Wanted

        manifest, ledger = self._open()
        return Reaper(manifest, ledger, Wanted(False, True, False, **options)).peek()

    # -- state ---------------------------------------------------------------------

    def status(self) -> Status:
        """Batches by state, live and dead workers, rate and remaining time."""
        from cropfit.work.care import status

        return status(*self._open())

    def missing_results(self) -> list[int]:
        """Batches that are not grown, failed ones included."""
        manifest, ledger = self._open()
        there = {*ledger.numbers("grown"), *ledger.numbers("ignored")}
        last = manifest.sowings[-1]
        numbers = range(1, last.first_batch + last.batches.num_batches)
        return [batch for batch in numbers if batch not in there]

    def completed_results(self) -> list[int]:
        """Batches that are grown."""
        return self._open()[1].numbers("grown")

    @property
    def num_results(self) -> int:
        """Number of batches that are grown."""
        return self._open()[1].counts()["grown"]

    @property
    def num_sown_batches(self) -> int:
        """Number of batches that were sown."""
        return self._manifest().num_batches

    def is_prepared(self) -> bool:
        """Whether the crop is sown."""
        return os.path.isfile(f"{self._root}/crop.json")

    def is_ready_to_reap(self) -> bool:
        """Whether every batch is grown or set aside."""
        manifest, ledger = self._open()
        counts = ledger.counts()
        return counts["grown"] + counts["ignored"] == manifest.num_batches

    def errors(self) -> list[Failure]:
        """Failed cases: arguments, type, message, traceback, host, attempt."""
        from cropfit.work.care import errors

        return errors(*self._open())

    def __str__(self) -> str:
        if not self.is_prepared():
            return f"{self.name}: not sown  ({self._root})"
        return str(self.status())

    def __repr__(self) -> str:
        return f"<Crop {self}>"

    # -- care ----------------------------------------------------------------------

    def retry(self, batches: Batches = None) -> list[int]:
        """Sow failed batches again; their successful cases are kept. Returns their numbers."""
        from cropfit.work.care import shift

        return shift(self._open()[1], "failed", "sown", batches)

    def ignore(self, batches: Batches = None, *, undo: bool = False) -> list[int]:
        """Set batches aside so that the rest can be reaped; failed ones by default.

        With `undo` those that were set aside are sown again.
        """
        from cropfit.work.care import ignore, shift

        ledger = self._open()[1]
        return shift(ledger, "ignored", "sown", batches) if undo else ignore(ledger, batches)

    def clean(self) -> dict[str, int]:
        """Bring dead claims, torn files and leftovers into a sound state; returns counts.

        Workers that are alive are not disturbed. Reads every grown batch once.
        """
        from cropfit.work.care import clean

        return clean(*self._open())

    def check_bad(self, *, repair: bool = True) -> dict[int, str]:
        """Grown batches whose files are torn or altered, and why; they are sown again."""
        from cropfit.work.care import check_bad

        return check_bad(*self._open(), repair=repair)

    def stop(self) -> None:
        """Ask all workers on all hosts to finish their case and leave."""
        from cropfit.work.care import stop

        stop(self._manifest())

    def delete(self, *, force: bool = False) -> None:
        """Delete the crop with all its results.

        Raises
        ------
        CropError
            Workers are alive and `force` is not given.
        """
        from cropfit.work.care import delete

        delete(*self._open(), force=force)

    def repro(self, batch: int, case: int, path: str | os.PathLike[str] | None = None) -> str:
        """Write a script that computes one case again, with the same arguments and seed.

        Parameters
        ----------
        batch : int
            Number of the batch.
        case : int
            Place of the case in it, from 0 (``offset`` in `errors`).
        path : path, optional
            The script; a pickle with what it needs is put beside it.

        Returns
        -------
        str
            The script's path.
        """
        from cropfit.work.again import write_script

        script = os.path.abspath(path or f"repro_{self.name}_{batch}_{case}.py")
        write_script(self._manifest(), batch, case, script)
        return script

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


def grow(
    batch: Batches = None,
    crop: Crop | str | os.PathLike[str] | None = None,
    **options: Any,
) -> GrowReport:
    """Grow one batch, or several, of a crop: what a job on a cluster calls.

    Parameters
    ----------
    batch : int or list of int, optional
        Which; whatever is left if None.
    crop : Crop, str or path, optional
        The crop, its name, or its folder; by default the one in the current folder.
    **options
        As of `Crop.grow`.

    Returns
    -------
    GrowReport
        ``sys.exit(cropfit.grow(3).exit_code)`` tells a scheduler how it went.
    """
    found = crop if isinstance(crop, Crop) else Crop.load(crop)
    return found.grow(batch, **options)


def load_crops(folder: str | os.PathLike[str] = ".") -> dict[str, Crop]:
    """All crops that stand directly in `folder`, by name."""
    where = os.path.abspath(folder)
    return {name: Crop(name=name, parent_dir=where) for name in sorted(crops_in(where))}
