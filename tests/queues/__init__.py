"""Schedulers that keep their queue in a folder and run each task as a process when told to.

    queue.install(); crop.submit(...)   its commands on PATH read the script's own header, strictly
    queue.run()                         every waiting task, in the surroundings that it documents

Its commands are small programs that call `queues.kinds.main`. Nothing is taken from
cropfit, so that both can be wrong only in different ways.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

LIMIT = 12  # largest index of an array; small, so that crops may exceed it
JobDict = dict[str, Any]

_PROGRAM = f"""import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from queues.kinds import main
sys.exit(main(*sys.argv[1:]))"""


class Refused(Exception):
    """What a scheduler says of a submission that it does not take."""


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(message)


def read_options(lines: list[str], flags: str, single: str, many: str = "") -> argparse.Namespace:
    """Options of a header; one that the scheduler does not know is refused."""
    parser = _Options(allow_abbrev=False, add_help=False)
    for name in flags.split():
        parser.add_argument(name, action="store_true")
    for name in single.split():
        parser.add_argument(name)
    for name in many.split():
        parser.add_argument(name, action="append", default=[])
    return parser.parse_args([word for line in lines for word in shlex.split(line)])


def header(text: str, mark: str) -> list[str]:
    """What follows `mark` in the lines before the first command."""
    found = []
    for line in text.splitlines():
        if line.startswith(mark):
            found.append(line[len(mark) :])
        elif line and not line.startswith("#"):
            break
    return found


def clock(text: str) -> int:
    """Seconds of ``H:MM:SS``, with days before a dash."""
    days, _, rest = text.rpartition("-")
    hours, minutes, seconds = map(int, rest.split(":"))
    if minutes > 59 or seconds > 59:
        raise Refused(f"illegal time {text}")
    return 86400 * int(days or 0) + 3600 * hours + 60 * minutes + seconds


def indices(text: str, *, lists: bool, first: int = 1) -> tuple[list[int], int | None]:
    """Indices of an array and its throttle."""
    array, _, throttle = text.partition("%")
    runs = re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", array) and array.split(",")
    if not runs or (len(runs) > 1 and not lists):
        raise Refused(f"illegal array {text}")
    found: list[int] = []
    for run in runs:
        begin, _, end = run.partition("-")
        found += range(int(begin), int(end or begin) + 1)
    if found[-1] > LIMIT or found[0] < first:
        raise Refused(f"array index out of bounds: {text}")
    return found, int(throttle) if throttle else None


class Queue:
    """One scheduler, as tests drive it.

    Parameters
    ----------
    folder : Path
        Where its queue and its programs are.
    """

    name: str
    programs: str
    heeds_failure = True  # what waits for a task that fails never begins

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    # -- what each scheduler does in its own way --------------------------------------

    def submit(self, words: list[str], text: str) -> JobDict:
        """The job that a submission makes."""
        raise NotImplementedError

    def command(self, name: str, words: list[str]) -> str:
        """What a command other than submission prints."""
        raise NotImplementedError

    def surroundings(self, job: JobDict, index: int | None) -> dict[str, str]:
        """Environment variables of a task."""
        raise NotImplementedError

    def log(self, job: JobDict, index: int | None) -> str:
        """Path of a task's log."""
        raise NotImplementedError

    def arguments(self, job: JobDict, index: int | None) -> list[str]:
        """The task's command."""
        return ["/bin/bash", str(self.folder / f"{job['id']}.spool")]

    def put_back(self, job: JobDict, index: int | None, code: int) -> bool:
        """Whether a task that ended with `code` runs again."""
        return False

    # -- what all share ----------------------------------------------------------------

    def install(self) -> str:
        """Write the programs; the folder that belongs on PATH."""
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        for program in self.programs.split():
            words = [sys.executable, "-IS", "-c", _PROGRAM, self.name, str(self.folder), program]
            (programs / program).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (programs / program).chmod(0o755)
        return str(programs)

    def jobs(self) -> list[JobDict]:
        """Every job that was taken, in order."""
        paths = sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem))
        return [json.loads(path.read_text()) for path in paths]

    def waits_for(self, text: str, patterns: dict[str, str]) -> JobDict:
        """What a job waits for: "each", "one" or "all", and the ids; others are refused."""
        for how, pattern in patterns.items():
            found = re.fullmatch(pattern, text)
            ids = [int(number) for number in re.findall(r"\d+", found[1])] if found else []
            if found and {*ids} <= {job["id"] for job in self.jobs()}:
                return {"waits": how, "after": ids}
        raise Refused(f"illegal dependency {text}")

    def _keep(self, job: JobDict) -> None:
        draft = self.folder / f"{job['id']}.draft"
        draft.write_text(json.dumps(job))
        draft.rename(draft.with_suffix(".json"))

    def take(self, words: list[str], text: str) -> JobDict:
        """Put a submission into the queue."""
        job = {"id": 101 + len(self.jobs()), "cwd": os.getcwd(), "throttle": None}
        job |= self.submit(words, text)
        (self.folder / f"{job['id']}.spool").write_text(text)
        tasks = job.pop("indices") or [None]
        job["tasks"] = [{"index": i, "state": "waiting", "runs": []} for i in tasks]
        self._keep(job)
        return job

    def tasks(self) -> Iterator[tuple[JobDict, JobDict]]:
        """Each job with each of its tasks."""
        for job in self.jobs():
            yield from ((job, task) for task in job["tasks"])

    def cancel(self, ids: list[str]) -> None:
        """End what waits."""
        for job in self.jobs():
            if str(job["id"]) in ids:
                for task in job["tasks"]:
                    task["state"] = "ended"
                self._keep(job)

    def run(self) -> list[list[int]]:
        """Run what waits to its end; the exit codes of each task's runs."""
        told: list[list[int]] = []
        for job in self.jobs():
            waiting = [task for task in job["tasks"] if task["state"] == "waiting"]
            for task in [task for task in waiting if self._is_in_vain(job, task)]:
                waiting.remove(task)
                self._set(job, task, "ended")
            with ThreadPoolExecutor(min(3, job["throttle"] or 3)) as threads:
                list(threads.map(lambda task, job=job: self._run(job, task), waiting))
            told += [task["runs"] for task in waiting]
        return told

    def _is_in_vain(self, job: JobDict, task: JobDict) -> bool:
        if not self.heeds_failure or job.get("waits") not in ("each", "one"):
            return False
        (former,) = [each for each in self.jobs() if each["id"] in job["after"]]
        runs = [t["runs"] for t in former["tasks"] if t["index"] in (task["index"], None)]
        return runs[0][-1:] != [0]

    def _run(self, job: JobDict, task: JobDict) -> None:
        index = task["index"]
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        basic = {"HOME": str(home), "PATH": f"{self.folder}/bin:/usr/bin:/bin", "USER": "someone"}
        again = True
        while again:
            self._set(job, task, "running")
            with open(self.log(job, index), "ab") as log:
                done = subprocess.run(
                    self.arguments(job, index),
                    cwd=job.get("start", home),
                    env={**basic, **self.surroundings(job, index)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    check=False,
                    timeout=200,
                )
            task["runs"].append(done.returncode)
            again = self.put_back(job, index, done.returncode)
            self._set(job, task, "waiting" if again else "ended")

    def _set(self, job: JobDict, task: JobDict, state: str) -> None:
        with self._lock:
            task["state"] = state
            self._keep(job)
