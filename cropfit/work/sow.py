"""Sowing: a request becomes a folder that workers can grow, whole or not at all.

draft folder ──write──▶ rename into place            a new crop
same design   ──▶ nothing, or a new function for what is not grown yet
another one   ──▶ refused, replaced, or appended to, as asked
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cropfit.batching import Batches, Sown
from cropfit.disk import publish
from cropfit.disk.functions import Work, pickle_work, write_work
from cropfit.disk.layout import SHARD, SHARDED_FROM, STATES, Layout, name_of
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import (
    ENDS,
    FORMAT,
    Arrays,
    Manifest,
    coords_to_json,
    read_manifest,
    sown_to_json,
    write_arrays,
    write_manifest,
)
from cropfit.disk.objects import ObjectWriter
from cropfit.disk.owner import Owner
from cropfit.errors import CropError, DesignError, ExistsError, NotFoundError
from cropfit.grid import Grid, overlap
from cropfit.work.provenance import describe_function, gather
from cropfit.work.request import Request, array_digest, differences, hash_of, object_digests

Exists = Literal["keep", "replace", "append"]
DIGESTS = "/digests"  # of the names of arrays that tell objects apart


def sow(
    root: str, request: Request, *, exists: Exists = "keep", lease: float, max_deaths: int
) -> str:
    """Put a crop on disk, or find that it is there.

    Parameters
    ----------
    root : str
        The crop's folder.
    request : Request
        What to sow.
    exists : {"keep", "replace", "append"}
        What to do where a crop of another design stands already.
    lease : float
        Seconds without a heartbeat after which a worker of another host is dead.
    max_deaths : int
        How many workers may die in one case before it counts as failed.

    Returns
    -------
    str
        What was done, a sentence.

    Raises
    ------
    DesignError, FunctionError
        The request cannot be sown; nothing was written.
    ExistsError
        Another design stands there and `exists` is "keep".
    CropError
        The disk refused; nothing was left behind.
    """
    if exists not in ("keep", "replace", "append"):
        raise DesignError(f"exists is 'keep', 'replace' or 'append', not {exists!r}")
    request.check()
    _check_parent(os.path.dirname(root))
    pickled = pickle_work(Work(request.function, request.constants, request.resources))
    owner = Owner.here()
    sweep(os.path.dirname(root), owner)
    try:
        former = read_manifest(root)
    except NotFoundError:
        former = None
    except CropError:
        if exists != "replace":
            raise
        former = None
    try:
        if former is None or exists == "replace":
            return _sow_new(root, request, pickled, owner, lease, max_deaths)
        return _sow_again(former, request, pickled, owner, append=exists == "append")
    except OSError as error:
        raise CropError(
            f"{root} cannot be sown: {error.strerror or error} ({error.filename or root}). "
            "Nothing was left behind."
        ) from error


def sweep(parent: str, owner: Owner) -> int:
    """Remove what sowers and reapers that were killed left in `parent`; counts it."""
    removed = 0
    for path, marked in publish.leftovers(parent):
        pid_and_token = marked.rsplit(".", 2)
        other = Owner.parse(".".join([owner.host, *pid_and_token[1:]]))
        same_host = marked.endswith(f".{owner.host}.{'.'.join(pid_and_token[1:])}")
        alive = other.is_alive() if other and same_host else None
        if alive or (alive is None and time.time() - os.lstat(path).st_mtime < 86400):
            continue
        removed += 1
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    return removed


def _check_parent(parent: str) -> None:
    if not os.path.isdir(parent):
        raise NotFoundError(f"The folder {parent} does not exist; make it, or give parent_dir=.")
    if not os.access(parent, os.W_OK | os.X_OK) or os.statvfs(parent).f_flag & os.ST_RDONLY:
        raise CropError(f"The folder {parent} cannot be written to; give another parent_dir=.")


# -- a new crop ------------------------------------------------------------------------


def _sow_new(
    root: str, request: Request, pickled: bytes, owner: Owner, lease: float, max_deaths: int
) -> str:
    seed = int.from_bytes(os.urandom(6), "big") if request.seed is None else int(request.seed)
    sown = Sown(request.grid, request.plan(seed, request.grid), 0, 1)
    sharded = sown.batches.num_batches > SHARDED_FROM
    draft = f"{root}.{owner}{publish.DRAFT}"
    layout = Layout(draft, sharded)
    try:
        os.mkdir(draft, 0o700)
        arrays: Arrays = {}
        digests = _write_objects(layout, 1, request.grid, arrays)
        identity = os.urandom(8).hex()
        data: dict[str, Any] = {
            "format": FORMAT,
            "name": name_of(root),
            "id": identity,
            "seed": seed,
            "lease": lease,
            "max_deaths": max_deaths,
            "sharded": sharded,
            "function": describe_function(request.function, pickled),
            "outputs": request.outputs.to_json(),
            "var_coords": coords_to_json(request.outputs, arrays),
            "constants": list(request.constants),
            "resources": list(request.resources),
            "sowings": [_entry(request, sown, digests, identity, seed, arrays)],
            "provenance": gather(request.function),
        }
        write_arrays(layout.cases(1), arrays)
        write_work(layout.function, pickled, str(owner))
        write_manifest(layout, data, str(owner))
        _make_states(layout)
        _make_batches(layout, range(1, sown.batches.num_batches + 1))
        _put_in_place(draft, root, owner)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    batches = sown.batches
    return f"Sowed {batches.num_cases} cases in {batches.num_batches} batches: {root}"


def _put_in_place(draft: str, root: str, owner: Owner) -> None:
    """Rename the draft; a crop that stands there was asked to be replaced."""
    if os.path.isdir(root):
        publish.discard(root, str(owner))
    try:
        os.rename(draft, root)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise ExistsError(
                f"{root} was sown by somebody else at the same moment. Sow once more: if both "
                "mean the same, nothing will be lost."
            ) from None
        raise


def _write_objects(layout: Layout, number: int, grid: Grid, arrays: Arrays) -> dict[str, list[str]]:
    """Write all objects of a sowing to one file; their places go into `arrays`."""
    digests = {}
    writer = ObjectWriter(layout.objects(number))
    try:
        for name, axis in grid.axes.items():
            if axis.kind == "object":
                labels = axis.labels.tolist()
                arrays[name + ENDS], digests[name] = writer.add(name, labels, axis.values or ())
                arrays[name + DIGESTS] = np.array(digests[name])
    finally:
        writer.close()
    return digests


def _entry(
    request: Request,
    sown: Sown,
    digests: Mapping[str, list[str]],
    identity: str,
    seed: int,
    arrays: Arrays,
) -> dict[str, Any]:
    """What ``crop.json`` says of a sowing."""
    wanted = replace(request, grid=sown.grid).fingerprint(digests)
    dealt = _dealt(sown.batches)
    return {
        "design": hash_of([wanted, identity, seed, dealt, sown.first_case, sown.first_batch]),
        "wanted": wanted,
        "dealt": dealt,
        "asked": {
            "batchsize": request.batchsize,
            "num_batches": request.num_batches,
            "shuffle": request.shuffle,
            "cost": request.cost is not None,
            "priority": request.priority is not None,
        },
        **sown_to_json(sown, arrays),
        "arrays": bool(arrays),
    }


def _dealt(batches: Batches) -> str:
    """Fingerprint of which case is in which batch."""
    arrays = [a for a in (batches.order, batches.sizes) if a is not None]
    return hash_of([batches.num_batches, batches.batchsize, *map(array_digest, arrays)])


def _make_states(layout: Layout) -> None:
    for state in STATES:
        os.mkdir(layout.state(state), 0o700)


def _make_batches(layout: Layout, batches: range) -> None:
    """Make a folder for each batch, and where there are very many, for each shard."""
    if layout.sharded:
        for number in range(batches.start // SHARD, batches.stop // SHARD + 1):
            for state in ("sown", "grown"):
                os.makedirs(layout.shard(state, number * SHARD), 0o700, exist_ok=True)
    for batch in batches:
        os.mkdir(layout.batch("sown", batch), 0o700)


# -- where a crop stands already -------------------------------------------------------


def _sow_again(
    former: Manifest, request: Request, pickled: bytes, owner: Owner, *, append: bool
) -> str:
    asked = former.data["sowings"][0]["asked"]
    if request.batchsize is None and request.num_batches is None and not append:
        request = replace(request, batchsize=asked["batchsize"], num_batches=asked["num_batches"])
    digests = object_digests(request.grid)
    different = _differences(former, request, digests)
    if append and different:
        return _append(former, request, pickled, digests, owner)
    if different:
        raise ExistsError(
            f"{former.layout.root} was sown with another design:\n  - "
            + "\n  - ".join(different)
            + "\nNothing was changed. Reap or delete that crop, give another name, or sow with "
            "exists='replace' (its results are lost) or exists='append' (adds the new cases)."
        )
    return _update_function(former, request, pickled, owner)


def _differences(former: Manifest, request: Request, digests: Mapping[str, list[str]]) -> list[str]:
    first = former.data["sowings"][0]
    if len(former.sowings) > 1 and not _new_cases(former, request.grid, digests).any():
        return []  # everything that is asked for stands in one sowing or another
    found = differences(first["wanted"], request.fingerprint(digests))
    if request.seed is not None and int(request.seed) != former.data["seed"]:
        found.append(f"seed: {former.data['seed']} was sown, {request.seed} is given")
    if found:
        return found
    batches = request.plan(int(former.data["seed"]), request.grid)
    if _dealt(batches) != first["dealt"]:
        was = {key: value for key, value in first["asked"].items() if value}
        found.append(
            f"how cases are dealt to batches: {first['num_batches']} batches ({was or 'default'}) "
            f"were sown, {batches.num_batches} are asked for, or another order"
        )
    return found


def _update_function(former: Manifest, request: Request, pickled: bytes, owner: Owner) -> str:
    """The same design again: keep all results, and take the function as it is now."""
    layout = former.layout
    _repair(former, owner)
    function = describe_function(request.function, pickled)
    counts = Ledger(layout, owner, float(former.data["lease"])).counts()
    grown = f"{counts['grown']} of {former.num_batches} batches grown"
    what = f"{layout.root} stands already, with {grown}"
    if function == former.data["function"]:
        return f"{what}; nothing was changed."
    write_work(layout.function, pickled, str(owner))
    write_manifest(layout, {**former.data, "function": function}, str(owner))
    if function["source"] == former.data["function"]["source"]:
        return f"{what}; they are kept."
    return (
        f"{what}; they keep the results of the former function. Its body has changed: the other "
        f"{former.num_batches - counts['grown']} will be grown with the new one. To compute all "
        "anew, sow with exists='replace'."
    )


def _repair(former: Manifest, owner: Owner) -> None:
    """Make the folders of batches that an append was killed before making."""
    last = former.sowings[-1]
    if len(former.sowings) == 1:
        return
    ledger = Ledger(former.layout, owner, float(former.data["lease"]))
    batches = range(last.first_batch, last.first_batch + last.batches.num_batches)
    for batch in lost_batches(ledger, batches):
        os.mkdir(former.layout.batch("sown", batch), 0o700)


def lost_batches(ledger: Ledger, batches: range) -> list[int]:
    """Batches that stand in no state. Looked for twice: they move while one looks."""
    lost = set(batches)
    for _ in range(2):
        for state in ("sown", "grown", "failed", "ignored"):
            lost -= set(ledger.numbers(state))
        lost -= {claim.batch for claim in ledger.claims()}
    return sorted(batch for batch in lost if ledger.where(batch) is None)


# -- append ----------------------------------------------------------------------------


def _append(
    former: Manifest,
    request: Request,
    pickled: bytes,
    digests: Mapping[str, list[str]],
    owner: Owner,
) -> str:
    """Add the cases that are not there yet; numbers and seeds of the others stay."""
    _check_appendable(former, request, digests)
    new = _new_cases(former, request.grid, digests)
    if not new.any():
        return _update_function(former, request, pickled, owner)
    grid = request.grid if new.all() else request.grid.table(np.flatnonzero(new))
    last = former.sowings[-1]
    seed = int(former.data["seed"])
    first_batch = last.first_batch + last.batches.num_batches
    sown = Sown(grid, request.plan(seed, grid), last.first_case + last.grid.size, first_batch)
    layout, number = former.layout, len(former.sowings) + 1
    for path in (layout.cases(number), layout.objects(number)):
        if os.path.exists(path):
            os.unlink(path)  # of an append that was killed before it counted
    arrays: Arrays = {}
    written = _write_objects(layout, number, grid, arrays)
    entry = _entry(request, sown, written, former.data["id"], seed, arrays)
    write_arrays(layout.cases(number), arrays)
    function = describe_function(request.function, pickled)
    write_work(layout.function, pickled, str(owner))
    data = {
        **former.data,
        "function": function,
        "sowings": [*former.data["sowings"], entry],
    }
    write_manifest(layout, data, str(owner))
    _make_batches(layout, range(first_batch, first_batch + sown.batches.num_batches))
    return (
        f"Appended {sown.batches.num_cases} cases in {sown.batches.num_batches} batches "
        f"(from {first_batch}); {int((~new).sum())} of those given were there: {layout.root}"
    )


def _check_appendable(former: Manifest, request: Request, digests: Mapping[str, list[str]]) -> None:
    """Only the values of parameters may differ."""
    wanted = request.fingerprint(digests)
    first = former.data["sowings"][0]["wanted"]
    fixed = ("function", "outputs", "var_coords", "constants")
    clash = differences(
        {**first, "axes": {}, "blocks": []}, {**wanted, **{"axes": {}, "blocks": []}}
    )
    if request.seed is not None and int(request.seed) != former.data["seed"]:
        clash.append(f"seed: {former.data['seed']} was sown, {request.seed} is given")
    if clash:
        raise ExistsError(
            f"{former.layout.root} cannot be appended to, because more than the values differ "
            f"({', '.join(fixed)} and seed must stay):\n  - " + "\n  - ".join(clash)
        )


def _new_cases(
    former: Manifest, grid: Grid, digests: Mapping[str, list[str]]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
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
