"""`label`: a decorator that names what a function returns; the function stays a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cropfit.errors import DesignError
from cropfit.farming.runner import Runner

if TYPE_CHECKING:
    from cropfit.farming.harvester import Harvester
    from cropfit.farming.sampler import Sampler

__all__ = ["label"]

Place = bool | str | os.PathLike[str]


def label(
    var_names: str | Iterable[str] | None,
    fn_args: str | Iterable[str] | None = None,
    var_dims: Any = None,
    var_coords: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
    harvester: Place = False,
    sampler: Place = False,
    engine: str | None = None,
    var_attrs: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: Any,
) -> Callable[[Callable[..., Any]], Runner | Harvester | Sampler]:
    """Make a function a Runner, Harvester or Sampler that is called like the function.

    Parameters
    ----------
    var_names, fn_args, var_dims, var_coords, constants, resources, attrs, var_attrs
        As of `Runner`.
    harvester : path or bool
        Make a Harvester with this file; True for one in memory.
    sampler : path or bool
        Make a Sampler with this file; True for one in memory.
    engine : str, optional
        Format of the file.
    **settings
        Defaults of `run_combos` and the like.

    Raises
    ------
    DesignError
        Both a Harvester and a Sampler are asked for.

    Examples
    --------
    >>> @label(var_names=["sum", "difference"])
    ... def both(a, b):
    ...     return a + b, a - b
    >>> both(1, 2)
    (3, -1)
    """
    if harvester and sampler:
        raise DesignError("harvester= and sampler= are two things; label the function for one.")

    def labelled(fn: Callable[..., Any]) -> Runner | Harvester | Sampler:
        runner = Runner(
            fn,
            var_names,
            fn_args,
            var_dims,
            var_coords,
            constants,
            resources,
            attrs,
            var_attrs,
            **settings,
        )
        if harvester:
            from cropfit.farming.harvester import Harvester

            return Harvester(runner, _path(harvester), engine=engine)
        if sampler:
            from cropfit.farming.sampler import Sampler

            return Sampler(runner, _path(sampler), engine=engine)
        return runner

    return labelled


def _path(place: Place) -> str | os.PathLike[str] | None:
    return None if isinstance(place, bool) else place
