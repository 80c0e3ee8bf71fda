"""Quick looks at a Dataset: any output, where the time went, and where cases failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cropfit.errors import DesignError
from cropfit.plotting.arrange import STATUS, Roles, arrange, select
from cropfit.plotting.draw import draw
from cropfit.plotting.fates import draw_fates, with_fates
from cropfit.plotting.figures import figure_class
from cropfit.plotting.objects import is_catalogue, plot_objects, to_table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["plot", "plot_failures", "plot_seconds"]

SECONDS = "case_seconds"
MOST_PLACES = 4  # x, y, col and row
SPREAD = 100  # from the shortest case to the longest, from which on colours go by factors


def plot(
    ds: xr.Dataset, what: str | None, roles: Roles, sel: Mapping[str, Any] | None, **options: Any
) -> Figure:
    """Draw an output; see `CropfitAccessor.plot`."""
    figure_class()  # says first if matplotlib is missing
    if is_catalogue(ds):
        wish = roles.y if what is None else what
        return plot_objects(to_table(ds), wish, x=roles.x, hue=roles.hue, options=options)
    return draw(arrange(select(ds, sel), what, roles), options)


def plot_seconds(
    ds: xr.Dataset, roles: Roles, sel: Mapping[str, Any] | None, **options: Any
) -> Figure:
    """Draw how long cases took; see `CropfitAccessor.plot_seconds`."""
    figure_class()
    ds = select(_diagnosed(ds)[[STATUS, SECONDS]], sel)
    ds = _mean(ds, SECONDS, _rest(ds, roles))
    found = arrange(ds, SECONDS, roles, lines=0)
    seconds = ds[SECONDS].values[ds[SECONDS].values > 0]
    if found.kind == "map" and seconds.size and seconds.max() > SPREAD * seconds.min():
        from matplotlib.colors import LogNorm

        options = {"norm": LogNorm(seconds.min(), seconds.max()), **options}
    return draw(found, options)


def plot_failures(
    ds: xr.Dataset, roles: Roles, sel: Mapping[str, Any] | None, **options: Any
) -> Figure:
    """Draw what became of the cases; see `CropfitAccessor.plot_failures`."""
    figure_class()
    ds = select(_diagnosed(ds), sel)
    fates = with_fates(ds)
    if rest := _rest(ds, roles):
        found = arrange(_mean(fates.share(), "share", rest), "share", roles, lines=0)
        ends = {"vmin": 0, "vmax": 1} if found.kind == "map" else {}
        figure = draw(found, {**ends, **options})
        if found.kind == "line":
            figure.axes[0].set_ylim(-0.02, 1.02)
        return figure
    return draw_fates(arrange(fates.data, "fate", roles, lines=0), fates, options)


def _diagnosed(ds: xr.Dataset) -> xr.Dataset:
    if STATUS not in ds or SECONDS not in ds:
        raise DesignError(
            f"This Dataset has no {STATUS} and {SECONDS}: reap it with diagnostics=True."
        )
    return ds


def _rest(ds: xr.Dataset, roles: Roles) -> list[str]:
    """Parameters over which the mean is taken.

    All that were not named where x was; else as many as there is no place for.
    """
    names = {name for name in roles.given().values() if name in ds.coords or name in ds.dims}
    taken = {str(dim) for name in names for dim in ds[name].dims}
    sizes = {str(dim): ds.sizes[dim] for dim in ds[STATUS].dims if ds.sizes[dim] > 1}
    free = [dim for dim in sorted(sizes, key=lambda d: -sizes[d]) if dim not in taken]
    if roles.x is not None:
        return free
    return free[max(0, 2 - len(taken)) :] if len(sizes) > MOST_PLACES else []


def _mean(ds: xr.Dataset, name: str, rest: list[str]) -> xr.Dataset:
    """One variable, averaged over parameters; the rest of the Dataset has no mean."""
    if not rest:
        return ds
    mean = ds[name].mean(rest, keep_attrs=True)
    mean.attrs["long_name"] = f"{mean.attrs.get('long_name', name)}, mean over {', '.join(rest)}"
    return mean.to_dataset(name=name)
