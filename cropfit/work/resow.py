"""Sowing where a crop stands already: the same again, or more cases, or damage to mend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.batching import Sown
from cropfit.disk.functions import is_whole, pickle_work, write_work
from cropfit.disk.layout import Layout
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import (
    Arrays,
    Manifest,
    coords_to_json,
    read_json,
    sown_to_json,
    write_arrays,
    write_manifest,
)
from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT
from cropfit.errors import DamagedError, ExistsError
from cropfit.grid import Grid, overlap
from cropfit.wording import extent, number_of
from cropfit.work.beds import (
    DIGESTS,
    Progress,
    dealt,
    entry,
    lost_batches,
    make_batches,
    write_objects,
)
from cropfit.work.provenance import describe_function
from cropfit.work.request import Request, differences, object_digests


def sow_again(
    former: Manifest,
    request: Request,
    pickled: bytes,
    owner: Owner,
    *,
    append: bool,
    progress: Progress | None = None,
) -> str:
    """Compare a request with what was sown, and do what it asks for.

    Returns
    -------
    str
        What was done, a sentence.

    Raises
    ------
    ExistsError
        The designs differ, and `append` is not asked for or cannot bring them together.
    """
    asked = former.data["sowings"][0]["asked"]
    if request.batchsize is None and request.num_batches is None and not append:
        request = replace(request, batchsize=asked["batchsize"], num_batches=asked["num_batches"])
    digests = object_digests(request.grid)
    different = _differences(former, request, digests)
    if append and different:
        return _append(former, request, pickled, digests, owner, progress)
    if different:
        raise ExistsError(
            f"{former.layout.root} was sown with another design:\n  - "
            + "\n  - ".join(different)
            + "\nNothing was changed. Reap or delete that crop, give another name, or sow with "
            "exists='replace' (its results are lost) or exists='append' (adds the new cases)."
        )
    if digests and not _objects_are_whole(former):
        mend(former.layout.root, request, owner)
    return _update_function(former, request, pickled, owner)


def mend(root: str, request: Request, owner: Owner) -> None:
    """Write the arrays and objects of a damaged crop anew; its results stay.

    Raises
    ------
    DamagedError
        It cannot be mended: ``crop.json`` is damaged itself, or it was appended to.
    ExistsError
        `request` is not what was sown.
    """
    data = read_json(root)
    (first, *more) = data["sowings"]
    asked = {key: first["asked"][key] for key in ("batchsize", "num_batches")}
    if request.batchsize is None and request.num_batches is None:
        request = replace(request, **asked)
    batches = request.plan(int(data["seed"]))
    different = differences(first["wanted"], request.fingerprint())
    if more or different or dealt(batches) != first["dealt"]:
        raise DamagedError(
            f"{root} is damaged, and what is sown now is not what was sown then, so it cannot be "
            f"mended ({'; '.join(different) or 'cases were appended, or dealt otherwise'}). Sow "
            "what was sown then, or lose its results with exists='replace'."
        )
    layout, arrays = Layout(root), Arrays()
    coords_to_json(request.outputs, arrays)
    drafts = {path: f"{path}.{owner}{DRAFT}" for path in (layout.objects(1), layout.cases(1))}
    write_objects(drafts[layout.objects(1)], request.grid, arrays)
    sown_to_json(Sown(request.grid, batches, 0, 1), arrays)
    write_arrays(drafts[layout.cases(1)], arrays)
    for path, draft in drafts.items():
        if os.path.exists(draft):
            os.replace(draft, path)


def _objects_are_whole(former: Manifest) -> bool:
    """Whether every object can be read, by its checksum."""
    for number, sown in enumerate(former.sowings):
        readers = former.readers(number)
        for name, reader in readers.items():
            positions = range(len(sown.grid.axes[name]))
            whole = all(reader.is_whole(position) for position in positions)
            reader.close()
            if not whole:
                return False
    return True


def _differences(former: Manifest, request: Request, digests: Mapping[str, list[str]]) -> list[str]:
    first = former.data["sowings"][0]
    wanted = request.fingerprint(digests)
    appended = len(former.sowings) > 1 and not _beyond_values(former, request, wanted)
    if appended and not _new_cases(former, request.grid, digests).any():
        return []  # everything that is asked for stands in one sowing or another
    found = differences(first["wanted"], wanted) + _seeds(former, request)
    if found:
        return found
    batches = request.plan(int(former.data["seed"]))
    if dealt(batches) != first["dealt"]:
        was = {key: value for key, value in first["asked"].items() if value}
        found.append(
            f"how cases are dealt to batches: {first['num_batches']} batches ({was or 'default'}) "
            f"were sown, {batches.num_batches} are asked for, or another order"
        )
    return found


def renew(former: Manifest, request: Request) -> str:
    """Take the function, constants and resources of `request` for what is not grown yet."""
    return _update_function(former, request, pickle_work(request.work), Owner.here())


def _update_function(former: Manifest, request: Request, pickled: bytes, owner: Owner) -> str:
    """The same design again: keep all results, and take the function as it is now."""
    layout = former.layout
    _repair(former, owner)
    function = describe_function(request.work)
    counts = Ledger(layout, owner, float(former.data["lease"])).counts()
    grown = f"{counts['grown']} of {number_of(former.num_batches, 'batch')} grown"
    what = f"{layout.root} stands already, with {grown}"
    farmer = request.farmer or former.data.get("farmer")
    if function == former.data["function"] and is_whole(layout.function):
        if farmer != former.data.get("farmer"):
            write_manifest(layout, {**former.data, "farmer": farmer}, str(owner))
        return f"{what}; nothing was changed."
    write_work(layout.function, pickled, str(owner))
    write_manifest(layout, {**former.data, "function": function, "farmer": farmer}, str(owner))
    same = function["source"] == former.data["function"]["source"]
    changed = "What it closes over or its resources may have" if same else "Its body has"
    return (
        f"{what}; they keep the results of the former function. {changed} changed: the other "
        f"{former.num_batches - counts['grown']} will be grown with the new one. To compute all "
        "anew, sow with exists='replace'."
    )


def _repair(former: Manifest, owner: Owner) -> None:
    """Make the folders of batches that an append, not only the last, was killed before making."""
    if len(former.sowings) == 1:
        return
    ledger = Ledger(former.layout, owner, float(former.data["lease"]))
    for batch in lost_batches(ledger, range(1, former.num_batches + 1)):
        os.mkdir(former.layout.batch("sown", batch), 0o700)


# -- append ----------------------------------------------------------------------------


def _append(
    former: Manifest,
    request: Request,
    pickled: bytes,
    digests: Mapping[str, list[str]],
    owner: Owner,
    progress: Progress | None,
) -> str:
    """Add the cases that are not there yet; numbers and seeds of the others stay."""
    _check_appendable(former, request, request.fingerprint(digests))
    new = _new_cases(former, request.grid, digests)
    if not new.any():
        return _update_function(former, request, pickled, owner)
    _repair(former, owner)
    grid = request.grid if new.all() else request.grid.table(np.flatnonzero(new))
    last = former.sowings[-1]
    seed = int(former.data["seed"])
    first_batch = last.first_batch + last.batches.num_batches
    batches = request.plan(seed, np.flatnonzero(new))
    sown = Sown(grid, batches, last.first_case + last.grid.size, first_batch)
    layout, number = former.layout, len(former.sowings) + 1
    for path in (layout.cases(number), layout.objects(number)):
        if os.path.exists(path):
            os.unlink(path)  # of an append that was killed before it counted
    arrays: Arrays = {}
    written = write_objects(layout.objects(number), grid, arrays, progress)
    described = entry(request, sown, written, former.data["id"], seed, arrays)
    write_arrays(layout.cases(number), arrays)
    function = describe_function(request.work)
    write_work(layout.function, pickled, str(owner))
    data = {
        **former.data,
        "function": function,
        "farmer": request.farmer or former.data.get("farmer"),
        "sowings": [*former.data["sowings"], described],
    }
    write_manifest(layout, data, str(owner))
    make_batches(layout, range(first_batch, first_batch + sown.batches.num_batches), progress)
    return (
        f"Appended {extent(sown.batches.num_cases, sown.batches.num_batches)} "
        f"(from {first_batch}); {int((~new).sum())} of those given were there: {layout.root}"
    )


def _check_appendable(former: Manifest, request: Request, wanted: Mapping[str, Any]) -> None:
    """Only the values of parameters may differ."""
    clash = _beyond_values(former, request, wanted)
    if clash:
        raise ExistsError(
            f"{former.layout.root} cannot be appended to, because more than the values of its "
            "parameters differs:\n  - " + "\n  - ".join(clash)
        )


def _beyond_values(former: Manifest, request: Request, wanted: Mapping[str, Any]) -> list[str]:
    """What differs from the first sowing, the values of parameters apart."""
    first = former.data["sowings"][0]["wanted"]
    apart: dict[str, Any] = {"axes": {}, "blocks": []}
    found = differences({**first, **apart}, {**wanted, **apart})
    if first["axes"].keys() != wanted["axes"].keys():
        found.append(f"parameters: {list(first['axes'])} were sown, {list(wanted['axes'])} given")
    return found + _seeds(former, request)


def _seeds(former: Manifest, request: Request) -> list[str]:
    if request.seed is None or request.seed == former.data["seed"]:
        return []
    return [f"seed: {former.data['seed']} was sown, {request.seed} is given"]


def _new_cases(former: Manifest, grid: Grid, digests: Mapping[str, list[str]]) -> NDArray[np.bool_]:
    """Which cases of `grid` are in no sowing yet."""
    new = np.ones(grid.size, bool)
    for number, sown in enumerate(former.sowings, start=1):
        for name, given in digests.items():
            _check_same_objects(former, number, name, grid, given)
        new &= ~overlap(grid, sown.grid)
    return new


def _check_same_objects(
    former: Manifest, number: int, name: str, grid: Grid, digests: list[str]
) -> None:
    """One label must not stand for two objects."""
    old = former.sowings[number - 1].grid.axes.get(name)
    if old is None or old.kind != "object":
        return
    with np.load(former.layout.cases(number), allow_pickle=False) as stored:
        known = dict(zip(old.labels.tolist(), stored[name + DIGESTS].tolist(), strict=True))
    for label, digest in zip(grid.axes[name].labels.tolist(), digests, strict=True):
        if known.get(label, digest) != digest:
            raise ExistsError(
                f"{former.layout.root}: {name!r} has an object labelled {label!r} that differs "
                "from the one that was sown under this label; give it another label."
            )
