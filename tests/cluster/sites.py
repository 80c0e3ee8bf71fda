"""Real schedulers as tests see them, through their own commands and not through cropfit."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar
from xml.etree import ElementTree


def ask(*command: str) -> str:
    """What a scheduler's command prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command} gave {done.returncode}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Ended:
    """One run of one task, as the accounts have it."""

    index: int
    put_back: bool
    exit_code: int


@dataclass(frozen=True)
class Granted:
    """What the scheduler lets a task use."""

    seconds: int
    mebibytes: int


class Site(ABC):
    """One scheduler.

    Attributes
    ----------
    name : str
        As cropfit calls it.
    hosts : frozenset of str
        Names of its nodes.
    shortest : int
        Seconds of the shortest walltime that it keeps.
    limit : dict
        Options that tell its largest array, where it does not itself tell that it is 10.
    kills : bool
        Whether it kills what goes on after it was cancelled.
    """

    name: str
    hosts: frozenset[str]
    shortest: int
    limit: ClassVar[dict[str, int]] = {}
    kills: bool = True

    @abstractmethod
    def queue(self, job: str) -> dict[int, str]:
        """Index of each task that it still has (0 without an array) → "waiting" or "running"."""

    @abstractmethod
    def accounts(self, job: str) -> list[Ended]:
        """Every run of every task that has ended, by index and then in order."""

    @abstractmethod
    def granted(self, job: str) -> Granted:
        """What each task of a job that it still has may use."""


class Slurm(Site):
    name = "slurm"
    hosts = frozenset({"n1", "n2"})
    shortest = 60

    def queue(self, job: str) -> dict[int, str]:
        states = {"PENDING": "waiting", "COMPLETING": "running"}
        lines = ask("squeue", "-h", "-r", "-o", "%F %K %T").splitlines()
        found = [line.split() for line in lines if line.split()[0] == job]
        return {
            int(index) if index.isdigit() else 0: states.get(state, state.lower())
            for _, index, state in found
        }

    def accounts(self, job: str) -> list[Ended]:
        told = ask("sacct", "-n", "-P", "-X", "-D", "-j", job, "-o", "JobID,State,ExitCode,End")
        found = []
        for line in told.splitlines():
            task, state, code, end = line.split("|")
            index = task.partition("_")[2]
            if end != "Unknown" and not index.startswith("["):
                found.append(Ended(int(index or 0), state == "REQUEUED", int(code.split(":")[0])))
        return sorted(found, key=lambda ended: ended.index)

    def granted(self, job: str) -> Granted:
        told = ask("scontrol", "show", "job", job)
        hours, minutes, seconds = re.search(r"TimeLimit=(\d+):(\d+):(\d+)", told).groups()
        memory, unit = re.search(r"MinMemoryNode=(\d+)([MG])", told).groups()
        return Granted(
            3600 * int(hours) + 60 * int(minutes) + int(seconds),
            int(memory) * {"M": 1, "G": 1024}[unit],
        )


class GridEngine(Site):
    name = "sge"
    hosts = frozenset({"localhost"})
    shortest = 20

    def queue(self, job: str) -> dict[int, str]:
        found = {}
        for entry in ElementTree.fromstring(ask("qstat", "-xml", "-g", "d", "-u", "*")).iter(
            "job_list"
        ):
            if entry.findtext("JB_job_number") == job:
                index = int(entry.findtext("tasks") or 0)
                found[index] = "waiting" if "q" in entry.findtext("state") else "running"
        return found

    def accounts(self, job: str) -> list[Ended]:
        done = subprocess.run(
            ["qacct", "-j", job], capture_output=True, text=True, timeout=120, check=False
        )
        found = []
        for block in done.stdout.split("=" * 20)[1:]:
            told = dict(line.split(None, 1) for line in block.splitlines() if " " in line)
            if told:
                index = told["taskid"].strip()
                back = told["failed"].startswith("25")  # "rescheduling"
                code = int(told["exit_status"].split()[0])
                found.append(Ended(int(index) if index.isdigit() else 0, back, code))
        return sorted(found, key=lambda ended: ended.index)

    def granted(self, job: str) -> Granted:
        told = ask("qstat", "-j", job)
        seconds = re.search(r"h_rt=(\d+)", told)[1]
        return Granted(int(seconds), int(re.search(r"h_vmem=(\d+)M", told)[1]))


class HTCondor(Site):
    name = "condor"
    hosts = frozenset({"localhost"})
    shortest = 20
    limit: ClassVar[dict[str, int]] = {"array_limit": 10}
    kills = False

    def queue(self, job: str) -> dict[int, str]:
        states = {"1": "waiting", "2": "running", "5": "held", "6": "running"}
        names = ("ProcId", "TotalSubmitProcs", "JobStatus", "JobMaterializeNextProcId")
        found = {}
        for line in ask("condor_q", "-nobatch", job, "-af", *names).splitlines():
            process, total, state, coming = line.split()
            if state in states:
                found[self._index(process, total)] = states[state]
            if coming.isdigit():  # a throttled array's later processes are not made yet
                found.update(dict.fromkeys(range(int(coming) + 1, int(total) + 1), "waiting"))
        return found

    def accounts(self, job: str) -> list[Ended]:
        names = ("ProcId", "TotalSubmitProcs", "NumJobStarts", "ExitCode")
        found = []
        for line in ask("condor_history", job, "-af", *names).splitlines():
            process, total, starts, code = line.split()
            index = self._index(process, total)
            found += [Ended(index, True, 75)] * (int(starts) - 1)
            found.append(Ended(index, False, int(code) if code.isdigit() else -1))
        return sorted(found, key=lambda ended: ended.index)

    @staticmethod
    def _index(process: str, total: str) -> int:
        return int(process) + 1 if int(total) > 1 else 0

    def granted(self, job: str) -> Granted:
        limit = re.search(r"> (\d+)$", ask("condor_q", job, "-af:r", "PeriodicRemove").strip())
        return Granted(int(limit[1]), int(ask("condor_q", job, "-af", "RequestMemory")))


SITES: dict[str, type[Site]] = {"slurm": Slurm, "sge": GridEngine, "condor": HTCondor}
