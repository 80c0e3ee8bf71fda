"""A DataFrame in a file: Parquet, CSV or a pickle, replaced whole and verified, or not at all."""

from __future__ import annotations

import io
import os
import pickle
import warnings
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from cropfit.disk.owner import Owner
from cropfit.disk.publish import check_own
from cropfit.disk.verified import save_bytes
from cropfit.errors import DamagedError, DesignError, MissingDependencyError, ResultError
from cropfit.work.sow import sweep

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Engine", "choose_engine", "load_table", "save_table"]

Engine = Literal["parquet", "csv", "pickle"]
_ENDINGS: dict[str, Engine] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".pkl": "pickle",
    ".pickle": "pickle",
}


def choose_engine(path: str | None, engine: str | None) -> Engine:
    """The engine that is asked for, or that the file's ending tells, or the best there is.

    Raises
    ------
    DesignError
        There is no such engine.
    MissingDependencyError
        Parquet was asked for, and pyarrow is not installed.
    """
    told = engine or _ENDINGS.get(os.path.splitext(path or "")[1].lower())
    if told is None:
        return "parquet" if _has_pyarrow() else "pickle"
    if told == "parquet" and not _has_pyarrow():
        raise MissingDependencyError("Parquet files need pyarrow: pip install cropfit[parquet]")
    if told not in get_args(Engine):
        raise DesignError(f"engine is 'parquet', 'csv' or 'pickle', not {engine!r}")
    return cast(Engine, told)


def _has_pyarrow() -> bool:
    import importlib.util

    return importlib.util.find_spec("pyarrow") is not None


def load_table(path: str, engine: Engine) -> pd.DataFrame:
    """Read a table.

    Raises
    ------
    FileNotFoundError
        There is none.
    DamagedError
        It is no table of this engine.
    ForeignFileError
        It is a pickle of somebody else.
    """
    with open(path, "rb") as file:
        data = file.read()
    if engine == "pickle":
        check_own(path)
    try:
        return _read(data, engine)
    except Exception as error:
        raise DamagedError(
            f"{path} cannot be read as {engine} ({type(error).__name__}: {error}). Is it another "
            "format? Give engine=."
        ) from error


def save_table(table: pd.DataFrame, path: str, engine: Engine) -> None:
    """Replace a table's file; the former one stands until the new one is verified.

    Raises
    ------
    ResultError
        The table holds what such a file cannot.
    DamagedError
        What was read back is not what was written.
    OSError
        The disk is full, read-only or gone; the former file is untouched.
    """
    try:
        data = _write(table, engine)
    except Exception as error:
        raise ResultError(
            f"{path} cannot hold the table as {engine} ({type(error).__name__}: {error}). Nothing "
            "was changed. Give engine='pickle' and a file of another name."
        ) from error

    def check(found: bytes) -> None:
        again = _read(found, engine)
        if list(again.columns) != list(table.columns) or len(again) != len(table):
            raise DamagedError(f"{path}: what was read back is not what was written.")

    sweep(os.path.dirname(path), Owner.here())
    save_bytes(data, path, overwrite=True, check=check)


def _read(data: bytes, engine: Engine) -> pd.DataFrame:
    import pandas as pd

    file = io.BytesIO(data)
    if engine == "pickle":
        table: pd.DataFrame = pickle.loads(data)
        return table
    if engine == "parquet":
        return pd.read_parquet(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of pandas 3 on, "round_trip" is fading
        warnings.simplefilter("ignore", DeprecationWarning)
        return pd.read_csv(
            file,
            keep_default_na=False,
            na_values=[""],
            float_precision="round_trip",
            low_memory=False,
        )


def _write(table: pd.DataFrame, engine: Engine) -> bytes:
    if engine == "pickle":
        return pickle.dumps(table, protocol=5)
    if engine == "csv":
        _refuse_arrays(table)
        text: str = table.to_csv(index=False)
        return text.encode("utf-8")
    file = io.BytesIO()
    _listed(table).to_parquet(file, index=False)
    return file.getvalue()


def _refuse_arrays(table: pd.DataFrame) -> None:
    for name in table.columns:
        if any(isinstance(value, np.ndarray) for value in _objects(table, name)):
            raise ValueError(f"{name!r} holds arrays")


def _listed(table: pd.DataFrame) -> pd.DataFrame:
    """Arrays of several dimensions as nested lists, which Parquet can hold."""
    deep = {
        name: [v.tolist() if getattr(v, "ndim", 0) > 1 else v for v in table[name]]
        for name in table.columns
        if any(getattr(value, "ndim", 0) > 1 for value in _objects(table, name))
    }
    return table.assign(**deep) if deep else table


def _objects(table: pd.DataFrame, name: Any) -> Any:
    return table[name] if table[name].dtype == object else ()
