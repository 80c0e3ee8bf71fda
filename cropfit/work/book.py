"""The book of one batch: what is recorded, by whom, and what is left to do.

    results.<token>   append-only; whole when its last frame says so
    death.<token>     left by whoever took the batch from a dead worker
    errors.jsonl      the failures of a failed batch, for people

A worker writes one file, under its own token, and never into another's. What
former owners recorded is carried over into it, so that one whole file remains.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from cropfit.disk import frames
from cropfit.disk.codec import decode_results, encode_results
from cropfit.disk.compact import merge_frames
from cropfit.disk.expect import Expected
from cropfit.disk.layout import CHECKPOINT, DEATH, ERRORS, LOG, RESULTS
from cropfit.disk.publish import write_whole
from cropfit.disk.records import RecordFile
from cropfit.errors import ResultError
from cropfit.work.failures import Failure

COMPACT_BELOW = 32 << 20  # bytes; a file of many small frames up to this size is rewritten as one
COMPACT_FROM = 8  # frames
FULL = 256  # cases of a frame from which on its own cost is small beside theirs

# Seconds that the last fsync of this process took: one is worth a tenth of the computing.
_sync_took = 0.002


class Book:
    """Reads what a claimed folder holds and records what this worker adds.

    Parameters
    ----------
    folder : str
        The claim's folder.
    token : str
        The owner's token; names the file.
    header : mapping
        Written at the head of the file; its ``design`` is what other files
        must carry to count.
    names : tuple of str or None
        Declared outputs.
    expected : mapping, optional
        Their declared inner dimensions, which results must have.

    Attributes
    ----------
    done : set of int
        Offsets of the cases that have a result.
    failed : dict
        Offset → failure, of the cases that failed for good.
    attempts : dict
        Offset → how often the case was tried in vain.
    killed : dict
        Offset → how many workers died in the case.
    deaths : list of str
        Marks of workers that died on this batch and are not in `attempts` yet.
    """

    def __init__(
        self,
        folder: str,
        token: str,
        header: Mapping[str, Any],
        names: tuple[str, ...] | None,
        expected: Expected | None = None,
    ) -> None:
        self.folder = folder
        self._found = os.listdir(folder)
        self.path = f"{folder}/{_new_name(f'{RESULTS}{token}', self._found)}"
        self.names = names
        self._expected = expected
        self.done: set[int] = set()
        self.failed: dict[int, Failure] = {}
        self.attempts: dict[int, int] = {}
        self.killed: dict[int, int] = {}
        self._header = header
        self._file = RecordFile(self.path, header)
        self._frames = 0
        self.deaths = [name for name in self._found if name.startswith(DEATH)]
        if self._found:
            self._carry_over()

    def _carry_over(self) -> None:
        former = [self._read(name) for name in self._found if name.startswith(RESULTS)]
        told: dict[tuple[int, int], Failure] = {}
        # The fullest first: later ones mostly hold what it holds already.
        for payloads, failures, retried in sorted(former, key=lambda f: -sum(map(len, f[0]))):
            for offsets, payload in payloads.items():
                if not self.done.issuperset(offsets):
                    self._file.append(frames.RESULTS, payload)
                    self._frames += 1
                    self.done.update(offsets)
            for failure in failures:
                which = failure["offset"], failure["attempt"]
                # Of a batch that failed they are history, of one given back they stand.
                stands = failure["final"] and not retried
                stands = stands or (which in told and told[which]["final"])
                told[which] = {**failure, "final": stands}
        for failure in told.values():
            self.add_failure(failure)
        # A worker may have been killed between recording a death and removing its mark.
        known = {failure.get("death") for failure in told.values()}
        self.deaths = [mark for mark in self.deaths if mark not in known]
        for offset in self.done & self.failed.keys():
            del self.failed[offset]

    def _read(self, name: str) -> tuple[dict[tuple[int, ...], memoryview], list[Failure], bool]:
        """Results and failures in a former owner's file, and whether it was published."""
        try:
            with open(f"{self.folder}/{name}", "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return {}, [], False  # a late worker took it back
        payloads: dict[tuple[int, ...], memoryview] = {}
        failures: list[Failure] = []
        known = sealed = mended = False
        for kind, payload in frames.iter_frames(data):
            if kind == frames.HEADER:
                header = frames.parse_json(payload)
                known, mended = self._is_ours(header), self._was_mended_since(header)
            if not known:
                return {}, [], False  # nothing tells what these results are of
            if kind == frames.RESULTS:
                chunk = decode_results(payload, data=False)
                payloads[tuple(chunk.offsets.tolist())] = payload
            elif kind == frames.ERROR:
                failures.append(frames.parse_json(payload))
            sealed = kind == frames.FOOTER
        died = f"{DEATH}{name[len(RESULTS) :].rstrip('+')}" in self.deaths
        return payloads, failures, mended or (sealed and not died)

    def _is_ours(self, header: Mapping[str, Any]) -> bool:
        return all(header.get(key) == self._header[key] for key in ("design", "batch"))

    def _was_mended_since(self, header: Mapping[str, Any]) -> bool:
        """Whether another function failed there than the one that is called now."""
        both = header.get("function"), self._header.get("function")
        return None not in both and both[0] != both[1]

    def add_results(
        self, offsets: Sequence[int], seconds: Sequence[float], results: Sequence[Any]
    ) -> list[tuple[int, ResultError]]:
        """Write results in one go; returns those that could not be written, and why."""
        payloads, refused = encode_results(offsets, seconds, results, self.names, self._expected)
        for payload in payloads:
            self._file.append(frames.RESULTS, *payload)
        self._frames += len(payloads)
        self.done.update(offsets)
        self.done.difference_update(offset for offset, _ in refused)
        return refused

    def add_failure(self, failure: Failure) -> None:
        """Write a failure; a final one settles its case for this worker."""
        self._file.append(frames.ERROR, frames.json_bytes(failure))
        offset = failure["offset"]
        self.attempts[offset] = max(self.attempts.get(offset, 0), failure["attempt"])
        if failure.get("death"):
            self.killed[offset] = self.killed.get(offset, 0) + 1
        if failure["final"]:
            self.failed[offset] = failure

    def forget_deaths(self) -> None:
        """Remove the marks of deaths that are recorded as attempts now."""
        for name in self.deaths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.folder}/{name}")
        self.deaths.clear()

    def seal(self, seconds: float, longest: float = 0.0, scratch: bool = False) -> None:
        """Make the file whole, and the only one in the folder.

        Parameters
        ----------
        seconds : float
            What computing the batch took: decides whether an fsync is worth it.
        longest : float
            What its longest case took.
        scratch : bool
            Whether checkpoints were made.
        """
        global _sync_took
        footer = {
            "cases": len(self.done),
            "failed": len(self.failed),
            "seconds": seconds,
            "longest": longest,
        }
        if self._frames >= COMPACT_FROM and len(self.done) < self._frames * FULL:
            self._compact()
        sync = seconds > 10 * _sync_took
        begun = perf_counter()
        self._file.seal(footer, sync=sync)
        if sync:
            _sync_took = perf_counter() - begun
        if self.failed:
            lines = "".join(json.dumps(self.failed[k]) + "\n" for k in sorted(self.failed))
            write_whole(f"{self.folder}/{ERRORS}", lines.encode(), self.path.rsplit(".", 1)[1])
        if scratch:
            self._found.append(CHECKPOINT)
        self._tidy()

    def _compact(self) -> None:
        """Put many small frames into few: reading them costs by the frame."""
        if os.path.getsize(self.path) > COMPACT_BELOW:
            return
        with open(self.path, "rb") as file:
            merged = merge_frames(file.read(), self.names)
        if merged is None:
            return
        better = RecordFile(f"{self.path}+", self._header)
        try:
            for kind, payload in merged:
                better.append(kind, *payload)
        except OSError:  # no room for both: many small frames are as true as few
            better.close()
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}+")
            return
        self._file.close()
        self._found.append(os.path.basename(self.path))
        self._file = better

    def _tidy(self) -> None:
        """Leave one file: what others wrote is in it. A failed batch keeps its checkpoints."""
        for name in self._found:
            path = f"{self.folder}/{name}"
            if name == CHECKPOINT:
                if not self.failed:
                    import shutil

                    shutil.rmtree(path, ignore_errors=True)
            elif name != LOG and (name != ERRORS or not self.failed):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def close(self) -> None:
        """Stop writing; what is written stays for whoever takes up the batch."""
        self._file.close()


def _new_name(name: str, found: list[str]) -> str:
    """A name for a new file; this worker may have had the batch before, and have left one."""
    mine = [former for former in found if former.startswith(name)]
    return max(mine, key=len) + "+" if mine else name
