"""A function over combos or cases in one call, under the names that users of xyzpy know."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from cropfit.farming.compute import compute
from cropfit.farming.runner import Runner
from cropfit.grid import Grid, build_grid

__all__ = [
    "case_runner",
    "case_runner_to_df",
    "case_runner_to_ds",
    "combo_runner",
    "combo_runner_to_df",
    "combo_runner_to_ds",
]


def combo_runner(
    fn: Callable[..., Any],
    combos: Any = None,
    *,
    cases: Any = None,
    constants: Mapping[str, Any] | None = None,
    split: bool = False,
    flat: bool = False,
    **settings: Any,
) -> Any:
    """All results as nested tuples, one level a parameter.

    Parameters
    ----------
    fn : callable
        What to call.
    combos, cases, constants
        As of `Runner.run_combos`.
    split : bool
        Give one nest for each of the outputs, if the function returns several.
    flat : bool
        Give one list in the order of the cases.
    **settings
        As of `Runner.run_combos`: `parallel`, `num_workers`, `executor`, `shuffle`,
        `seed`, `verbosity`, `on_error`.
    """
    return _nest(fn, build_grid(combos or {}, cases), constants, split, flat, settings)


def case_runner(
    fn: Callable[..., Any],
    fn_args: Any,
    cases: Any,
    combos: Any = None,
    constants: Mapping[str, Any] | None = None,
    split: bool = False,
    **settings: Any,
) -> Any:
    """The results of explicit cases as a tuple; options as of `combo_runner`."""
    settings.pop("parse", None)
    names = Runner(fn, fn_args=fn_args).case_args(cases)
    return _nest(fn, build_grid(combos or {}, cases, names), constants, split, False, settings)


def combo_runner_to_ds(
    fn: Callable[..., Any],
    combos: Any,
    var_names: Any,
    *,
    var_dims: Any = None,
    var_coords: Mapping[str, Any] | None = None,
    cases: Any = None,
    constants: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
    parse: bool = True,
    **settings: Any,
) -> Any:
    """All results as a Dataset, or a DataFrame with ``to_df=True``; see `Runner`.

    `parse` is taken for the sake of older scripts, and means nothing.
    """
    runner = Runner(fn, var_names, None, var_dims, var_coords, constants, resources, attrs)
    return runner.run_combos(combos, cases=cases, **settings)


def case_runner_to_ds(
    fn: Callable[..., Any],
    fn_args: Any,
    cases: Any,
    var_names: Any,
    var_dims: Any = None,
    var_coords: Mapping[str, Any] | None = None,
    combos: Any = None,
    constants: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
    parse: bool = True,
    **settings: Any,
) -> Any:
    """The results of explicit cases as a Dataset; see `combo_runner_to_ds`."""
    runner = Runner(fn, var_names, fn_args, var_dims, var_coords, constants, resources, attrs)
    return runner.run_cases(cases, combos=combos, **settings)


combo_runner_to_df = functools.partial(combo_runner_to_ds, to_df=True)
case_runner_to_df = functools.partial(case_runner_to_ds, to_df=True)


def _nest(
    fn: Callable[..., Any],
    grid: Grid,
    constants: Mapping[str, Any] | None,
    split: bool,
    flat: bool,
    settings: dict[str, Any],
) -> Any:
    asked = {name: settings.pop(name) for name in ("shuffle", "seed") if name in settings}
    settings.pop("desc", None)
    request = Runner(fn).request(grid, constants or {}, **asked)
    found = compute(request, nested=True, **settings).result
    depth = len(grid.shape)
    if flat:
        for _ in range(depth - 1):
            found = [each for part in found for each in part]
        found, depth = list(found), 1
    if not split:
        return found
    first = found
    for _ in range(depth):
        first = first[0]
    return tuple(_pick(found, depth, output) for output in range(len(first)))


def _pick(nest: Any, depth: int, output: int) -> Any:
    if depth == 0:
        return nest[output]
    return tuple(_pick(part, depth - 1, output) for part in nest)
