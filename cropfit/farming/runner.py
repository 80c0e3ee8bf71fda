"""`Runner`: a function that knows the names, dimensions and units of what it returns.

runner(x=1)                      the function itself
runner.run_combos({...})         ──▶ Dataset, here and now; nothing is left on disk
runner.Crop(...).sow_combos()    ──▶ crop ──▶ Dataset, on any hosts
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cropfit.disk.functions import name_of
from cropfit.errors import DesignError
from cropfit.farming.compute import Computed, compute
from cropfit.farming.wrapped import Wrapped
from cropfit.grid import build_grid
from cropfit.outputs import Outputs
from cropfit.work.failures import Failures
from cropfit.work.request import Request

if TYPE_CHECKING:
    import xarray as xr

    import cropfit.crop as crops
    from cropfit.grid import Grid

__all__ = ["Runner"]


class Runner(Wrapped):
    """A function with labelled outputs; callable like the function.

    Parameters
    ----------
    fn : callable
        What to call for each case.
    var_names : str, sequence of str or None
        Names of what it returns, in order; None if it tells itself by returning a
        Dataset, a DataArray or a dict.
    fn_args : sequence of str, optional
        Names of the arguments, in the order in which cases that are tuples give
        them; by default those of the function.
    var_dims : mapping, optional
        Name → inner dimensions, for outputs that are arrays.
    var_coords : mapping, optional
        Inner dimension → its coordinate.
    constants : mapping, optional
        Arguments that are the same for every case, and recorded: as coordinates if
        they are named like an inner dimension, else as attributes.
    resources : mapping, optional
        Arguments that are the same for every case, and not recorded.
    attrs : mapping, optional
        Attributes of the Dataset.
    var_attrs : mapping, optional
        Name → attributes, such as ``{"units": "Msun", "long_name": "stellar mass"}``.
    **settings
        Defaults of `run_combos` and `run_cases`, such as ``num_workers=4``.

    Attributes
    ----------
    last_ds : Dataset or None
        What was computed or reaped last.
    last_failures : list of dict
        Failed cases of the last run with ``on_error="record"``.

    Examples
    --------
    >>> runner = Runner(simulate, ["energy"], constants={"size": 8})  # doctest: +SKIP
    >>> ds = runner.run_combos({"temperature": [0.1, 0.2]})  # doctest: +SKIP
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        var_names: str | Iterable[str] | None = None,
        fn_args: str | Iterable[str] | None = None,
        var_dims: Any = None,
        var_coords: Mapping[str, Any] | None = None,
        constants: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
        var_attrs: Mapping[str, Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        self.outputs = Outputs.parse(
            var_names, var_dims=var_dims, var_coords=var_coords, var_attrs=var_attrs, attrs=attrs
        )
        self.constants = dict(constants or {})
        self.resources = dict(resources or {})
        self.settings = settings
        self.last_ds: xr.Dataset | None = None
        self.last_failures = Failures()
        self._fn_args = (fn_args,) if isinstance(fn_args, str) else tuple(fn_args or ())
        self.fn = fn

    @property
    def fn(self) -> Callable[..., Any]:
        """The function; another one may be set, with the same outputs."""
        return self._fn

    @fn.setter
    def fn(self, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            raise DesignError(f"{fn!r} is not callable; give a function.")
        self._fn = fn
        self._wear(fn)

    @property
    def var_names(self) -> tuple[str, ...] | None:
        """Names of the outputs; None if the function tells."""
        return self.outputs.var_names

    @property
    def fn_args(self) -> tuple[str, ...]:
        """Names of the arguments that cases give, in order."""
        if self._fn_args:
            return self._fn_args
        given = {*self.constants, *self.resources}
        parameters = inspect.signature(self._fn).parameters.values()
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return tuple(p.name for p in parameters if p.kind in kinds and p.name not in given)

    def __repr__(self) -> str:
        names = "told by its results" if self.var_names is None else ", ".join(self.var_names)
        return f"<{type(self).__name__} of {name_of(self._fn)}: {names}>"

    # -- compute here and now ------------------------------------------------------

    def run_combos(
        self,
        combos: Any,
        constants: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        cases: Any = None,
        **settings: Any,
    ) -> Any:
        """Compute all combinations of values.

        Parameters
        ----------
        combos : mapping
            Name → values, as `Crop.sow_combos` takes them.
        constants : mapping, optional
            Further arguments for every case; those of the runner give way to them.
        cases : list of mappings, optional
            Explicit cases; every case is combined with every combination.
        **settings
            See `cropfit.farming.compute.compute`: `parallel`, `num_workers`,
            `executor`, `verbosity`, `shuffle`, `seed`, `on_error`, `layout`,
            `fill_value`, `to_df`.

        Returns
        -------
        xarray.Dataset
            Or a DataFrame with ``to_df=True``; a list where outputs have no names.

        Raises
        ------
        CaseError
            A case raised; says which, and is caused by what it raised.
        """
        return self._run(build_grid(combos, cases), constants, settings)

    def run_cases(
        self,
        cases: Any,
        constants: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        fn_args: str | Iterable[str] | None = None,
        combos: Any = None,
        **settings: Any,
    ) -> Any:
        """Compute explicit cases; options as of `run_combos`.

        Parameters
        ----------
        cases : list of tuples or mappings, or DataFrame
            One row a case.
        constants : mapping, optional
            Further arguments for every case.
        fn_args : sequence of str, optional
            Names of the arguments, in the order in which tuples give them.
        combos : mapping, optional
            Every case is combined with every combination of these.
        """
        grid = build_grid(combos, cases, self.case_args(cases, fn_args))
        return self._run(grid, constants, settings)

    def case_args(self, cases: Any, fn_args: Any = None) -> Any:
        """Names for cases that are tuples; None if the cases have names themselves."""
        if fn_args is not None or hasattr(cases, "columns"):
            return fn_args
        first = next(iter(cases), None) if isinstance(cases, (list, tuple)) else None
        if isinstance(first, Mapping):
            return None
        width = len(first) if isinstance(first, (tuple, list)) else 1
        return self.fn_args[:width]

    def request(self, grid: Grid, constants: Any = (), **options: Any) -> Request:
        """What is to be computed; arguments that vary take the place of the runner's own."""
        given = dict(constants)
        own = {**self.constants, **given}
        return Request(
            self._fn,
            grid,
            self.outputs,
            {name: value for name, value in own.items() if name in given or name not in grid.names},
            {
                name: value
                for name, value in self.resources.items()
                if name not in given and name not in grid.names
            },
            **options,
        )

    def _run(self, grid: Grid, constants: Any, settings: dict[str, Any]) -> Any:
        settings = {**self.settings, **settings}
        asked = {name: settings.pop(name) for name in ("shuffle", "seed") if name in settings}
        computed: Computed = compute(self.request(grid, constants, **asked), **settings)
        self.last_failures = computed.failures
        self.last_ds = computed.dataset
        if self.last_ds is not None:
            importlib.import_module("cropfit.farming.accessor")  # for .cropfit of the Dataset
        return computed.result

    # -- crops ---------------------------------------------------------------------

    def Crop(self, name: str | None = None, **options: Any) -> crops.Crop:
        """A crop of this function; options as of `cropfit.Crop`."""
        from cropfit.crop import Crop

        return Crop(name=name, farmer=self, **options)

    def sow(self, combos: Any = None, **options: Any) -> crops.Crop | None:
        """The crop of a request, the same in every session; see `cropfit.farming.cultivate.sow`."""
        from cropfit.farming.cultivate import sow

        return sow(self, combos, **options)

    def record(self) -> dict[str, Any]:
        """What a crop's folder tells of its runner, beside the function and its outputs."""
        return {"kind": "runner"}

    def collect(self, data: Any, *, sync: bool = True, overwrite: bool | None = None) -> Any:
        """Remember what was reaped."""
        self.last_ds = data
        return data
