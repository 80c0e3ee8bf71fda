"""A pipeline from a TOML or INI file.

    name = "galaxy"                     [pipeline]
    data = "galaxies:load"              name = galaxy
                                        data = galaxies:load
    [[stage]]                           stages = coarse fine
    name = "coarse"
    model = "galaxies:model"            [coarse]
    sampler = "maxlike"                 model = galaxies:model
                                        sampler = maxlike
    [[stage]]
    name = "fine"                       [fine]
    model = "galaxies:model"            model = galaxies:model
    inherit = {mass = "fix",            inherit = mass: fix, age: around 5
               age = {around = 5}}

What stands as ``module:attribute`` is imported, first from the file's own folder.
"""

from __future__ import annotations

import configparser
import importlib
import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cropfit.errors import DesignError, FunctionError, NotFoundError
from cropfit.fitting.pipeline.cosmosis import CosmoSIS
from cropfit.fitting.pipeline.inherit import Around
from cropfit.fitting.pipeline.run import Pipeline
from cropfit.fitting.pipeline.stage import Stage

__all__ = ["Plan", "read_config", "read_numbers"]

WORK = ("model", "function", "command", "cosmosis")
GENERAL = ("name", "data", "folder", "seed", "plot_result", "n_cores_list")


@dataclass(frozen=True)
class Plan:
    """What a file asks for.

    Parameters
    ----------
    pipeline : Pipeline
    data
        What it runs on.
    folder : str
        Where its results are kept.
    seed : int, optional
    plot_result : bool
    n_cores_list : list of int, optional
    """

    pipeline: Pipeline
    data: Any
    folder: str
    seed: int | None = None
    plot_result: bool = False
    n_cores_list: list[int] | None = None


def read_config(path: str) -> Plan:
    """The pipeline that a file describes; its folder is relative to the file.

    Raises
    ------
    NotFoundError
        There is no such file.
    DesignError
        It cannot be read, or asks for what there is not.
    FunctionError
        Something that it names cannot be imported.
    """
    if not os.path.isfile(path):
        raise NotFoundError(f"There is no file {path}.")
    home = os.path.dirname(os.path.abspath(path))
    if home not in sys.path:
        sys.path.insert(0, home)
    try:
        general, stages = _read_ini(path) if path.endswith((".ini", ".cfg")) else _read_toml(path)
        return _plan(home, os.path.splitext(os.path.basename(path))[0], general, stages)
    except DesignError as error:
        raise DesignError(f"{path}: {error}") from error


def _plan(home: str, stem: str, general: dict[str, Any], stages: list[dict[str, Any]]) -> Plan:
    strange = sorted(set(general) - set(GENERAL))
    if strange:
        raise DesignError(f"{strange[0]!r} is not known; there are {', '.join(GENERAL)}.")
    name = str(general.get("name", stem))
    seed, cores = general.get("seed"), read_numbers(general.get("n_cores_list"))
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise DesignError(f"seed = {seed!r} is no whole number.")
    data = _loaded(general["data"]) if general.get("data") else None
    if callable(data):
        data = data()
    return Plan(
        Pipeline([_stage(home, each) for each in stages], name=name),
        data,
        os.path.join(home, str(general.get("folder", name))),
        seed,
        bool(general.get("plot_result", False)),
        cores,
    )


def read_numbers(given: Any) -> list[int] | None:
    """A list of whole numbers, in INI files also without brackets."""
    if given is None:
        return None
    words = given.replace(",", " ").split() if isinstance(given, str) else given
    try:
        return [int(word) for word in (words if isinstance(words, list) else [words])]
    except (TypeError, ValueError) as error:
        raise DesignError(f"n_cores_list = {given!r} is no list of whole numbers.") from error


def _stage(home: str, given: dict[str, Any]) -> Stage:
    given = dict(given)
    name = given.pop("name", None)
    kinds = [each for each in WORK if each in given]
    if len(kinds) != 1:
        raise DesignError(
            f"Stage {name!r} needs one of {', '.join(WORK)}; it has {kinds or 'none'}."
        )
    work = given.pop(kinds[0])
    if kinds[0] in ("model", "function"):
        work = _loaded(work)
    elif kinds[0] == "command":
        work = shlex.split(work) if isinstance(work, str) else work
        if ":" in str(given.get("reader", "")):
            given["reader"] = _loaded(given["reader"])
        inputs = given.get("inputs", {})
        given["inputs"] = {file: _input(home, each) for file, each in inputs.items()}
    else:
        work = _cosmosis(work, given.pop("values", None))
    if "inherit" in given:
        given["inherit"] = _rules(given["inherit"])
    return Stage(name, work, **given)


def _input(home: str, given: Any) -> Any:
    """A template, or ``{file = "..."}``: a file that is copied, relative to the configuration."""
    if isinstance(given, Mapping) and set(given) == {"file"}:
        return Path(home, str(given["file"]))
    return given


def _cosmosis(given: Any, values: Any) -> CosmoSIS:
    """From its options, or from the path of its own ini file."""
    options: dict[str, Any] = {"ini": str(given)}
    if isinstance(given, Mapping):
        options = dict(given)
    if values is not None:
        options["values"] = values
    try:
        return CosmoSIS(**options)
    except TypeError as error:
        known = ", ".join(CosmoSIS.__dataclass_fields__)
        raise DesignError(f"options of cosmosis are {known}.") from error


def _loaded(place: Any) -> Any:
    """What ``module:attribute`` names."""
    module, colon, attribute = str(place).partition(":")
    if not colon:
        raise DesignError(f"{place!r} is not of the form module:attribute.")
    try:
        found = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise FunctionError(
            f"{place} cannot be imported ({type(error).__name__}: {error})."
        ) from error
    return found


def _rules(given: Any) -> Any:
    """Rules for what is taken over, as `Stage` takes them."""
    if isinstance(given, str):  # name: rule, name: rule
        pairs = [each.partition(":") for each in given.split(",")]
        given = {name.strip(): rule.strip() for name, _, rule in pairs}
    if not isinstance(given, Mapping):
        return given
    return {name: _rule(each) for name, each in given.items()}


def _rule(given: Any) -> Any:
    if isinstance(given, Mapping) and set(given) == {"around"}:
        return Around(float(given["around"]))
    if isinstance(given, str) and given.startswith("around"):
        width = given.removeprefix("around").strip(" ()=") or "3"
        try:
            return Around(float(width))
        except ValueError as error:
            raise DesignError(f"{given!r} is not 'around' and a number.") from error
    return given


def _read_toml(path: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            general = tomllib.load(file)
    except ValueError as error:
        raise DesignError(f"this is no TOML: {error}") from error
    stages = general.pop("stage", [])
    if not isinstance(stages, list):
        raise DesignError("each stage stands under its own [[stage]].")
    return general, stages


def _read_ini(path: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
        general = _values(parser, "pipeline")
        names = str(general.pop("stages", "")).split()
        return general, [{"name": name, **_values(parser, name)} for name in names]
    except configparser.Error as error:
        raise DesignError(f"this is no INI file: {error}") from error


def _values(parser: configparser.ConfigParser, section: str) -> dict[str, Any]:
    """A section; values that are JSON (numbers, true, lists) are read so."""
    if section not in parser:
        raise DesignError(f"there is no section [{section}].")
    return {name: _value(text) for name, text in parser.items(section)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"yes": True, "no": False}.get(text.lower(), text)
