"""What can be done with a crop that stands on disk: see how it goes, put it right, reap it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest, read_manifest
from cropfit.disk.owner import Owner
from cropfit.errors import CropError
from cropfit.progress import PATIENCE, Bar, Progress

if TYPE_CHECKING:
    from cropfit.work.care import Status
    from cropfit.work.failures import Failures
    from cropfit.work.request import Request
    from cropfit.work.target import Layout

Batches = int | Iterable[int] | None


def open_crop(root: str) -> tuple[Manifest, Ledger]:
    """What was sown in the folder `root`, and the states of its batches."""
    manifest = read_manifest(root)
    return manifest, Ledger(manifest.layout, Owner.here(), float(manifest.data["lease"]))


def is_catalogue(manifest: Manifest) -> bool:
    """Whether `fit_catalogue` sowed a crop."""
    return (manifest.data.get("farmer") or {}).get("kind") == "catalogue"


def clean(manifest: Manifest, ledger: Ledger) -> dict[str, int]:
    """Bring a crop into a sound state; failed objects of a catalogue are given back, too."""
    from cropfit.work import care

    counts = care.clean(manifest, ledger)
    if is_catalogue(manifest):
        counts["failed"] = len(care.shift(ledger, "failed", "sown", None))
    return counts


class Tended:
    """One crop, as far as its folder alone is needed; `cropfit.Crop` adds sowing and growing.

    Parameters
    ----------
    root : str
        The crop's folder, whether it is sown or not.
    name : str
        The crop's name.
    verbosity : int
        0 says nothing; 1 says what was done, with bars where somebody looks.
    """

    def __init__(self, root: str, name: str, verbosity: int) -> None:
        self.name = name
        self.verbosity = verbosity
        self._root = root
        self._farmer: Any = None

    @property
    def farmer(self) -> Any:
        """The Runner, Harvester or Sampler that sowed it; None for a crop of its own."""
        if self._farmer is None and self.is_prepared():
            from cropfit.farming.farmer import farmer_of

            self._farmer = farmer_of(self._manifest())
        return self._farmer

    @property
    def location(self) -> str:
        """The crop's folder."""
        return self._root

    def _manifest(self) -> Manifest:
        return read_manifest(self._root)

    def _open(self) -> tuple[Manifest, Ledger]:
        return open_crop(self._root)

    def say(self, text: str) -> None:
        """Print a line, unless `verbosity` is 0."""
        if self.verbosity:
            print(text)

    def request_key(self) -> str | None:
        """Which request `cropfit.sow` or `cropfit.cultivate` sowed it for."""
        record = self._manifest().data.get("farmer") or {}
        key: str | None = record.get("request")
        return key

    def renew(self, request: Request) -> None:
        """Let what is not grown yet be grown with the function as it is now."""
        from cropfit.work.resow import renew

        self.say(renew(self._manifest(), request))

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

    def errors(self) -> Failures:
        """Failed cases: arguments, type, message, traceback, host, attempt; shown as a table."""
        from cropfit.work.care import errors

        return errors(*self._open())

    def log(self, batch: int) -> str:
        """What the function printed in a batch that was grown with ``log=True``, so far.

        Raises
        ------
        NotFoundError
            It was grown without a log, or is not begun.
        """
        from cropfit.work.care import read_log

        return read_log(*self._open(), batch)

    def __str__(self) -> str:
        if not self.is_prepared():
            return f"{self.name}: not sown  ({self._root})"
        try:
            return str(self.status())
        except (CropError, OSError) as error:  # a crop that is damaged must show it, too
            return f"{self.name}: {error}"

    def __repr__(self) -> str:
        return f"<Crop {self}>"

    def _repr_html_(self) -> str:
        from cropfit.views.glance import Looker
        from cropfit.views.page import to_html

        if self.is_prepared():
            with suppress(CropError, OSError):
                return to_html(Looker(self._root).look())
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"

    def watch(self, *, interval: float = 1.0, wait: bool = False) -> Any:
        """Show how the crop grows, until it is finished or reaped.

        In a notebook a widget that refreshes itself while you go on, if ipywidgets is
        installed; otherwise the cell refreshes and Ctrl-C (or "interrupt") ends it.
        Outside of notebooks each change is printed; 'cropfit watch' is nicer there.

        Parameters
        ----------
        interval : float
            Seconds between two looks.
        wait : bool
            Stay until the end even where a widget could go on by itself.
        """
        from cropfit.views.notebook import watch

        self._manifest()  # raises for a crop that is not sown
        return watch(self._root, interval, wait)

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

        Workers that are alive are not disturbed. Reads every grown batch once. Objects of a
        catalogue that failed are given back to be fitted, as by `retry`.
        """
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

    def delete_all(self) -> None:
        """What users of xyzpy call `delete`."""
        self.delete()

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
        overwrite: bool | None = None,
        load: bool = True,
        sync: bool = True,
    ) -> Any:
        """Merge all results into a labelled Dataset that is safe on disk, then delete the folder.

        A Harvester's or Sampler's crop adds them to its file.

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
        overwrite : bool, optional
            Whether a file that stands there may be replaced. For a Harvester's crop: whether
            new values replace others that stand in its file; by default that is refused.
        load : bool
            False streams straight into the file `to`, in bounded memory.
        sync : bool
            Whether a farmer's results go to disk; False keeps them in memory alone.

        Returns
        -------
        xarray.Dataset, DataFrame, list or tuple
            A DataFrame from a Sampler's crop; a list in case order where the function's
            outputs have no names.

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
        from cropfit.work.reap import Reaper
        from cropfit.work.wait import wait_until_grown
        from cropfit.work.wanted import Wanted

        manifest, ledger = self._open()
        if wait:
            with Bar(self.verbosity, manifest.num_batches, ledger, "wait") as bar:
                wait_until_grown(
                    manifest,
                    ledger,
                    lambda done, total: bar.update_to(done),
                    allow_incomplete=allow_incomplete,
                )
        where = to if to is None or isinstance(to, bool) else os.path.abspath(to)
        wanted = Wanted(
            where,
            allow_incomplete,
            clean_up,
            layout,
            fill_value,
            diagnostics,
            nested,
            bool(overwrite),
            load,
        )
        farmer = self.farmer
        if farmer is not None:
            from cropfit.farming.farmer import gathered_by

            wanted = gathered_by(farmer, wanted, sync=sync, overwrite=overwrite)
        total = manifest.num_batches
        with Progress(self.verbosity, total, what="reap", unit="batch", delay=PATIENCE) as bar:
            reaper = Reaper(manifest, ledger, wanted, bar.tell)
            result = reaper.reap()
        if saved := reaper.saved or wanted.keeper:
            gone = f" The crop {self._root} is deleted." if wanted.deletes else ""
            self.say(f"{'Saved' if reaper.saved else 'Added'} and verified: {saved}.{gone}")
        return _told(result)

    def peek(self, **options: Any) -> Any:
        """What there is by now, without disturbing workers; nothing is saved or deleted.

        Takes `layout`, `fill_value`, `diagnostics` and `nested` as `reap` does.
        """
        from cropfit.work.reap import Reaper
        from cropfit.work.wanted import Wanted

        manifest, ledger = self._open()
        wanted = Wanted(False, True, False, **options)
        if self.farmer is not None:
            from cropfit.farming.farmer import gathered_by

            wanted = gathered_by(self.farmer, wanted)
        return _told(Reaper(manifest, ledger, wanted).peek())


def _told(result: Any) -> Any:
    """A result; ``.cropfit`` of Datasets works from here on."""
    if hasattr(result, "data_vars"):
        importlib.import_module("cropfit.farming.accessor")
    return result
