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
from collections.abc import Iterator
from typing import Any, Literal

from cropfit.batching import Sown
from cropfit.disk import publish
from cropfit.disk.functions import pickle_work, write_work
from cropfit.disk.layout import SHARDED_FROM, Layout, name_of
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import (
    FORMAT,
    Arrays,
    Manifest,
    coords_to_json,
    read_manifest,
    write_arrays,
    write_manifest,
)
from cropfit.disk.owner import Owner
from cropfit.errors import CropError, DamagedError, DesignError, ExistsError, NotFoundError
from cropfit.wording import extent, number_of
from cropfit.work.beds import Progress, entry, make_batches, make_states, write_objects
from cropfit.work.provenance import describe_function, gather
from cropfit.work.request import Request
from cropfit.work.resow import mend, sow_again

Exists = Literal["keep", "replace", "append"]
DIGESTS = "/digests"  # of the names of arrays that tell objects apart


def sow(
    root: str,
    request: Request,
    *,
    exists: Exists = "keep",
    lease: float,
    max_deaths: int,
    progress: Progress | None = None,
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
    progress : callable, optional
        Told how much is written, of how much, and what.

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
    pickled = pickle_work(request.work)
    owner = Owner.here()
    sweep(os.path.dirname(root), owner)
    former = None
    try:
        replaces = exists == "replace"
        former = _find_former(root, request, owner, replaced=replaces)
        if former is None or replaces:
            try:
                terms = (lease, max_deaths, replaces)
                return _sow_new(root, request, pickled, owner, *terms, progress)
            except ExistsError:
                former = _find_former(root, request, owner, replaced=replaces)
                if former is None or replaces:
                    raise
                # Somebody sowed at the same moment: who comes second compares.
        is_append = exists == "append"
        return sow_again(former, request, pickled, owner, append=is_append, progress=progress)
    except OSError as error:
        kept = "Nothing was left behind" if former is None else "What stands there is kept"
        raise CropError(
            f"{root} cannot be sown: {error.strerror or error} ({error.filename or root}). "
            f"{kept}; when this is put right, sow again."
        ) from error


def _find_former(root: str, request: Request, owner: Owner, *, replaced: bool) -> Manifest | None:
    """The crop that stands there; one with damaged files is mended if it is what is sown."""
    try:
        former = read_manifest(root)
    except NotFoundError:
        return None
    except DamagedError:
        if replaced:
            return None
        mend(root, request, owner)
        return read_manifest(root)
    ledger = Ledger(former.layout, owner, float(former.data["lease"]))
    busy = [held for held in ledger.held() if not held.dead]
    if replaced and busy:
        workers = number_of(len(busy), "worker")
        raise CropError(
            f"{root}: {workers} still growing it (first: {busy[0].claim.owner}). Stop them "
            f"with 'cropfit stop {former.name}' before it is replaced."
        )
    return former


def sweep(parent: str, owner: Owner) -> int:
    """Remove what sowers and reapers that were killed left in `parent`; counts it."""
    removed = 0
    for path in abandoned(parent, owner):
        removed += 1
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    return removed


def abandoned(parent: str, owner: Owner) -> Iterator[str]:
    """Drafts and trash in `parent` whose process is gone or, on another host, a day old."""
    for path, marked in publish.leftovers(parent):
        pid_and_token = marked.rsplit(".", 2)
        other = Owner.parse(".".join([owner.host, *pid_and_token[1:]]))
        same_host = marked.endswith(f".{owner.host}.{'.'.join(pid_and_token[1:])}")
        alive = other.is_alive() if other and same_host else None
        if alive or (alive is None and time.time() - os.lstat(path).st_mtime < 86400):
            continue
        yield path


def _check_parent(parent: str) -> None:
    if not os.path.isdir(parent):
        raise NotFoundError(f"The folder {parent} does not exist; make it, or give parent_dir=.")
    if not os.access(parent, os.W_OK | os.X_OK) or os.statvfs(parent).f_flag & os.ST_RDONLY:
        raise CropError(f"The folder {parent} cannot be written to; give another parent_dir=.")


# -- a new crop ------------------------------------------------------------------------


def _sow_new(
    root: str,
    request: Request,
    pickled: bytes,
    owner: Owner,
    lease: float,
    max_deaths: int,
    replaces: bool,
    progress: Progress | None,
) -> str:
    seed = int.from_bytes(os.urandom(6), "big") if request.seed is None else int(request.seed)
    sown = Sown(request.grid, request.plan(seed), 0, 1)
    sharded = sown.batches.num_batches > SHARDED_FROM
    draft = f"{root}.{owner}{publish.DRAFT}"
    layout = Layout(draft, sharded)
    try:
        os.mkdir(draft, 0o700)
        arrays: Arrays = {}
        digests = write_objects(layout.objects(1), request.grid, arrays, progress)
        identity = os.urandom(8).hex()
        data: dict[str, Any] = {
            "format": FORMAT,
            "name": name_of(root),
            "id": identity,
            "seed": seed,
            "lease": lease,
            "max_deaths": max_deaths,
            "sharded": sharded,
            "function": describe_function(request.work),
            "farmer": request.farmer,
            "outputs": request.outputs.to_json(),
            "var_coords": coords_to_json(request.outputs, arrays),
            "constants": list(request.constants),
            "resources": list(request.resources),
            "sowings": [entry(request, sown, digests, identity, seed, arrays)],
            "provenance": gather(request.function),
        }
        write_arrays(layout.cases(1), arrays)
        write_work(layout.function, pickled, str(owner))
        write_manifest(layout, data, str(owner))
        make_states(layout)
        make_batches(layout, range(1, sown.batches.num_batches + 1), progress)
        _put_in_place(draft, root, owner, replaces)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    batches = sown.batches
    return f"Sowed {extent(batches.num_cases, batches.num_batches)}: {root}"


def _put_in_place(draft: str, root: str, owner: Owner, replaces: bool) -> None:
    """Rename the draft; what stands there goes only if that was asked for."""
    if replaces and os.path.isdir(root):
        publish.discard(root, str(owner))
    try:
        os.rename(draft, root)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise ExistsError(
                f"{root} is there, but has no crop.json: it is no crop, or not whole any more. "
                "Move it away, or sow with exists='replace' (what is in it is lost)."
            ) from None
        raise
