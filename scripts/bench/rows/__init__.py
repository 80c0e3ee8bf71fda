"""All rows by their names, in the order of the table."""

from __future__ import annotations

import re

from contest import Row

from rows.claiming import EightWorkers, ThirtyTwoWorkers
from rows.engines import OverPools
from rows.farming import Harvest
from rows.fitting import DynestyAlone, DynestySlower, MergeCatalogue
from rows.growing import OneCaseBatches, TrivialCases
from rows.large import Constants, Objects
from rows.life import ManyBatches
from rows.looking import Looking
from rows.reaping import ArraysInMemory, ArraysToNetcdf, ArraysToZarr, Floats, ScatteredResults
from rows.sowing import Grid, ScatteredCases
from rows.starting import FreshProcess, ScheduledStart

__all__ = ["ROWS"]


def _name(row: type[Row]) -> str:
    """``TrivialCases`` as trivial_cases."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", row.__name__).lower()


ROWS: dict[str, type[Row]] = {
    _name(row): row
    for row in (
        Grid,
        ScatteredCases,
        Objects,
        Constants,
        TrivialCases,
        OneCaseBatches,
        OverPools,
        FreshProcess,
        ScheduledStart,
        EightWorkers,
        ThirtyTwoWorkers,
        Looking,
        ManyBatches,
        Floats,
        ScatteredResults,
        ArraysInMemory,
        ArraysToNetcdf,
        ArraysToZarr,
        Harvest,
        DynestyAlone,
        DynestySlower,
        MergeCatalogue,
    )
}
