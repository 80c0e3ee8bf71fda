"""`sow` and `cultivate`: one line that may be run again after any accident.

    what stands on disk      what is done
    nothing                  sow ─▶ grow ─▶ reap
    the request's crop       grow what is left ─▶ reap
    its crop and its file    reap again: the same file
    its file                 nothing: the file is read

A request is known by a key: a hash of the function's name, its outputs, cases,
constants and seed, and the data file. The crop's name or ``crop.json`` carries the
key, the file carries the design. So the same line finds its own in any session,
and refuses what is another's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cropfit.disk.functions import short_name
from cropfit.disk.owner import Owner
from cropfit.errors import DesignError, ExistsError, NotFoundError
from cropfit.farming.farmer import DATA, REQUEST, runner_of
from cropfit.farming.runner import Runner
from cropfit.grid import build_grid
from cropfit.work.provenance import describe_function
from cropfit.work.request import Request, hash_of
from cropfit.work.sow import sweep

if TYPE_CHECKING:
    from cropfit.crop import Crop
    from cropfit.grid import Grid

__all__ = ["cultivate", "sow"]

_OF_THE_CROP = ("batchsize", "num_batches", "shuffle", "lease", "max_deaths", "verbosity")
_TRIES = 5  # as often as other processes may reap the same request while this one grows it


@dataclass(frozen=True)
class _Asked:
    """One request, and where it stands."""

    farmer: Any
    request: Request
    crop: Crop
    key: str
    is_named: bool

    @classmethod
    def of(
        cls,
        farmer: Any,
        grid: Grid,
        constants: Any,
        seed: int | None,
        name: str | None,
        parent_dir: Any,
        options: Mapping[str, Any],
    ) -> _Asked:
        runner = runner_of(farmer)
        request = runner.request(grid, constants or {}, seed=seed)
        request.check()
        place = farmer.record().get(DATA)
        key = hash_of([request.fingerprint(), seed, place and os.path.abspath(place)])[:12]
        own = {each: options[each] for each in _OF_THE_CROP if each in options}
        wanted = name or f"{short_name(runner.fn)}-{key}"
        crop = farmer.Crop(wanted, parent_dir=parent_dir, **own)
        return cls(farmer, request, crop, key, name is not None)

    def is_sown(self) -> bool:
        """Whether its crop stands.

        Raises
        ------
        ExistsError
            Another crop of that name does.
        """
        if not self.crop.is_prepared():
            return False
        if self.crop.request_key() == self.key:
            return True
        raise ExistsError(
            f"{self.crop.location} was sown by another request. Nothing was changed. Reap or "
            "delete that crop, or give another name; without name= each request has its own."
        )

    def file(self, ending: str) -> str:
        """Where a Runner's results are saved."""
        return f"{os.path.dirname(self.crop.location)}/{self.crop.name}{ending}"


def sow(
    farmer: Any,
    combos: Any = None,
    *,
    cases: Any = None,
    constants: Mapping[str, Any] | None = None,
    seed: int | None = None,
    name: str | None = None,
    parent_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Crop | None:
    """The crop of a request: sown now, or the one that was sown for the same request.

    Parameters
    ----------
    farmer : Runner or Harvester
        Who asks.
    combos, cases, constants, seed
        As of `Crop.sow_combos`.
    name : str, optional
        By default made of the function's name and the request.
    parent_dir : path, optional
        Where the crop stands; by default the current folder.
    **options
        As of `cropfit.Crop` and `Crop.sow_combos`.

    Returns
    -------
    Crop or None
        None if a Harvester has all of it already.

    Raises
    ------
    ExistsError
        A crop of that name was sown by another request.
    """
    grid = _grid(farmer, combos, cases)
    return _sow(_Asked.of(farmer, grid, constants, seed, name, parent_dir, options), options)


def _grid(farmer: Any, combos: Any, cases: Any) -> Grid:
    if hasattr(farmer, "draw"):
        raise DesignError("Samples differ from call to call: use sample_combos, or sow_samples.")
    names = None if cases is None else runner_of(farmer).case_args(cases)
    return build_grid(combos or {}, cases, names)


def _sow(asked: _Asked, options: Mapping[str, Any]) -> Crop | None:
    if asked.is_sown():
        asked.crop.renew(asked.request)
        return asked.crop
    grid = asked.request.grid
    if hasattr(asked.farmer, "lacks"):
        lacking = asked.farmer.lacks(grid)
        if lacking is None:
            return None
        grid = lacking
    rest = {key: value for key, value in options.items() if key not in _OF_THE_CROP}
    given = {"constants": asked.request.constants, "resources": asked.request.resources}
    told = {REQUEST: asked.key}
    try:
        asked.crop.sow_grid(grid, told=told, **{"seed": asked.request.seed, **rest, **given})
    except ExistsError:
        if not asked.is_sown():  # else somebody sowed the same at the same moment
            raise
    return asked.crop


def cultivate(
    fn: Callable[..., Any],
    combos: Any = None,
    *,
    cases: Any = None,
    constants: Mapping[str, Any] | None = None,
    seed: int | None = None,
    name: str | None = None,
    parent_dir: str | os.PathLike[str] | None = None,
    data_name: str | os.PathLike[str] | None = None,
    outputs: Mapping[str, Any] | None = None,
    grow: Mapping[str, Any] | None = None,
    num_workers: int | None = None,
    executor: Any = None,
    **options: Any,
) -> Any:
    """Sow, grow and reap; run the same line again after an accident, and it goes on.

    Parameters
    ----------
    fn : Runner, Harvester or callable
        What to compute.
    combos, cases, constants, seed, name, parent_dir
        As of `sow`.
    data_name : path, optional
        Makes a Harvester with this file of a plain function.
    outputs : mapping, optional
        Of a plain function: ``var_names`` and whatever else `Runner` takes.
    grow : mapping, optional
        Further options of `Crop.grow`.
    num_workers, executor
        As of `Crop.grow`.
    **options
        As of `sow`; and `Runner`'s ``var_names``, ``var_dims``, ``var_coords``, ``var_attrs``.

    Returns
    -------
    Dataset
        What the request gave; of a Harvester all that its file holds. A list where outputs
        have no names.

    Raises
    ------
    NotReadyError
        Cases failed, or the work was stopped. Run the same line again: only what is missing
        is computed.
    ExistsError
        What stands under that name is of another request.
    """
    given = {key: options.pop(key) for key in _OUTPUTS if key in options}
    farmer = _farmer(fn, {**(outputs or {}), **given}, data_name)
    growing = {**(grow or {}), "num_workers": num_workers, "executor": executor}
    grid = _grid(farmer, combos, cases)
    for attempt in range(_TRIES):
        asked = _Asked.of(farmer, grid, constants, seed, name, parent_dir, options)
        try:
            result = _cultivate(asked, options, growing)
            sweep(os.path.dirname(asked.crop.location), Owner.here())  # what a kill left
            return result
        except NotFoundError:
            if attempt == _TRIES - 1 or asked.crop.is_prepared():
                raise  # else another process reaped it meanwhile: its file is there
    return None


_OUTPUTS = ("var_names", "var_dims", "var_coords", "var_attrs", "attrs", "resources")


def _farmer(fn: Any, outputs: dict[str, Any], data_name: Any) -> Any:
    if hasattr(fn, "record") and hasattr(fn, "collect"):
        if outputs or data_name is not None:
            raise DesignError(f"{fn!r} knows its outputs and its file; give them there.")
        return fn
    runner = Runner(fn, **outputs)
    if data_name is None:
        return runner
    from cropfit.farming.harvester import Harvester

    return Harvester(runner, data_name)


def _cultivate(asked: _Asked, options: Mapping[str, Any], growing: Mapping[str, Any]) -> Any:
    keeps = asked.farmer.record().get(DATA)
    if not keeps and not asked.is_sown():
        saved = _saved(asked)
        if saved is not None:
            return saved
    crop = _sow(asked, options)
    if crop is not None:
        crop.grow_missing(**{"wait": True, **growing})
        result = crop.reap(overwrite=None if keeps else True)
        if not keeps:
            return result
    return asked.farmer.full_ds


def _saved(asked: _Asked) -> Any:
    """What a former call saved; None if there was none.

    Raises
    ------
    ExistsError
        A file of that name is of another request.
    """
    from cropfit.disk.netcdf import load_dataset

    if os.path.exists(asked.file(".nc")):
        ds = load_dataset(asked.file(".nc"))
        same_seed = asked.request.seed in (None, ds.attrs.get("cropfit_seed"))
        if (
            ds.attrs.get("cropfit_design") != hash_of([asked.request.fingerprint()])
            or not same_seed
        ):
            raise _other(asked.file(".nc"))
        source = describe_function(asked.request.work)["source"]
        if ds.attrs.get("cropfit_source") != source:
            asked.crop.say(
                f"{asked.file('.nc')} was computed by a former version of the function; delete "
                "it to compute anew."
            )
        asked.farmer.collect(ds, sync=False, overwrite=None)
        return ds
    if os.path.exists(asked.file(".pkl")):
        if asked.is_named:  # a list does not tell which request it is of; our own names do
            raise _other(asked.file(".pkl"))
        return _load_pickle(asked.file(".pkl"))
    return None


def _other(path: str) -> ExistsError:
    return ExistsError(
        f"{path} is there and was not made by this request, or does not tell. It was left as it "
        "is: move it away, or give another name; without name= each request has its own."
    )


def _load_pickle(path: str) -> Any:
    import pickle

    from cropfit.disk.publish import check_own

    check_own(path)
    with open(path, "rb") as file:
        return pickle.load(file)
