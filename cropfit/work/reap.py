"""Reaping, in two phases: nothing is deleted before its data are safe on disk.

    read and check ─▶ Dataset ─▶ draft ─▶ read back, compare ─▶ rename into place
                                                                     │
                       folder deleted ◀─ crop renamed aside ◀────────┘

Any failure, at any byte, leaves the crop as it was.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cropfit._version import __version__
from cropfit.disk.functions import read_constants
from cropfit.disk.layout import STATES
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.disk.netcdf import open_dataset, save_dataset
from cropfit.disk.records import Records
from cropfit.disk.verified import save_pickle
from cropfit.errors import (
    CropError,
    DamagedError,
    DesignError,
    NotFoundError,
    NotReadyError,
    ResultError,
)
from cropfit.outputs import Outputs
from cropfit.wording import number_of
from cropfit.work.assemble import assemble, collect, nested
from cropfit.work.care import alive, check_bad, remove
from cropfit.work.request import hash_of
from cropfit.work.results import read_batch, read_partial, record_files
from cropfit.work.stream import stream
from cropfit.work.wanted import Wanted

if TYPE_CHECKING:
    import xarray as xr


class _Bad(Exception):
    """A batch whose file cannot be trusted turned up while reading."""

    def __init__(self, batch: int, why: str) -> None:
        super().__init__(why)
        self.batch = batch


class Reaper:
    """Merges the batches of one crop.

    Parameters
    ----------
    manifest : Manifest
        The crop.
    ledger : Ledger
        Its states.
    wanted : Wanted
        How.
    progress : callable, optional
        Told how many batches are read, of how many.
    """

    def __init__(
        self,
        manifest: Manifest,
        ledger: Ledger,
        wanted: Wanted,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.manifest = manifest
        self.ledger = ledger
        self.wanted = wanted
        self.saved: str | None = None
        self._batches: list[int] = []  # that can be read, ascending
        self._elsewhere: dict[int, str] = {}  # where those stand that are not in grown/
        self._ignored: list[int] = []
        self._progress = progress
        self._furthest = 0  # of the batches, so many were read

    def reap(self) -> Any:
        """Read, save, verify, and delete what is safe.

        Raises
        ------
        NotReadyError
            Batches are missing and `allow_incomplete` was not given.
        DamagedError
            Files were torn or altered. Their batches were sown again.
        ResultError, DesignError, ExistsError, CropError
            The results cannot be put together, or not saved. The crop is as it was.
        """
        self._check_request()
        listed = self._survey(partly=self.wanted.allow_incomplete)
        if self.wanted.deletes and self.wanted.allow_incomplete and alive(self.ledger):
            raise CropError(
                f"{self.manifest.layout.root}: workers are still growing it; stop them before the "
                f"crop is deleted ('cropfit stop {self.manifest.name}'), or reap with "
                "clean_up=False."
            )
        result = self._merge()
        if self.wanted.deletes:
            with contextlib.suppress(FileNotFoundError):  # somebody else reaped and deleted it
                self._delete(listed)
        return result

    def _delete(self, listed: dict[str, list[int]]) -> None:
        if self._list() != listed:
            raise CropError(
                f"{self.manifest.layout.root} was grown, sown or mended while it was reaped, "
                "so it is not deleted. Reap again."
            )
        try:
            remove(self.manifest, self.ledger)
        except FileNotFoundError:
            raise
        except OSError as error:
            saved = f"The results are in {self.saved}, but " if self.saved else ""
            raise CropError(
                f"{saved}{self.manifest.layout.root} cannot be deleted ({_why(error)}). Reap with "
                "clean_up=False to leave it where it is."
            ) from error

    def peek(self) -> Any:
        """What there is by now, batches in the making included; nothing is written."""
        self._survey(partly=True)
        return self._assemble()

    def _check_request(self) -> None:
        to = self.wanted.to
        if not self.wanted.load and (to is None or to is True or to is False):
            raise DesignError(
                "load=False needs to=, the .nc file or .zarr store that the results go to."
            )
        if isinstance(to, str) and not to.endswith((".nc", ".zarr", ".pkl")):
            raise DesignError(
                f"to={to!r} must end in .nc, .zarr or .pkl, which says what is written."
            )

    # -- what is there -------------------------------------------------------------

    def _list(self) -> dict[str, list[int]]:
        """Which batches are in which state."""
        listed = {state: self.ledger.numbers(state) for state in STATES if state != "growing"}
        return {**listed, "growing": [claim.batch for claim in self.ledger.claims()]}

    def _survey(self, partly: bool) -> dict[str, list[int]]:
        """Find the batches to read; refuse to go on if some are missing and must not be."""
        layout = self.manifest.layout
        listed = self._list()
        self._ignored = listed["ignored"]
        missing = self.manifest.num_batches - len(listed["grown"]) - len(self._ignored)
        if missing and not partly:
            raise NotReadyError(self._told_missing(listed["grown"], listed["failed"]))
        places: dict[int, str] = {}
        for state in ("failed", "ignored"):
            places |= {batch: layout.batch(state, batch) for batch in listed[state]}
        if partly:
            # What was given back before it was complete stands in sown/, with what it holds.
            given_back = {batch: layout.batch("sown", batch) for batch in listed["sown"]}
            places |= {b: place for b, place in given_back.items() if record_files(place)}
            places |= {claim.batch: claim.path for claim in self.ledger.claims()}
        self._elsewhere = places
        self._batches = sorted({*listed["grown"], *places})
        if not self._batches:
            raise NotReadyError(
                f"{layout.root}: nothing is grown yet. "
                f"Grow with 'cropfit grow {self.manifest.name}'."
            )
        return listed

    def _told_missing(self, grown: list[int], failed: list[int]) -> str:
        name, root = self.manifest.name, self.manifest.layout.root
        there = {*grown, *failed, *self._ignored}
        first = [
            s.first_batch + k for s in self.manifest.sowings for k in range(s.batches.num_batches)
        ]
        missing = [batch for batch in first if batch not in there]
        parts = []
        if missing:
            parts.append(
                f"{len(missing)} of {len(first)} batches are not grown (first: {missing[:5]}); "
                f"grow them with 'cropfit grow {name}'"
            )
        if failed:
            parts.append(
                f"{len(failed)} have failed cases (first: {failed[:5]}); see 'cropfit errors "
                f"{name}', then 'cropfit retry {name}', or set them aside ('cropfit ignore {name}')"
            )
        return f"{root}: {'; '.join(parts)}. Or reap what is there with allow_incomplete=True."

    def _read(self, batch: int) -> Records:
        if self._progress is not None:
            self._furthest = max(self._furthest, bisect_right(self._batches, batch))
            self._progress(self._furthest, len(self._batches))
        if folder := self._elsewhere.get(batch):
            return read_partial(self.manifest, batch, folder)
        folder = self.manifest.layout.batch("grown", batch)
        records = read_batch(self.manifest, batch, folder)
        if isinstance(records, str):
            raise _Bad(batch, records)
        there = sum(len(chunk) for chunk in records.chunks)
        if there < self.manifest.size_of(batch):
            raise _Bad(batch, f"{folder} has {there} of {self.manifest.size_of(batch)} results")
        return records

    # -- putting together ----------------------------------------------------------

    def _merge(self) -> Any:
        """The results, saved if that was asked for."""
        while True:
            try:
                return self._save()
            except _Bad as bad:
                self._set_aside(bad)
            except ResultError as error:
                if self.wanted.nested:
                    raise
                raise ResultError(
                    f"{str(error).rstrip('.')}. Nothing was deleted: reap(nested=True) gives what "
                    "the function returned as it is."
                ) from error
            except OSError as error:
                if not os.path.isdir(self.manifest.layout.root):
                    raise NotFoundError(
                        f"{self.manifest.layout.root} was deleted while it was reaped; somebody "
                        "else may have reaped it."
                    ) from error
                raise CropError(
                    f"{self.manifest.layout.root} cannot be reaped: {_why(error)}. It is as it "
                    "was; when this is put right, reap again."
                ) from error

    def _set_aside(self, bad: _Bad) -> None:
        """Sow torn batches again; go on without them only if they may be missing."""
        damaged = check_bad(self.manifest, self.ledger)
        self._batches = [b for b in self._batches if b != bad.batch and b not in damaged]
        if not self.wanted.allow_incomplete:
            damaged = damaged or {bad.batch: str(bad)}
            first = next(iter(damaged))
            raise DamagedError(
                f"{self.manifest.layout.root}: {number_of(len(damaged), 'batch')} damaged and "
                f"sown again: {sorted(damaged)[:10]} ({damaged[first]}). Grow them with "
                f"'cropfit grow {self.manifest.name}' and reap again; nothing else was changed."
            )

    def _assemble(self) -> Any:
        while True:
            try:
                return self._objects() if self._is_list() else self._dataset()
            except _Bad as bad:
                self._batches.remove(bad.batch)

    def _save(self) -> Any:
        is_list = self._is_list()
        target = self._target(".pkl" if is_list else ".nc")
        if is_list and target is not None and not target.endswith(".pkl"):
            raise ResultError(
                f"{target} cannot hold a list of objects. Give to='<name>.pkl', or sow with "
                "var_names to have a Dataset."
            )
        if not is_list and not self.wanted.load:
            return self._stream(str(target))
        result = self._objects() if is_list else self._dataset()
        if target is not None:
            self._write(result, target)
        return result if self.wanted.collect is None else self.wanted.collect(result)

    def _write(self, result: Any, target: str) -> None:
        replaces = self.wanted.overwrite or self._is_own(target)
        if target.endswith(".pkl"):
            save_pickle(result, target, overwrite=replaces)
        else:
            save_dataset(result, target, overwrite=replaces)
        self.saved = target

    def _stream(self, target: str) -> xr.Dataset:
        stream(
            self.manifest.sowings,
            self._outputs(),
            self._read,
            target,
            batches=self._batches,
            layout=self.wanted.layout,
            fill_value=self.wanted.fill_value,
            diagnostics=self.wanted.diagnostics,
            ignored=self._ignored,
            overwrite=self.wanted.overwrite or self._is_own(target),
        )
        self.saved = target
        return open_dataset(target)

    def _dataset(self) -> xr.Dataset:
        return assemble(
            self.manifest.sowings,
            self._outputs(),
            self._read,
            batches=self._batches,
            layout=self.wanted.layout,
            fill_value=self.wanted.fill_value,
            diagnostics=self.wanted.diagnostics,
            ignored=self._ignored,
            instead=self.wanted.instead,
        )

    def _objects(self) -> Any:
        gather: Callable[..., Any] = nested if self.wanted.nested else collect
        return gather(self.manifest.sowings, self._read, self._batches)

    def _is_list(self) -> bool:
        """Whether results are plain objects, without names for a Dataset."""
        if self.wanted.nested:
            return True
        if self.manifest.outputs.var_names is not None:
            return False
        for batch in self._batches:
            for chunk in self._read(batch).chunks:
                return chunk.schema.kind == "value"
        return True

    def _outputs(self) -> Outputs:
        """Declared outputs, with constants and provenance as attributes."""
        constants = read_constants(self.manifest.layout.function)
        data = self.manifest.data
        git = data["provenance"]["git"] or {}
        told = {
            "cropfit_version": __version__,
            "cropfit_crop": f"{data['name']} {data['id']}",
            "cropfit_function": data["function"]["name"],
            "cropfit_source": data["function"]["source"],
            "cropfit_design": hash_of([sowing["wanted"] for sowing in data["sowings"]]),
            "cropfit_seed": data["seed"],
            "cropfit_sown": data["provenance"]["time"],
            "cropfit_commit": f"{git['commit']}{' (dirty)' if git['dirty'] else ''}" if git else "",
        }
        outputs = self.manifest.outputs.with_constants(constants)
        told = {key: value for key, value in told.items() if value != ""}
        return Outputs(
            outputs.var_names,
            outputs.var_dims,
            outputs.var_coords,
            outputs.var_attrs,
            {**outputs.attrs, **told},
        )

    # -- where to ------------------------------------------------------------------

    def _target(self, ending: str) -> str | None:
        """The file to write; None for memory alone."""
        to = self.wanted.to
        if isinstance(to, str):
            return to
        if to is False or (to is None and not self.wanted.deletes):
            return None
        stem = f"{os.path.dirname(self.manifest.layout.root)}/{self.manifest.name}"
        target, number = f"{stem}{ending}", 2
        while os.path.lexists(target) and not (self.wanted.overwrite or self._is_own(target)):
            target, number = f"{stem}-{number}{ending}", number + 1
        return target

    def _is_own(self, path: str) -> bool:
        """Whether a former reap of this very crop, killed before its end, wrote `path`."""
        if not path.endswith(".nc") or not os.path.isfile(path):
            return False
        try:
            with open_dataset(path) as ds:
                crop = str(ds.attrs.get("cropfit_crop", ""))
        except Exception:
            return False  # not ours, whatever it is
        return crop.endswith(f" {self.manifest.data['id']}")


def _why(error: OSError) -> str:
    """What the disk refused, and where; some libraries call no more inodes a lack of rights."""
    reason, path = error.strerror or str(error), error.filename
    folder = os.path.dirname(os.fsdecode(path)) if path else ""
    with contextlib.suppress(OSError):
        if isinstance(error, PermissionError) and os.statvfs(folder).f_favail == 0:
            reason = "No space left on device for another file"
    return f"{reason} ({path})" if path else reason
