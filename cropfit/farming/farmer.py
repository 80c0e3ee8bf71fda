"""What a crop knows of its farmer: who sowed it, and where its results go.

    Runner ── Crop ──record──▶ crop.json        kind, data file, engine, options
                                  │
    Runner, Harvester, Sampler ◀──┘ farmer_of, in any process

A person can read the record: the function stands in ``function.pkl``, the outputs
in the manifest, and neither is repeated. A data file is recorded by its absolute
path and by its path from the folder that the crop stands in, so that the file
alone, or both together, may be moved.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from cropfit.disk.functions import Work, name_of, read_constants, read_work
from cropfit.disk.manifest import Manifest
from cropfit.errors import CropError, DamagedError, DesignError, FunctionError
from cropfit.outputs import Outputs

if TYPE_CHECKING:
    from cropfit.farming.runner import Runner
    from cropfit.farming.sampler import Drawn
    from cropfit.work.wanted import Wanted

__all__ = [
    "DATA",
    "DRAWN",
    "REQUEST",
    "Farmer",
    "draw_for",
    "equip",
    "farmer_of",
    "find_data",
    "gathered_by",
    "record_of",
    "runner_of",
    "sown_by",
]

DATA = "data_name"  # the entry of a record that names a file
DRAWN = "drawn"  # the entry that tells how samples were drawn
REQUEST = "request"  # the entry that tells for which request `sow` sowed
_KINDS = {
    "harvester": ("cropfit.farming.harvester", "Harvester"),
    "sampler": ("cropfit.farming.sampler", "Sampler"),
    "catalogue": ("cropfit.fitting.catalogue.keeper", "Keeper"),
}


class Farmer(Protocol):
    """Who sows crops and takes in what they give: a Runner, Harvester or Sampler."""

    def record(self) -> dict[str, Any]:
        """What makes this farmer again: ``kind`` and options, in a form for JSON."""

    def collect(self, data: Any, *, sync: bool, overwrite: bool | None) -> Any:
        """Take in what was reaped.

        Parameters
        ----------
        data
            The Dataset or DataFrame.
        sync : bool
            Whether it must be safe on disk on return.
        overwrite : bool, optional
            What to do where other values stand; None refuses.
        """


def runner_of(farmer: Any) -> Runner:
    """The Runner of a farmer; a Runner is its own."""
    runner: Runner = getattr(farmer, "runner", farmer)
    return runner


def equip(
    farmer: Farmer,
    fn: Callable[..., Any] | None,
    outputs: Mapping[str, Any],
    constants: Mapping[str, Any] | None,
    resources: Mapping[str, Any] | None,
) -> tuple[Callable[..., Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Function, outputs, constants and resources of a farmer's crop.

    Raises
    ------
    DesignError
        The function or its outputs are given again.
    """
    twice = [name for name, value in {"fn": fn, **outputs}.items() if value is not None]
    if twice:
        raise DesignError(f"{twice[0]} comes from the farmer; give it there, not to the crop.")
    runner = runner_of(farmer)
    return (
        runner.fn,
        declared(runner.outputs),
        {**runner.constants, **(constants or {})},
        {**runner.resources, **(resources or {})},
    )


def draw_for(farmer: Any, n: int, combos: Any, method: Any, seed: int | None) -> Drawn:
    """Samples for a crop of `farmer`.

    Raises
    ------
    DesignError
        It is no Sampler.
    """
    if not hasattr(farmer, "sample_combos"):
        raise DesignError("Samples are drawn by a Sampler: make the crop with sampler.Crop(...).")
    drawn: Drawn = farmer.draw(n, combos, method, seed)
    return drawn


def sown_by(
    farmer: Farmer,
    root: str,
    varied: Collection[str],
    options: Mapping[str, Any],
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """What a sowing by `farmer` differs in: constants give way to what varies; who sowed it."""
    own: dict[str, Any] = {}
    for what in ("constants", "resources"):
        own[what] = {name: value for name, value in options[what].items() if name not in varied}
        varied = {*varied, *own[what]}
    return {**own, "farmer": {**record_of(farmer, os.path.dirname(root)), **told}}


def record_of(farmer: Farmer, parent: str) -> dict[str, Any]:
    """The record of a farmer whose crop stands in the folder `parent`."""
    record = dict(farmer.record())
    if record.get(DATA):
        path = os.path.abspath(record[DATA])
        record[DATA] = {
            "absolute": path,
            "relative": os.path.relpath(path, parent),
            "parent": parent,
        }
    return record


def find_data(data: Mapping[str, str], parent: str) -> str:
    """Which file is meant by a crop that stands in `parent` now.

    Where the crop was not moved, the absolute path. Else the path from the crop's
    folder if a file is there, or the absolute path if one is there, or its folder.
    """
    relative = os.path.normpath(os.path.join(parent, data["relative"]))
    if parent == data["parent"] or relative == data["absolute"]:
        return data["absolute"]
    if os.path.exists(relative):
        return relative
    stands = os.path.exists(data["absolute"]) or not os.path.isdir(os.path.dirname(relative))
    return data["absolute"] if stands else relative


def gathered_by(
    farmer: Farmer, wanted: Wanted, *, sync: bool = True, overwrite: bool | None = None
) -> Wanted:
    """How a farmer's crop is reaped: its file has the results before anything is deleted.

    Parameters
    ----------
    farmer : Farmer
        Whose crop it is.
    wanted : Wanted
        How a crop without a farmer would be.
    sync : bool
        Whether the results go to disk.
    overwrite : bool, optional
        See `Farmer.collect`.

    Raises
    ------
    DesignError
        ``load=False``, which keeps nothing in memory to be added.
    """
    if isinstance(wanted.to, str) and hasattr(farmer, "to_file"):
        farmer, wanted, sync = farmer.to_file(wanted.to), replace(wanted, to=None), True
    if hasattr(farmer, "beginning") and sync and wanted.to is not False:
        farmer, instead = farmer.beginning(load=wanted.load)
        wanted = replace(wanted, load=True, instead=instead)
    keeper = farmer.record().get(DATA)
    own_file = wanted.to if isinstance(wanted.to, str) else False
    if not wanted.load and not (own_file and not sync):
        raise DesignError(
            "load=False streams to a file of its own: give to= and sync=False, and add that file."
        )
    if not wanted.load:
        return wanted
    saves = sync and wanted.to is not False
    collect = partial(farmer.collect, sync=saves and keeper is not None, overwrite=overwrite)
    wanted = replace(wanted, collect=collect, **_as_taken_by(farmer, wanted))
    if not sync:
        return replace(wanted, to=own_file)
    if keeper is None or wanted.to is False:
        return wanted
    deletes = not wanted.allow_incomplete if wanted.clean_up is None else wanted.clean_up
    return replace(wanted, to=own_file, clean_up=deletes, keeper=keeper)


def _as_taken_by(farmer: Farmer, wanted: Wanted) -> dict[str, Any]:
    """Options in which a farmer differs: a Sampler takes tables, a Harvester grids."""
    told = dict(getattr(farmer, "reaps_with", {}))
    if wanted.layout != "auto":
        told.pop("layout", None)
    return told


def farmer_of(manifest: Manifest) -> Any:
    """The Runner, Harvester or Sampler that sowed a crop; None for a crop of its own.

    Raises
    ------
    CropError
        It is of a kind that this version does not know.
    """
    record = manifest.data.get("farmer")
    if record is None:
        return None
    options = {key: value for key, value in record.items() if key not in ("kind", DRAWN, REQUEST)}
    if options.get(DATA):
        options[DATA] = find_data(options[DATA], os.path.dirname(manifest.layout.root))
    runner = _runner(manifest)
    if record["kind"] == "runner":
        return runner
    return _class_of(record["kind"], manifest)(runner, **options)


def _class_of(kind: str, manifest: Manifest) -> Callable[..., Any]:
    if kind not in _KINDS:
        raise CropError(
            f"{manifest.layout.root} was sown by a {kind!r}, which this cropfit does not know. It "
            f"was sown with cropfit {manifest.data['provenance']['cropfit']}; reap it with that."
        )
    module, name = _KINDS[kind]
    made: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return made


def _runner(manifest: Manifest) -> Runner:
    from cropfit.farming.runner import Runner

    work = _work_of(manifest)
    return Runner(
        work.function,
        constants=work.constants,
        resources=work.resources,
        **declared(manifest.outputs),
    )


def declared(outputs: Outputs) -> dict[str, Any]:
    """Outputs as they are typed."""
    return {
        "var_names": outputs.var_names,
        "var_dims": dict(outputs.var_dims),
        "var_coords": dict(outputs.var_coords),
        "var_attrs": {name: dict(each) for name, each in outputs.var_attrs.items()},
        "attrs": dict(outputs.attrs),
    }


def _work_of(manifest: Manifest) -> Work:
    """The crop's function; where it cannot be loaded, what tells so when it is called.

    Results can be taken in by a Python that could not compute them.
    """
    path = manifest.layout.function
    try:
        return read_work(path, manifest.data["provenance"])
    except (FunctionError, DamagedError) as error:
        reason = error
    try:
        constants = read_constants(path)
    except (FunctionError, DamagedError):
        constants = {}
    return Work(_Unloadable(manifest.data["function"]["name"], reason), constants, {})


class _Unloadable:
    """Stands for a function that this Python cannot load."""

    def __init__(self, name: str, reason: CropError) -> None:
        self.__name__ = self.__qualname__ = name.rpartition(".")[2]
        self.__module__ = name.rpartition(".")[0]
        self._reason = reason

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise self._reason

    def __repr__(self) -> str:
        return f"<{name_of(self)}, which cannot be loaded>"
