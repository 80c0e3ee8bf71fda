"""Computing a request at once: in this process, or by workers that leave nothing behind.

one process          ──▶ records in memory ─────────────┐
workers, a pool      ──▶ a crop in a folder of its own ─┴▶ the same assembling ──▶ Dataset
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cropfit.errors import CaseError, DesignError
from cropfit.farming.frames import to_frame
from cropfit.wording import number_of
from cropfit.work.direct import Direct, OnError
from cropfit.work.failures import Failures
from cropfit.work.request import Request
from cropfit.work.target import Layout

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Computed", "compute"]


@dataclass(frozen=True)
class Computed:
    """What came of a request.

    Parameters
    ----------
    result
        What the user is given.
    dataset : Dataset or None
        The same as a Dataset, where outputs have names.
    failures : list of dict
        Failed cases.
    """

    result: Any
    dataset: xr.Dataset | None
    failures: Failures


def compute(
    request: Request,
    *,
    parallel: bool = False,
    num_workers: int | None = None,
    executor: Any = None,
    verbosity: int = 1,
    on_error: OnError = "raise",
    layout: Layout = "auto",
    fill_value: Any = None,
    to_df: bool = False,
    nested: bool = False,
) -> Computed:
    """Compute all cases of a request and put them together.

    Parameters
    ----------
    request : Request
        The function, its cases and its outputs.
    parallel : bool
        Compute with as many processes as there are cores.
    num_workers : int, optional
        Compute with so many processes.
    executor : str or pool, optional
        Compute by the workers of a pool; see `Crop.grow`. They must see the current folder,
        where a hidden folder stands as long as they compute.
    verbosity : int
        0 shows nothing, 1 a bar where somebody looks, at a terminal or in a notebook.
    on_error : {"raise", "record"}
        End at the first case that raises, or go on; its results are missing values then.
    layout, fill_value
        As of `Crop.reap`.
    to_df : bool
        Give a DataFrame, one row a case.
    nested : bool
        Give results as nested tuples, one level a parameter.

    Raises
    ------
    CaseError
        A case raised and `on_error` is "raise".
    DesignError
        The request cannot be computed.
    """
    if on_error not in ("raise", "record"):
        raise DesignError(f"on_error is 'record' or 'raise', not {on_error!r}")
    if to_df:
        layout = "case"
    how = {"layout": layout, "fill_value": fill_value}
    if parallel or executor is not None or (num_workers or 1) > 1:
        workers = None if executor is not None else num_workers or len(os.sched_getaffinity(0))
        done = _grown(request, workers, executor, verbosity, on_error, nested, how)
    else:
        done = _here(request, verbosity, on_error, nested, how)
    if not to_df:
        return done
    if done.dataset is None:
        raise DesignError("to_df=True needs outputs with names: give var_names.")
    return Computed(to_frame(done.dataset), done.dataset, done.failures)


def _here(
    request: Request, verbosity: int, on_error: OnError, nested: bool, how: dict[str, Any]
) -> Computed:
    """Compute in this process."""
    from cropfit.progress import Progress

    with Progress(verbosity, request.grid.size, what="run", unit="case") as bar:
        direct = Direct(request, on_error, bar.tell)
        direct.compute()
    if nested or direct.is_list():
        return Computed(direct.results(nest=nested), None, direct.failures)
    ds = direct.dataset(**how)
    return Computed(ds, ds, direct.failures)


def _grown(
    request: Request,
    num_workers: int | None,
    executor: Any,
    verbosity: int,
    on_error: OnError,
    nested: bool,
    how: dict[str, Any],
) -> Computed:
    """Compute by workers, through a crop that goes away whatever happens."""
    from cropfit.crop import LEASE, MAX_DEATHS, Crop
    from cropfit.work.sow import sow

    class Run(Crop):
        """A crop that shows bars, but says nothing of itself."""

        def say(self, text: str) -> None:
            pass

    parent = tempfile.mkdtemp(prefix=".cropfit-", dir=None if executor is None else os.getcwd())
    try:
        crop = Run(name="run", parent_dir=parent, verbosity=verbosity)
        sow(crop.location, request, lease=LEASE, max_deaths=MAX_DEATHS)
        crop.grow(num_workers=num_workers, executor=executor, on_error=on_error)
        failures = crop.errors()
        if failures and on_error == "raise":
            raise CaseError(f"{number_of(len(failures), 'case')} failed: {failures[0]['message']}")
        result = crop.reap(False, allow_incomplete=bool(failures), nested=nested, **how)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    return Computed(result, result if hasattr(result, "data_vars") else None, failures)
