"""`Sampler`: random samples of a function, in a table that grows.

    draw ──▶ compute, or a crop ──▶ rows ──▶ lock ─▶ read ─▶ append ─▶ draft, verify, rename

Every row carries the run that it came from and the run's seed. Rows of a run that
are there already are replaced, so a crop that is reaped twice, because the first
time was killed before its end, is in the table once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cropfit.errors import DesignError, ResultError
from cropfit.farming.compute import compute
from cropfit.farming.draw import Method, draw
from cropfit.farming.farmer import DATA, DRAWN
from cropfit.farming.frames import to_frame
from cropfit.farming.runner import Runner
from cropfit.farming.tablefile import choose_engine, load_table, save_table
from cropfit.farming.wrapped import Wrapped
from cropfit.grid import Grid, sample_grid
from cropfit.work.diagnostics import DONE
from cropfit.work.failures import Failures

if TYPE_CHECKING:
    import pandas as pd

    from cropfit.crop import Crop

__all__ = ["RUN", "SEED", "Sampler"]

RUN = "cropfit_run"  # the column that tells from which crop or call a row came
SEED = "cropfit_seed"
_DIAGNOSTICS = ("case_status", "case_seconds", "case_host", "case_attempt")


@dataclass(frozen=True)
class Drawn:
    """Samples that are to be computed."""

    grid: Grid
    seed: int
    method: Method

    @property
    def told(self) -> dict[str, Any]:
        """What is recorded of the drawing."""
        return {DRAWN: {"n": self.grid.size, "method": self.method, "seed": self.seed}}


Combos = Mapping[str, Any] | Iterable[tuple[str, Any]]


class Sampler(Wrapped):
    """Random samples of a function, collected in a DataFrame; callable like the function.

    Parameters
    ----------
    runner : Runner
        The function and its outputs.
    data_name : path, optional
        The file that collects the rows; without one they are in memory alone.
    default_combos : mapping, optional
        What to draw each parameter from, where `sample_combos` says nothing else: values,
        frozen distributions of scipy.stats, or callables.
    engine : {"parquet", "csv", "pickle"}, optional
        By default what the file's ending tells; else Parquet if pyarrow is installed.
    full_df : DataFrame, optional
        Rows to begin with, which are saved with the next ones.

    Attributes
    ----------
    last_df : DataFrame or None
        The rows that came last.

    Examples
    --------
    >>> sampler = Sampler(runner, "shots.parquet", {"x": scipy.stats.norm(0, 2)})  # doctest: +SKIP
    >>> df = sampler.sample_combos(100, method="sobol", seed=1)  # doctest: +SKIP
    """

    reaps_with: ClassVar[dict[str, Any]] = {"layout": "case", "diagnostics": True}

    def __init__(
        self,
        runner: Runner,
        data_name: str | os.PathLike[str] | None = None,
        default_combos: Combos | None = None,
        *,
        engine: str | None = None,
        full_df: pd.DataFrame | None = None,
    ) -> None:
        self.runner = runner
        self.data_name = None if data_name is None else os.path.abspath(data_name)
        self.default_combos = dict(default_combos or {})
        self.engine = choose_engine(self.data_name, engine)
        self.last_df: pd.DataFrame | None = None
        self.last_failures = Failures()
        self._full_df: pd.DataFrame | None = None
        self._unsaved = full_df
        self._wear(runner.fn)

    @property
    def fn(self) -> Callable[..., Any]:
        """The function; another one may be set, with the same outputs."""
        return self.runner.fn

    @fn.setter
    def fn(self, fn: Callable[..., Any]) -> None:
        self.runner.fn = fn
        self._wear(fn)

    # -- the table -----------------------------------------------------------------

    @property
    def full_df(self) -> pd.DataFrame:
        """All rows: what was read or written last, and what is not saved yet."""
        if self._full_df is None:
            self._full_df = self._read()
        return _joined(self._full_df, self._unsaved)

    def load_full_df(self) -> pd.DataFrame:
        """Read the file again, which other processes may have added to."""
        self._full_df = self._read()
        return self.full_df

    def _read(self) -> pd.DataFrame | None:
        if self.data_name is not None:
            with contextlib.suppress(FileNotFoundError):
                return load_table(self.data_name, self.engine)
        return None

    def add_df(self, df: pd.DataFrame, sync: bool = True) -> None:
        """Add rows.

        Parameters
        ----------
        df : DataFrame
            Rows; those of a run that is in the table take its place.
        sync : bool
            Whether to save them. Rows that were not saved go with the next that are.

        Raises
        ------
        ResultError
            The file's format cannot hold them; nothing was changed.
        CropError, OSError
            The file cannot be read, written or locked; it is as it was.
        """
        rows = _joined(self._unsaved, df)
        if not sync or self.data_name is None:
            self._unsaved = rows
            return
        from cropfit.disk.lock import locked

        with locked(self.data_name):
            table = _joined(self._read(), rows)
            save_table(table, self.data_name, self.engine)
        self._full_df, self._unsaved = table, None

    def save_full_df(self, new_full_df: pd.DataFrame | None = None) -> None:
        """Save rows that are not saved yet; or make the file hold `new_full_df` alone."""
        if self.data_name is None:
            raise DesignError("This Sampler has no file to save to: give data_name=.")
        if new_full_df is None:
            self.add_df(_joined(None, None))
            return
        from cropfit.disk.lock import locked

        with locked(self.data_name):
            save_table(new_full_df, self.data_name, self.engine)
        self._full_df, self._unsaved = new_full_df, None

    def delete_df(self, backup: bool = False) -> None:
        """Delete the file and forget all rows; with `backup` the file is renamed to ``.bak``."""
        self._full_df = self._unsaved = None
        if self.data_name is None:
            return
        from cropfit.disk.lock import locked

        with locked(self.data_name), contextlib.suppress(FileNotFoundError):
            if backup:
                os.replace(self.data_name, f"{self.data_name}.bak")
            else:
                os.unlink(self.data_name)

    # -- samples -------------------------------------------------------------------

    def draw(
        self,
        n: int,
        combos: Combos | None = None,
        method: Method = "random",
        seed: int | None = None,
    ) -> Drawn:
        """Draw samples without computing them."""
        if seed is None:
            seed = int.from_bytes(os.urandom(6), "big")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise DesignError(f"seed must be an int of at least 0, not {seed!r}")
        columns = draw(n, {**self.default_combos, **dict(combos or {})}, method, int(seed))
        return Drawn(sample_grid(columns), int(seed), method)

    def sample_combos(
        self,
        n: int,
        combos: Combos | None = None,
        *,
        method: Method = "random",
        seed: int | None = None,
        constants: Mapping[str, Any] | None = None,
        sync: bool = True,
        **settings: Any,
    ) -> pd.DataFrame:
        """Compute samples here and now, and add them.

        Parameters
        ----------
        n : int
            How many.
        combos : mapping, optional
            What to draw from; goes before `default_combos`.
        method : {"random", "latin", "sobol"}
            Independent draws, a Latin hypercube or a Sobol sequence.
        seed : int, optional
            Root of all random numbers; drawn if not given, and recorded in the rows.
        constants : mapping, optional
            Further arguments for every case.
        sync : bool
            Whether to save the rows.
        **settings
            As of `Runner.run_combos`.

        Returns
        -------
        DataFrame
            The new rows.
        """
        drawn = self.draw(n, combos, method, seed)
        settings = {**self.runner.settings, **settings, "layout": "case"}
        asked = {"seed": drawn.seed, "shuffle": settings.pop("shuffle", False)}
        done = compute(self.runner.request(drawn.grid, constants or {}, **asked), **settings)
        if done.dataset is None:
            raise ResultError(_NAMELESS)
        rows = to_frame(done.dataset)
        failed = [failure["case"] for failure in done.failures]
        rows = rows.drop(index=failed).reset_index(drop=True)
        self.last_failures = done.failures
        return self._add(rows, os.urandom(8).hex(), drawn.seed, sync)

    def _add(self, rows: pd.DataFrame, run: str, seed: int, sync: bool) -> pd.DataFrame:
        rows = rows.assign(**{RUN: run, SEED: np.int64(seed)})
        self.add_df(rows, sync=sync)
        self.last_df = rows
        return rows

    # -- crops ---------------------------------------------------------------------

    def Crop(self, name: str | None = None, **options: Any) -> Crop:
        """A crop of samples, to be sown with `sow_samples`; options as of `cropfit.Crop`."""
        from cropfit.crop import Crop

        return Crop(name=name, farmer=self, **options)

    def record(self) -> dict[str, Any]:
        """What a crop's folder tells of its Sampler."""
        return {"kind": "sampler", DATA: self.data_name, "engine": self.engine}

    def collect(self, data: Any, *, sync: bool = True, overwrite: bool | None = None) -> Any:
        """Add what a crop gave; cases without a result make no row.

        Raises
        ------
        ResultError
            The function's outputs have no names.
        """
        if not hasattr(data, "data_vars"):
            raise ResultError(_NAMELESS)
        done = data["case_status"].values == DONE
        kept = data.isel(case=done) if "case" in data.dims else data.isel(case_number=done)
        rows = to_frame(kept.drop_vars(_DIAGNOSTICS, errors="ignore"))
        run = str(data.attrs["cropfit_crop"]).rpartition(" ")[2]
        return self._add(rows, run, int(data.attrs["cropfit_seed"]), sync)


_NAMELESS = (
    "Samples make a table only where outputs have names: give the Runner var_names, or let the "
    "function return a dict."
)


def _joined(table: pd.DataFrame | None, rows: pd.DataFrame | None) -> pd.DataFrame:
    """Rows below a table, in place of those of the same runs; no type is lost."""
    import pandas as pd

    parts = [part for part in (table, rows) if part is not None and len(part.columns)]
    if len(parts) < 2:
        return parts[0].reset_index(drop=True) if parts else pd.DataFrame()
    table, rows = parts
    if RUN in table.columns and RUN in rows.columns:
        table = table[~table[RUN].isin(rows[RUN].unique())]
    if len(table) == 0 or len(rows) == 0:
        return (table if len(table) else rows).reset_index(drop=True)
    names = [*table.columns, *(name for name in rows.columns if name not in table.columns)]
    parts = [_with_missing(part, other) for part, other in ((table, rows), (rows, table))]
    return pd.concat(parts, ignore_index=True)[names]


def _with_missing(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Ints and bools that the other table lacks in a type that can be missing."""
    nullable = {"i": "Int64", "u": "UInt64", "b": "boolean"}
    alone = {
        name: nullable[table[name].dtype.kind]
        for name in table.columns
        if name not in other.columns and getattr(table[name].dtype, "kind", "O") in nullable
    }
    return table.astype(alone) if alone else table
