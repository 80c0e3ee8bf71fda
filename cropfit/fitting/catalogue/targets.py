"""Objects to be fitted, each with the settings that are its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from cropfit.errors import DesignError
from cropfit.fitting.model import Model
from cropfit.fitting.pipeline.run import Pipeline
from cropfit.fitting.priors import Normal

OPTIONS = ("sampler", "n_live", "dlogz", "max_calls", "timeout", "seed")
SIGMA = "_sigma"
CUT = 3.0  # standard deviations at which a prior from a measured value ends


@dataclass(frozen=True)
class Target:
    """One object.

    Parameters
    ----------
    id : str or int
        Its key.
    settings : mapping
        Parameter → number or prior.
    options : mapping
        Options of the fit that differ from the catalogue's.
    model : Model or Pipeline, optional
        Instead of the catalogue's.
    data
        What is fitted, if it was given and need not be loaded.
    """

    id: str | int
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    model: Model | Pipeline | None = None
    data: Any = None

    def fitted_by(self, model: Model | Pipeline) -> Model | Pipeline:
        """The model, or pipeline, of this object: a copy, so that nothing leaks to the next one."""
        own = self.model or model
        return own.with_settings(priors=self.settings) if self.settings else own


def read_targets(ids: Any, settings: Any, model: Model | Pipeline) -> dict[str | int, Target]:
    """Objects by their id, in the order in which they are given.

    Parameters
    ----------
    ids : iterable, or mapping of id to data
        Text or whole numbers, each once.
    settings : mapping of id to mapping, or DataFrame or astropy Table, or None
        Name of a parameter → number that fixes it, or prior; ``<name>_sigma`` beside a number
        makes it a normal prior, cut off at three of them; "model", and options of the fit.
        In a table the objects are the rows, by the index or by a column ``id``; cells that
        are empty (NaN or masked) say nothing.
    model : Model or Pipeline
        Of those objects that have none of their own.

    Raises
    ------
    DesignError
        An id comes twice or is neither text nor a whole number, settings are of an object
        that is not there, or name what nobody knows.
    """
    keys = [_plain(each) for each in ids]
    given = dict(
        zip(keys, ids.values() if isinstance(ids, Mapping) else repeat(None), strict=False)
    )
    if len({type(key) for key in keys}) > 1:
        raise DesignError("ids must be all text or all whole numbers; make them all text.")
    if len(given) < len(keys):
        twice = [key for key, times in Counter(keys).items() if times > 1]
        raise DesignError(f"{len(twice)} ids come more than once: {twice[:5]}.")
    rows = _read_settings(settings)
    strange = [key for key in rows if key not in given]
    if strange:
        raise DesignError(
            f"settings are given for {len(strange)} objects that are not among the "
            f"{len(given)} ids: {strange[:5]}. They are matched by id, never by position."
        )
    return {key: _target(key, rows.get(key, {}), model, data) for key, data in given.items()}


def _plain(key: Any) -> str | int:
    """An id as text or int, whatever library it comes from."""
    found = key.item() if hasattr(key, "item") else key
    if isinstance(found, bytes):
        found = found.decode()
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        raise DesignError(f"ids are text or whole numbers, not {key!r}.")
    return found


def _read_settings(settings: Any) -> dict[str | int, dict[str, Any]]:
    if settings is None:
        return {}
    if isinstance(settings, Mapping):
        return {_plain(key): dict(row) for key, row in settings.items()}
    if hasattr(settings, "colnames"):  # an astropy Table
        settings = settings.to_pandas()
    if not hasattr(settings, "columns"):
        raise DesignError(
            f"settings must be a mapping of id to mapping, or a table, not {settings!r}."
        )
    if "id" in settings.columns:
        settings = settings.set_index("id")
    rows: dict[str | int, dict[str, Any]] = {}
    for key, row in zip(settings.index, settings.to_dict("records"), strict=True):
        if _plain(key) in rows:
            raise DesignError(f"The table of settings has {key!r} twice.")
        rows[_plain(key)] = {str(name): cell for name, cell in row.items() if not _empty(cell)}
    return rows


def _empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _target(key: str | int, row: dict[str, Any], model: Model | Pipeline, data: Any) -> Target:
    own = row.pop("model", None)
    if own is not None and not hasattr(own, "with_settings"):
        raise DesignError(f"{key!r}: model must be a Model, not {own!r}.")
    names = (own or model).priors
    options = {name: row.pop(name) for name in OPTIONS if name in row and name not in names}
    settings = _with_sigmas(key, row, names)
    target = Target(key, settings, options, own, data)
    try:
        target.fitted_by(model)
    except DesignError as error:
        raise DesignError(f"{key!r}: {error} Options are {', '.join(OPTIONS)}.") from error
    return target


def _with_sigmas(key: Any, row: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Numbers that have an error become normal priors; one without stays as it is."""
    sigmas = {name: row[name] for name in row if name.endswith(SIGMA) and name not in names}
    found = {}
    for name in row.keys() - sigmas.keys():
        value = row[name].item() if hasattr(row[name], "item") else row[name]
        sigma = float(sigmas.pop(f"{name}{SIGMA}", 0.0))
        if sigma > 0:
            reach = CUT * sigma
            value = Normal(float(value), sigma, low=float(value) - reach, high=float(value) + reach)
        found[name] = value
    if sigmas:
        raise DesignError(f"{key!r}: {next(iter(sigmas))} is given without its value.")
    return found
