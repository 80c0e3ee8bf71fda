"""What is to be sown: checked, compared with what stands there, but not yet written."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.attributes import to_plain
from cropfit.batching import Batches, plan_batches
from cropfit.disk.fingerprint import digest, fingerprint
from cropfit.disk.functions import Work, name_of
from cropfit.disk.objects import pickle_object
from cropfit.errors import DesignError
from cropfit.grid import Axis, Grid
from cropfit.outputs import Outputs
from cropfit.values import some

Measure = Callable[..., float] | Iterable[float] | None


@dataclass(frozen=True)
class Request:
    """One call of `sow`.

    Parameters
    ----------
    function : callable
        What to call for each case.
    grid : Grid
        The cases.
    outputs : Outputs
        What the function returns.
    constants, resources : mapping
        The same for every case; resources are not recorded in the Dataset.
    batchsize, num_batches : int, optional
        How the cases are cut.
    shuffle : bool or int
        Whether to spread the cases over the batches at random; a number is the seed.
    seed : int, optional
        Root of every case's random numbers.
    cost, priority : callable or array-like, optional
        A number for each case, or what computes it from the case's arguments.
    farmer : mapping, optional
        What ``crop.json`` tells of who sows; no part of the design.
    """

    function: Callable[..., Any]
    grid: Grid
    outputs: Outputs
    constants: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    batchsize: int | None = None
    num_batches: int | None = None
    shuffle: bool | int = False
    seed: int | None = None
    cost: Measure = None
    priority: Measure = None
    farmer: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("batchsize", "num_batches", "shuffle", "seed"):
            value = getattr(self, name)
            if isinstance(value, np.generic):  # crop.json holds plain numbers
                object.__setattr__(self, name, value.item())

    def check(self) -> None:
        """Refuse what no worker could run.

        Raises
        ------
        DesignError
            A name is given twice or does not fit the function's signature, or the seed is none.
        """
        if self.seed is not None and (type(self.seed) is not int or self.seed < 0):
            raise DesignError(f"seed must be an int of at least 0, not {self.seed!r}")
        given = list(self.grid.names)
        for what, names in (("constants", self.constants), ("resources", self.resources)):
            both = [name for name in names if name in given]
            if both:
                raise DesignError(
                    f"{some(both)} stands in {what} and is varied or given elsewhere too; "
                    "give each argument once."
                )
            given += names
        self.outputs.check_against(self.grid.names)
        self.outputs.with_constants(self.constants)
        _check_signature(self.function, given)

    @property
    def work(self) -> Work:
        """What workers call, and what they pass to every case."""
        return Work(self.function, self.constants, self.resources)

    def plan(self, seed: int, chosen: NDArray[np.intp] | None = None) -> Batches:
        """Deal the cases to batches: all of them, or those at the flat indices `chosen`."""
        shuffle = seed if self.shuffle is True else self.shuffle
        return plan_batches(
            self.grid.size if chosen is None else len(chosen),
            self.batchsize,
            self.num_batches,
            shuffle_seed=None if shuffle is False else shuffle,
            costs=_measure("cost", self.cost, self.grid, chosen),
            priorities=_measure("priority", self.priority, self.grid, chosen),
        )

    def fingerprint(self, digests: Mapping[str, list[str]] | None = None) -> dict[str, Any]:
        """What makes this design the same as another, in JSON, readable in messages.

        Parameters
        ----------
        digests : mapping, optional
            Of the objects of each object axis; computed by pickling them if not given.
        """
        if digests is None:
            digests = object_digests(self.grid)
        return {
            "function": name_of(self.function),
            "outputs": self.outputs.to_json(),
            "var_coords": {k: array_digest(c.values) for k, c in self.outputs.var_coords.items()},
            "constants": {k: _shown(k, value) for k, value in self.constants.items()},
            "axes": {k: _axis_shown(axis, digests.get(k)) for k, axis in self.grid.axes.items()},
            "blocks": [
                [list(block.names), None if block.codes is None else array_digest(block.codes)]
                for block in self.grid.blocks
            ],
        }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, a sentence each."""
    found = []
    if old["function"] != new["function"]:
        found.append(f"the function: {old['function']} was sown, {new['function']} is given")
    for what, key in (("constant", "constants"), ("parameter", "axes")):
        for name in dict.fromkeys([*old[key], *new[key]]):
            was, now = old[key].get(name), new[key].get(name)
            if was != now:
                found.append(f"{what} {name!r}: {_say(was)} was sown, {_say(now)} is given")
    for key in ("outputs", "var_coords"):
        for name in dict.fromkeys([*old[key], *new[key]]):
            was, now = old[key].get(name), new[key].get(name)
            if was != now:
                found.append(f"{name}: {was} was sown, {now} is given")
    if not found and old["blocks"] != new["blocks"]:
        found.append("the way in which the parameters are combined, or the order of the cases")
    return found


def object_digests(grid: Grid) -> dict[str, list[str]]:
    """Fingerprints of all objects of a grid, by axis; pickles each once."""
    return {
        name: [
            fingerprint(value, pickle_object(value, name, label))
            for label, value in zip(axis.labels.tolist(), axis.values or (), strict=True)
        ]
        for name, axis in grid.axes.items()
        if axis.kind == "object"
    }


def hash_of(description: Any) -> str:
    """Hash of anything that JSON can hold."""
    text = json.dumps(description, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def array_digest(array: NDArray[Any]) -> str:
    """Fingerprint of an array: dtype, shape and values."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return digest(head, np.ascontiguousarray(array).tobytes())


def _axis_shown(axis: Axis, digests: list[str] | None) -> dict[str, Any]:
    return {
        "shown": f"{len(axis)} values ({some(axis.labels.tolist(), 5)})",
        "labels": array_digest(axis.labels),
        "values": None if axis.values is None or digests else repr(list(axis.values)),
        "objects": digests and hash_of(digests),
    }


def _shown(name: str, value: Any) -> dict[str, Any]:
    plain = to_plain(value)
    simple = isinstance(value, (bool, int, float, str, type(None)))
    if simple:
        return {"shown": repr(value), "digest": json.dumps(plain)}
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {"shown": f"array {value.shape} of {value.dtype}", "digest": array_digest(value)}
    return {"shown": f"a {type(value).__name__}", "digest": fingerprint(value)}


def _say(entry: Mapping[str, Any] | None) -> str:
    return "nothing" if entry is None else str(entry["shown"])


def _measure(
    what: str, measure: Measure, grid: Grid, chosen: NDArray[np.intp] | None
) -> NDArray[np.float64] | None:
    """Costs or priorities of the chosen cases as numbers."""
    if measure is None:
        return None
    given: Any
    if callable(measure):
        wanted = _accepted(measure, grid.names)
        rows = grid.rows(np.arange(grid.size, dtype=np.intp))
        given = [measure(**{k: row[k] for k in wanted}) for row in rows]
    else:
        given = measure if hasattr(measure, "__array__") else list(measure)
    try:
        values = np.asarray(given, float).ravel()
    except (TypeError, ValueError) as error:
        raise DesignError(f"{what} must be numbers: {error}") from None
    if len(values) != grid.size or not np.isfinite(values).all():
        raise DesignError(
            f"{what} must be one finite number for each of the {grid.size} cases; got "
            f"{len(values)}, of which {int(np.isfinite(values).sum())} are finite."
        )
    return values if chosen is None else values[chosen]


def _accepted(function: Callable[..., Any], names: Iterable[str]) -> list[str]:
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return list(names)
    return [name for name in names if name in parameters]


def _check_signature(function: Callable[..., Any], given: list[str]) -> None:
    if not callable(function):
        raise DesignError(f"{function!r} is not callable; give the function as fn=.")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C do not tell
        return
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    unknown = [name for name in given if name not in by_name and not takes_all]
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY)
        and p.name not in given
    ]
    if unknown or missing:
        wrong = [f"it does not take {some(unknown)}"] if unknown else []
        wrong += [f"it needs {some(missing)}, given nowhere"] if missing else []
        raise DesignError(
            f"{name_of(function)}{inspect.signature(function)} does not fit what is sown: "
            f"{'; '.join(wrong)}. Arguments come from combos, cases, constants and "
            "resources, by name."
        )
