"""What became of every case, without what it gave: seconds, status, attempts and errors.

Results of any kind will do, also those that make no Dataset. Nobody is disturbed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.work.diagnostics import IGNORED, MISSING, diagnose, diagnostic_variables
from cropfit.work.results import read_partial, record_files
from cropfit.work.target import plan_layout

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["examine"]


def examine(manifest: Manifest, ledger: Ledger) -> xr.Dataset:
    """``case_status``, ``case_seconds``, ``case_host``, ``case_attempt`` and ``case_error``.

    The last is the type of the exception of a case that failed, else "". Dimensions and
    coordinates are those of a reap.

    Notes
    -----
    Reads every record file once, a batch at a time.
    """
    import xarray as xr

    target = plan_layout(manifest.sowings)
    variables = diagnostic_variables(())
    found: dict[str, NDArray[Any]] = {
        name: np.full(target.size, each.missing, each.dtype) for name, each in variables.items()
    }
    error = np.full(target.size, "", object)
    for batch, folder, is_ignored in _places(manifest, ledger):
        flat = manifest.cases_of(batch)[1]
        cells = target.cells(manifest.sowing_of(batch), flat)
        records = read_partial(manifest, batch, folder)
        told = diagnose(records, len(flat))
        if is_ignored:
            told["case_status"][told["case_status"] == MISSING] = IGNORED
        for name, values in told.items():
            found[name][cells] = values
        for failure in records.errors:
            if failure["final"]:
                error[cells[failure["offset"]]] = failure["type"]
    coords = {name: (each.dims, each.labels, each.attrs) for name, each in target.coords.items()}
    data = {
        name: (target.dims, values.reshape(target.shape), dict(variables[name].attrs))
        for name, values in found.items()
    }
    about = {"long_name": "error in which the case ended"}
    data["case_error"] = (target.dims, error.reshape(target.shape), about)
    return xr.Dataset(data, coords)


def _places(manifest: Manifest, ledger: Ledger) -> list[tuple[int, str, bool]]:
    """Batch, folder and whether it was set aside, of all that may hold records.

    States are listed in the order in which batches move, so that none is overlooked.
    """
    layout = manifest.layout
    places: dict[int, tuple[str, bool]] = {}
    for batch in ledger.numbers("sown"):
        places[batch] = layout.batch("sown", batch), False
    for claim in ledger.claims():
        places[claim.batch] = claim.path, False
    for state in ("failed", "ignored", "grown"):
        for batch in ledger.numbers(state):
            places[batch] = layout.batch(state, batch), state == "ignored"
    return [(b, *each) for b, each in places.items() if each[1] or record_files(each[0])]
