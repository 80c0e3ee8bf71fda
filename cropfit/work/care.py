"""Looking after a crop: what is wrong, what went wrong, and putting it right.

Nothing here disturbs a worker that is alive.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from cropfit.batching import batch_numbers
from cropfit.disk import publish
from cropfit.disk.layout import LOG
from cropfit.disk.ledger import Held, Ledger
from cropfit.disk.manifest import Manifest
from cropfit.errors import CropError, NotFoundError
from cropfit.wording import extent, number_of
from cropfit.work.beds import lost_batches
from cropfit.work.failures import Failure, Failures
from cropfit.work.results import find_damage, footer_of, read_partial
from cropfit.work.sow import sweep

SAMPLE = 20  # grown batches whose duration is read for the rate
MANY = 5000  # batches from which on the files of a crop are removed behind the user's back
BAR = 40


@dataclass(frozen=True)
class Status:
    """How a crop stands.

    Attributes
    ----------
    name, location : str
        Which crop.
    num_cases, num_batches : int
        What was sown.
    sown, growing, grown, failed, ignored : int
        Batches in each state.
    dead : list of int
        Batches whose worker is dead; `clean` or any worker takes them up.
    workers : list of str
        Owners of live claims.
    batch_seconds : float or None
        Median time that a grown batch took to compute.
    eta : float or None
        Seconds until the rest is grown, if as many workers go on as now.
    """

    name: str
    location: str
    num_cases: int
    num_batches: int
    sown: int
    growing: int
    grown: int
    failed: int
    ignored: int
    dead: list[int] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    batch_seconds: float | None = None
    eta: float | None = None

    @property
    def rate(self) -> float | None:
        """Batches that the live workers grow in a second, together."""
        return len(self.workers) / self.batch_seconds if self.batch_seconds else None

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {**asdict(self), "rate": self.rate}

    def bar(self, width: int = BAR) -> str:
        """Progress as text: # grown, ! failed, > growing, - ignored, . sown."""
        total = max(self.num_batches, 1)
        signs = ((self.grown, "#"), (self.failed, "!"), (self.growing, ">"), (self.ignored, "-"))
        text, done = "", 0
        for count, sign in signs:
            done += count
            text += sign * (done * width // total - len(text))
        return text.ljust(width, ".")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))  # what a notebook shows

    def __str__(self) -> str:
        states = {
            key: getattr(self, key) for key in ("sown", "growing", "grown", "failed", "ignored")
        }
        told = ", ".join(f"{n} {state}" for state, n in states.items() if n or state == "grown")
        lines = [
            f"{self.name}: {extent(self.num_cases, self.num_batches)}  ({self.location})",
            f"[{self.bar()}] {100 * self.grown // max(self.num_batches, 1)} %   {told}",
        ]
        if self.workers:
            eta = "" if self.eta is None else f", about {span(self.eta)} left"
            lines.append(f"{number_of(len(self.workers), 'worker')}{eta}")
        if self.dead:
            left = number_of(len(self.dead), "batch of dead workers")
            lines.append(
                f"{left} (first: {self.dead[:5]}); any worker takes them up, "
                f"'cropfit clean {self.name}' gives them back"
            )
        if self.failed:
            lines.append(
                f"'cropfit errors {self.name}' tells what failed, 'cropfit retry {self.name}' "
                "tries again"
            )
        return "\n".join(lines)


def span(seconds: float) -> str:
    """A duration in words, to one unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def status(manifest: Manifest, ledger: Ledger) -> Status:
    """Count batches by state; a listing a state, and a look at a few grown ones."""
    counts = ledger.counts()
    held = ledger.held() if counts["growing"] else []
    workers = [str(h.claim.owner) for h in held if not h.dead]
    took = _median_seconds(manifest, ledger) if workers and counts["grown"] else None
    rest = counts["sown"] + counts["growing"]
    return Status(
        manifest.name,
        manifest.layout.root,
        manifest.num_cases,
        manifest.num_batches,
        **counts,
        dead=[h.claim.batch for h in held if h.dead],
        workers=workers,
        batch_seconds=took,
        eta=rest * took / len(workers) if took is not None and workers else None,
    )


def _median_seconds(manifest: Manifest, ledger: Ledger) -> float | None:
    grown = ledger.numbers("grown")
    some = grown[:: max(1, len(grown) // SAMPLE)]
    footers = [footer_of(manifest.layout.batch("grown", batch)) for batch in some]
    known = [float(footer["seconds"]) for footer in footers if footer]
    return statistics.median(known) if known else None


# -- failures --------------------------------------------------------------------------


def errors(manifest: Manifest, ledger: Ledger) -> Failures:
    """Every failure of every failed batch, in the order of the cases."""
    found: list[Failure] = []
    for batch in ledger.numbers("failed"):
        found += errors_of(manifest, batch)
    return Failures(sorted(found, key=lambda failure: int(failure["case"])))


def errors_of(manifest: Manifest, batch: int) -> list[Failure]:
    """The failures of one failed batch; none if it is being retried.

    From its record file, which is checked; ``errors.jsonl`` is for people.
    """
    records = read_partial(manifest, batch, manifest.layout.batch("failed", batch))
    done = {offset for chunk in records.chunks for offset in chunk.offsets.tolist()}
    failed = {error["offset"]: error for error in records.errors if error["final"]}
    return [failed[offset] for offset in sorted(failed.keys() - done)]


def chosen(ledger: Ledger, state: str, batches: int | Iterable[int] | None) -> list[int]:
    """The batches asked for that are in `state`; all of them by default.

    Raises
    ------
    NotFoundError
        One of them is not in that state; nothing was moved.
    """
    present = ledger.numbers(state)
    if batches is None:
        return present
    wanted = batch_numbers(batches)
    absent = sorted(set(wanted) - set(present))
    if absent:
        raise NotFoundError(
            f"{ledger.layout.root}: {len(absent)} of the batches named are not in {state}/ "
            f"(first: {absent[:5]})."
        )
    return wanted


def shift(
    ledger: Ledger, source: str, target: str, batches: int | Iterable[int] | None
) -> list[int]:
    """Move batches between states by hand; those that were moved."""
    return [b for b in chosen(ledger, source, batches) if ledger.shift(b, source, target)]


def ignore(ledger: Ledger, batches: int | Iterable[int] | None) -> list[int]:
    """Set batches aside, failed ones by default; those that were moved."""
    if batches is None:
        return shift(ledger, "failed", "ignored", None)
    wanted = batch_numbers(batches)
    failed = set(ledger.numbers("failed"))
    chosen(ledger, "sown", [batch for batch in wanted if batch not in failed])
    return [b for b in wanted if ledger.shift(b, "failed" if b in failed else "sown", "ignored")]


# -- putting right ---------------------------------------------------------------------


def clean(manifest: Manifest, ledger: Ledger) -> dict[str, int]:
    """Bring a crop into a sound state; live claims are left alone.

    Returns
    -------
    dict of int
        ``dead``: claims given back; ``torn``: grown batches that were sown again;
        ``lost``: batches that stood nowhere and were sown again; ``leftovers``:
        drafts and trash removed.
    """
    counts = {"dead": 0, "torn": 0, "lost": 0, "leftovers": 0}
    for held in ledger.held():
        if held.dead and (claim := ledger.take_over(held.claim)):
            counts["dead"] += ledger.release(claim)
    counts["torn"] = len(check_bad(manifest, ledger))
    for sown in manifest.sowings:
        first = sown.first_batch
        for batch in lost_batches(ledger, range(first, first + sown.batches.num_batches)):
            os.makedirs(manifest.layout.batch("sown", batch), mode=0o700)
            counts["lost"] += 1
    counts["leftovers"] = sweep(os.path.dirname(manifest.layout.root), ledger.owner)
    counts["leftovers"] += _sweep_inside(manifest.layout.root, ledger)
    return counts


def _sweep_inside(root: str, ledger: Ledger) -> int:
    old = old_drafts(root, ledger)
    for path in old:
        os.unlink(path)
    return len(old)


def old_drafts(root: str, ledger: Ledger) -> list[str]:
    """Drafts in the crop's own folder that are a lease old."""
    now = publish.clock(root)
    with os.scandir(root) as entries:
        drafts = [e for e in entries if e.is_file() and e.name.endswith(publish.DRAFT)]
        return [e.path for e in drafts if now - e.stat().st_mtime > ledger.lease]


def check_bad(manifest: Manifest, ledger: Ledger, repair: bool = True) -> dict[int, str]:
    """Read every grown batch; those that are torn, altered or foreign, and why.

    With `repair` each of them goes back to ``sown/``. What is whole in its file
    is used when it is grown again; a file of another design is not.
    """
    bad = {}
    for batch in ledger.numbers("grown"):
        why = find_damage(manifest, batch)
        if why:
            bad[batch] = why
            if repair:
                ledger.shift(batch, "grown", "sown")
    return bad


def alive(ledger: Ledger) -> list[Held]:
    """Claims whose worker is alive."""
    return [held for held in ledger.held() if not held.dead]


def stop(manifest: Manifest) -> None:
    """Ask all workers on all hosts to finish their case and leave."""
    with open(manifest.layout.stop, "a"):
        os.utime(manifest.layout.stop)


def read_log(manifest: Manifest, ledger: Ledger, batch: int) -> str:
    """What the function printed in a batch, in all attempts."""
    manifest.sowing_of(batch)
    claims = {claim.batch: claim.path for claim in ledger.claims()}
    folder = claims.get(batch) or manifest.layout.batch(ledger.where(batch) or "sown", batch)
    try:
        with open(f"{folder}/{LOG}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        raise NotFoundError(
            f"{folder} has no log. Grow with log=True, or 'cropfit grow {manifest.name} --log'."
        ) from None


def delete(manifest: Manifest, ledger: Ledger, force: bool) -> None:
    """Remove the crop's folder with all that is in it.

    Raises
    ------
    CropError
        Workers are alive and `force` was not given.
    """
    busy = alive(ledger)
    if busy and not force:
        raise CropError(
            f"{manifest.layout.root}: {number_of(len(busy), 'worker')} still growing it (first: "
            f"{busy[0].claim.owner}). Stop them with 'cropfit stop {manifest.name}', or "
            "delete with force=True."
        )
    remove(manifest, ledger)


def remove(manifest: Manifest, ledger: Ledger) -> None:
    """Delete the crop's folder; nobody waits for the files of a large one to go."""
    behind = manifest.num_batches > MANY
    publish.discard(manifest.layout.root, str(ledger.owner), behind=behind)
