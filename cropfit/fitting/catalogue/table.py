"""Rows as columns, and as a file that astronomers and spreadsheets read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.disk.netcdf import replacing
from cropfit.errors import DesignError, MissingDependencyError
from cropfit.fitting.catalogue.rows import LEVELS, NUMBERS, TEXT, Row

if TYPE_CHECKING:
    import pandas as pd


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """One row an object, by id; columns that an object does not have are empty.

    Units of the columns are in ``frame.attrs["units"]``.
    """
    import pandas as pd

    rows = list(rows)
    units: dict[str, str] = {}
    flat = [_flat(row, units) for row in rows]
    names = dict.fromkeys(name for each in flat for name in each)
    order = ["status", *(name for name in names if name not in (*TEXT, *NUMBERS))]
    order += [*NUMBERS, "error", "notes"]
    ids = pd.Index([row["id"] for row in rows], name="id")
    frame = pd.DataFrame(flat, index=ids).reindex(columns=order)
    for name in ("error", "notes"):
        frame[name] = frame[name].fillna("")
    frame.attrs["units"] = {name: unit for name, unit in units.items() if name in frame}
    return frame


def _flat(row: Row, units: dict[str, str]) -> dict[str, Any]:
    """One row as columns."""
    found: dict[str, Any] = {"status": row["status"]}
    for name, value in row.get("fixed", {}).items():
        found[name] = value
    for name, each in row.get("parameters", {}).items():
        for ending, key in LEVELS.items():
            found[f"{name}_{ending}"] = each[key]
            if each.get("unit"):
                units[f"{name}_{ending}"] = each["unit"]
    found |= row.get("analysis", {})
    found |= {name: row[key] for name, key in NUMBERS.items() if key in row}
    if row.get("seconds") is not None:
        units["seconds"] = "s"
    found["error"] = row.get("error", "")
    found["notes"] = "; ".join(row.get("notes", []))
    return found


# -- files -----------------------------------------------------------------------------


def write_table(frame: pd.DataFrame, path: str) -> None:
    """Write a catalogue, whole or not at all, in the form that the ending of `path` says.

    Raises
    ------
    DesignError
        The ending is not known.
    MissingDependencyError
        Its library is not installed.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in WRITERS:
        raise DesignError(f"{path} must end in {', '.join(WRITERS)}, which says what is written.")
    try:
        with replacing(path, overwrite=True) as draft:
            WRITERS[ending](frame, draft)
            with open(draft, "rb") as file:
                os.fsync(file.fileno())
    except ImportError as error:
        extra = "astropy" if error.name == "astropy" else "parquet"
        raise MissingDependencyError(
            f"{path} needs {error.name}: pip install 'cropfit[{extra}]'."
        ) from error


def _write_csv(frame: pd.DataFrame, path: str) -> None:
    frame.to_csv(path)


def _write_parquet(frame: pd.DataFrame, path: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(_without_attrs(frame))
    units = {f"unit:{name}": unit for name, unit in frame.attrs["units"].items()}
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **units}), path)


def _write_ecsv(frame: pd.DataFrame, path: str) -> None:
    _astropy_table(frame).write(path, format="ascii.ecsv")


def _write_fits(frame: pd.DataFrame, path: str) -> None:
    """Text that FITS cannot hold, which is all but ASCII, stands in it as Python escapes it."""
    table = _astropy_table(frame)
    for name in table.colnames:
        if table[name].dtype.kind == "U":
            table[name] = [str(v).encode("ascii", "backslashreplace").decode() for v in table[name]]
    content = io.BytesIO()
    table.write(content, format="fits")
    with open(path, "wb") as file:
        file.write(content.getvalue())


def _astropy_table(frame: pd.DataFrame) -> Any:
    from astropy.table import Table

    plain = _plain_dtypes(frame)
    table = Table({plain.index.name: plain.index.to_numpy()})
    for name in plain.columns:
        values = plain[name].to_numpy()
        table[name] = values.astype(str) if values.dtype == object else values
        table[name].unit = frame.attrs["units"].get(name)
    if plain.index.dtype.kind not in "iu":
        table["id"] = table["id"].astype(str)
    return table


def _write_netcdf(frame: pd.DataFrame, path: str) -> None:
    from cropfit.disk.netcdf import save_dataset

    ds = _plain_dtypes(frame).to_xarray()
    for name, unit in frame.attrs["units"].items():
        ds[name].attrs["units"] = unit
    save_dataset(ds, path, overwrite=True)


def _plain_dtypes(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed make as text or floats, which files can hold."""
    plain = _without_attrs(frame)
    for name in plain.columns:
        if plain[name].dtype == object:
            kinds = {type(value) for value in plain[name].dropna()}
            if kinds <= {bool, int, float, np.bool_}:
                plain[name] = plain[name].astype(float)
            else:
                plain[name] = [("" if _missing(v) else str(v)) for v in plain[name]]
    return plain


def _without_attrs(frame: pd.DataFrame) -> pd.DataFrame:
    plain = frame.copy()
    plain.attrs = {}
    return plain


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


WRITERS: Mapping[str, Callable[[Any, str], None]] = {
    ".csv": _write_csv,
    ".ecsv": _write_ecsv,
    ".fits": _write_fits,
    ".parquet": _write_parquet,
    ".nc": _write_netcdf,
}
