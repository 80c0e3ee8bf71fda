"""Which parameter goes where: what the user named first, then what suits a quick look.

line      one output over x; a line for each label of hue
map       one output as colour over x and y
points    cases that lie on no grid, or one output against another
hist      how often the values of one output are taken

Further parameters become panels, in columns and rows. What cannot be decided is an
error that lists the choices: nothing is averaged or left out unasked.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from cropfit.errors import DesignError
from cropfit.plotting.figures import told

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["STATUS", "Arranged", "Roles", "arrange", "select"]

STATUS = "case_status"
DIAGNOSTICS = (STATUS, "case_seconds", "case_host", "case_attempt", "case_error")
MOST_LINES = 10  # labels that make lines in one panel; with more they make a map
MOST_PANELS = 48

Kind = Literal["line", "map", "points", "hist"]


@dataclass(frozen=True)
class Roles:
    """What each direction of the picture stands for; None where nothing was said."""

    x: str | None = None
    y: str | None = None
    hue: str | None = None
    col: str | None = None
    row: str | None = None

    def given(self) -> dict[str, str]:
        """Role → name of those that are given."""
        return {role: name for role, name in asdict(self).items() if name is not None}


@dataclass(frozen=True)
class Arranged:
    """What is to be drawn.

    Attributes
    ----------
    kind : str
        How.
    data : Dataset
        On a grid `value` and, where it is known, the status of each case over the dimensions
        in `roles`. For points and histograms columns along one dimension.
    value : str
        The output; of points it stands at y, or in the colour where both axes are taken.
    roles : Roles
        All that are used.
    title : str
        Single labels at which the data were taken.
    """

    kind: Kind
    data: xr.Dataset
    value: str
    roles: Roles
    title: str = ""


def arrange(ds: xr.Dataset, what: str | None, roles: Roles, *, lines: int = MOST_LINES) -> Arranged:
    """Decide what to draw, and how.

    Parameters
    ----------
    ds : Dataset
        As a reap gives it.
    what : str, optional
        The output; by default the only one.
    roles : Roles
        What the user named.
    lines : int
        Labels of a second parameter up to which lines are drawn, and a map beyond.

    Raises
    ------
    DesignError
        A name is unknown, or there is more than one way; lists the choices.
    """
    _check_names(ds, what, roles)
    if roles.y is not None and roles.y in ds.data_vars:
        if what is not None:
            raise DesignError(f"{what!r} and y={roles.y!r} are two outputs to draw; name one.")
        what, roles = roles.y, replace(roles, y=None)
    is_hist = what is None and roles.x in ds.data_vars and roles.hue is None
    if is_hist and roles.y is None:
        return _as_hist(ds, roles)
    value = _choose_output(ds, roles) if what is None else what
    _check_numeric(ds, value)
    picked = _picked(ds, value)
    if _is_scattered(picked, ds, roles):
        return _as_points(ds, picked, value, roles)
    return _on_a_grid(picked, value, roles, lines)


def select(ds: xr.Dataset, sel: Mapping[str, Any] | None) -> xr.Dataset:
    """The Dataset at the given labels; of numbers the nearest.

    Raises
    ------
    DesignError
        There is no such parameter or label.
    """
    for name, label in (sel or {}).items():
        if name not in ds.coords and name not in ds.dims:
            raise DesignError(f"sel: there is no {name!r}; there are {_list(ds.dims)}.")
        nearest = name in ds.indexes and ds[name].dtype.kind in "iuf" and np.ndim(label) == 0
        try:
            ds = ds.sel({name: label}, method="nearest" if nearest else None)
        except (KeyError, ValueError, TypeError) as error:
            labels = _list(told(each) for each in ds[name].values[:10])
            raise DesignError(f"sel: {name!r} has no {label!r}; it has {labels}.") from error
    return ds


# -- what the user named -----------------------------------------------------------------


def _check_names(ds: xr.Dataset, what: str | None, roles: Roles) -> None:
    known = [*ds.data_vars, *ds.coords, *ds.dims]
    for role, name in {"the output": what, **asdict(roles)}.items():
        if name is not None and name not in known:
            raise DesignError(
                f"There is no {name!r} for {role}. Outputs: {_list(_outputs(ds))}; parameters and "
                f"other axes: {_list(_axes(ds))}."
            )
    given = list(roles.given().values())
    twice = {name for name in given if given.count(name) > 1}
    if twice:
        raise DesignError(f"{_list(twice)} cannot stand in two places of one picture.")
    for role in ("col", "row"):
        if roles.given().get(role) in ds.data_vars:
            raise DesignError(f"{role}= takes a parameter: {_list(_axes(ds))}.")


def _choose_output(ds: xr.Dataset, roles: Roles) -> str:
    taken = set(roles.given().values())
    choices = [name for name in _outputs(ds) if name not in taken]
    if len(choices) == 1:
        return choices[0]
    if not choices:
        raise DesignError(
            f"There is no output that is a number; there are {_list(ds.data_vars) or 'none'}."
        )
    raise DesignError(f"Which output? plot({choices[0]!r}), or one of {_list(choices[1:])}.")


def _check_numeric(ds: xr.Dataset, name: str) -> None:
    kind = ds[name].dtype.kind
    if kind == "c":
        raise DesignError(
            f"{name!r} is complex: assign what to draw, as in ds.assign(size=abs(ds[{name!r}]))."
        )
    if kind not in "biuf":
        raise DesignError(
            f"{name!r} is no number ({ds[name].dtype}); numbers are {_list(_outputs(ds))}."
        )


def _outputs(ds: xr.Dataset) -> list[str]:
    """Outputs that are numbers, without what cropfit adds to them."""
    lengths = {f"{name}_length" for name in ds.data_vars}
    return [
        str(name)
        for name, each in ds.data_vars.items()
        if name not in DIAGNOSTICS and name not in lengths and each.dtype.kind in "biufc"
    ]


def _axes(ds: xr.Dataset) -> list[str]:
    """Dimensions, and coordinates along one dimension."""
    along = [str(name) for name, each in ds.coords.items() if len(each.dims) == 1]
    return list(dict.fromkeys([*map(str, ds.dims), *along]))


def _list(names: Iterable[Hashable]) -> str:
    return ", ".join(repr(str(name)) for name in names)


# -- on a grid ---------------------------------------------------------------------------


def _picked(ds: xr.Dataset, value: str) -> xr.Dataset:
    """The output, and the status of its cases; single labels are taken off."""
    picked = ds[[value]]
    if STATUS in ds and set(ds[STATUS].dims) <= set(ds[value].dims):
        picked[STATUS] = ds[STATUS]
    return picked.squeeze()


def _is_scattered(picked: xr.Dataset, ds: xr.Dataset, roles: Roles) -> bool:
    """Whether cases lie on no grid, or outputs stand against each other."""
    given = roles.given().values()
    if any(name in ds.data_vars for name in given):
        return True
    there = [name for name in given if name in picked.coords or name in picked.dims]
    dims = [picked[name].dims[0] for name in there if len(picked[name].dims) == 1]
    if len(dims) > len(set(dims)):
        return True
    return any(_lies_on_no_grid(picked, dim, set(given)) for dim in picked.dims)


def _lies_on_no_grid(picked: xr.Dataset, dim: Hashable, given: set[str]) -> bool:
    """Whether a dimension is that of explicit cases, or has labels that come twice."""
    along = _along(picked, dim)
    if dim in along or len(along) < 2:
        return False
    chosen = next((name for name in along if name in given), along[0])
    distinct = set(picked[chosen].values.tolist())
    return str(dim).startswith("case") or len(distinct) < picked.sizes[dim]


def _along(ds: xr.Dataset, dim: Hashable) -> list[str]:
    return [str(name) for name, each in ds.coords.items() if each.dims == (dim,)]


def _on_a_grid(picked: xr.Dataset, value: str, roles: Roles, lines: int) -> Arranged:
    picked = _with_labels(picked, roles)
    roles = _without_single(picked, roles)
    if not picked.sizes:
        return _as_hist(picked, Roles(x=value))
    roles = _filled(picked, value, roles, lines)
    dims = list(roles.given().values())
    panels = [picked.sizes[name] for name in (roles.col, roles.row) if name is not None]
    if np.prod(panels, dtype=int) > MOST_PANELS:
        raise DesignError(
            f"{_sizes(picked)}: {np.prod(panels)} panels are more than {MOST_PANELS}. Take some "
            "labels: plot(sel={'name': label}), or name x=, y= or hue=, col= and row=."
        )
    named = picked.sortby([name for name in dims if picked[name].dtype.kind in "iufM"])
    kind: Kind = "line" if roles.y is None else "map"
    return Arranged(kind, named.transpose(*dims), value, roles, _title(picked))


def _with_labels(picked: xr.Dataset, roles: Roles) -> xr.Dataset:
    """Every dimension goes by the name of the coordinate that is drawn along it."""
    wanted = set(roles.given().values())
    for dim in list(picked.sizes):
        along = _along(picked, dim)
        chosen = next((name for name in along if name in wanted), None)
        chosen = chosen or (str(dim) if dim in along else next(iter(along), None))
        if chosen is None:
            picked = picked.assign_coords({dim: np.arange(picked.sizes[dim])})
        elif chosen != dim:
            picked = picked.swap_dims({dim: chosen})
    return picked


def _without_single(picked: xr.Dataset, roles: Roles) -> Roles:
    """Roles of parameters that have one label, or that this output does not have, fall away."""
    for role, name in roles.given().items():
        if name in picked.dims:
            continue
        if name not in picked.coords:
            raise DesignError(
                f"{name!r} has no part in {_list(picked.data_vars)}, which has {_sizes(picked)}."
            )
        roles = replace(roles, **{role: None})
    return roles


def _filled(picked: xr.Dataset, value: str, roles: Roles, lines: int) -> Roles:
    """Give the dimensions that were not named the places that are free."""
    taken = set(roles.given().values())
    rest = sorted((str(d) for d in picked.dims if d not in taken), key=lambda d: _rank(picked, d))
    if roles.x is None and rest:
        roles = replace(roles, x=rest.pop(0))
    if roles.y is None and roles.hue is None and rest:
        name = rest.pop(0)
        role = "hue" if picked.sizes[name] <= lines else "y"
        roles = replace(roles, **{role: name})
    for role in ("col", "row"):
        if rest and getattr(roles, role) is None:
            roles = replace(roles, **{role: rest.pop(0)})
    if rest:
        raise DesignError(
            f"{value!r} has {_sizes(picked)}: no place is left for {_list(rest)}. Take one label, "
            f"as in plot(sel={{{rest[0]!r}: {told(picked[rest[0]].values[0])}}}), or choose with "
            "x=, y= or hue=, col= and row=."
        )
    if roles.y is not None and roles.hue is not None:
        raise DesignError(
            f"y={roles.y!r} is a parameter, so {value!r} is the colour: hue= has no place."
        )
    return roles


def _rank(picked: xr.Dataset, dim: str) -> tuple[bool, bool, int]:
    """Along x goes what the function's arrays are long in, then numbers, then what is longer."""
    inner = STATUS in picked and dim not in picked[STATUS].dims
    return not inner, picked[dim].dtype.kind not in "iufM", -picked.sizes[dim]


def _sizes(picked: xr.Dataset) -> str:
    return " × ".join(f"{name} ({size})" for name, size in picked.sizes.items())


def _title(picked: xr.Dataset) -> str:
    """Single labels, which are not on any axis."""
    single = {n: c for n, c in picked.coords.items() if not c.dims and n not in picked.dims}
    return ", ".join(f"{name} = {told(each.values[()])}" for name, each in single.items())


# -- columns -----------------------------------------------------------------------------


def _as_points(ds: xr.Dataset, picked: xr.Dataset, value: str, roles: Roles) -> Arranged:
    """One row a case: those on no grid, or all of them with outputs against each other."""
    if roles.x is None:
        free = [name for name in _axes(picked) if name not in roles.given().values()]
        free = [name for name in free if name in picked.coords]
        if not free or (len(free) > 2 and roles == Roles()):
            raise DesignError(f"Which parameter along x? plot(x=...): {_list(free)}.")
        roles = replace(roles, x=free[0])
        if len(free) == 2 and roles == Roles(x=free[0]):
            roles = replace(roles, y=free[1])
    names = [value, *roles.given().values(), *([STATUS] if STATUS in picked else [])]
    if roles.y is not None and roles.hue is not None:
        raise DesignError(
            f"y={roles.y!r} is a parameter, so {value!r} is the colour: hue= has no place."
        )
    return Arranged("points", _columns(ds, names), value, roles, _title(picked))


def _as_hist(ds: xr.Dataset, roles: Roles) -> Arranged:
    value = str(roles.x)
    _check_numeric(ds, value)
    names = [value, *[n for r, n in roles.given().items() if r != "x"]]
    names += [STATUS] if STATUS in ds else []
    return Arranged("hist", _columns(ds, names), value, replace(roles, x=None), _title(ds))


def _columns(ds: xr.Dataset, names: list[str]) -> xr.Dataset:
    """The named variables for every cell, along one dimension."""
    import xarray as xr

    arrays = [ds[name].reset_coords(drop=True) for name in dict.fromkeys(names)]
    spread = xr.broadcast(*arrays)
    made = {
        name: ("cell", each.values.ravel(), dict(ds[name].attrs))
        for name, each in zip(dict.fromkeys(names), spread, strict=True)
    }
    return xr.Dataset(cast(Any, made))
