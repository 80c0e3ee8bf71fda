"""What a worker did, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cropfit.wording import number_of
from cropfit.work.failures import Failure

if TYPE_CHECKING:
    from cropfit.disk.ledger import Claim


@dataclass
class GrowReport:
    """What a worker did.

    Attributes
    ----------
    grown, failed : list of int
        Batches that this worker finished, and those in which cases failed.
    cases : int
        Cases that it computed.
    failures : list of dict
        Cases that failed: arguments, error, traceback.
    reason : str
        Why it ended: "done", or "time", "stop", "error", "max_fails",
        "max_batches", "gone", "turn", "SIGINT", "SIGTERM".
    notes : list of str
        What else is worth knowing, a sentence each.
    """

    grown: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    cases: int = 0
    failures: list[Failure] = field(default_factory=list)
    reason: str = "done"
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all done, 1 cases failed, 75 work is left (by demand), 130 or 143 signals."""
        codes = {"time": 75, "stop": 75, "max_batches": 75, "SIGINT": 130, "SIGTERM": 143}
        return codes.get(self.reason, 1 if self.failed or self.reason != "done" else 0)

    def add(self, other: GrowReport) -> None:
        """Count in what another worker did."""
        self.grown += other.grown
        self.failed += other.failed
        self.cases += other.cases
        self.failures += other.failures
        self.notes += other.notes
        if self.reason == "done":
            self.reason = other.reason

    def note_others(self, claims: Sequence[Claim]) -> None:
        """Tell of batches that somebody else grows."""
        if claims:
            who = ", ".join(f"{claim.batch} by {claim.owner}" for claim in claims[:3])
            self.notes.append(f"{number_of(len(claims), 'batch')} growing elsewhere: {who}.")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))  # what a notebook shows

    def __str__(self) -> str:
        parts = [f"{number_of(len(self.grown), 'batch')} grown"]
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        if self.reason != "done":
            parts.append(f"ended by {self.reason}")
        return ", ".join(parts) + f", {number_of(self.cases, 'case')} computed"
