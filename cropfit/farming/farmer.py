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
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from cropfit.disk.functions import Work, name_of, read_constants, read_work
from cropfit.disk.manifest import Manifest
from cropfit.errors import CropError, DamagedError, DesignError, FunctionError
from cropfit.outputs import Outputs

if TYPE_CHECKING:
    from cropfit.farming.runner import Runner

__all__ = [
    "DATA",
    "Farmer",
    "equip",
    "farmer_of",
    "find_data",
    "record_of",
    "runner_of",
    "without_varied",
]

DATA = "data_name"  # the entry of a record that names a file
_KINDS = {
    "harvester": ("cropfit.farming.harvester", "Harvester"),
    "sampler": ("cropfit.farming.sampler", "Sampler"),
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


def without_varied(options: dict[str, Any], varied: Collection[str]) -> None:
    """Take out of a farmer's constants and resources what varies in this sowing."""
    for name in ("constants", "resources"):
        kept = {key: value for key, value in options[name].items() if key not in varied}
        options[name] = kept
        varied = {*varied, *kept}


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
    options = {key: value for key, value in record.items() if key != "kind"}
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
