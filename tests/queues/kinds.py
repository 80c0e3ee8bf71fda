"""Slurm, Grid Engine, PBS, Torque, LSF and HTCondor, as far as cropfit has to do with them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from queues import LIMIT, JobDict, Queue, Refused, clock, header, indices, read_options


class Slurm(Queue):
    name = "slurm"
    programs = "sbatch squeue scancel scontrol"

    def submit(self, words: list[str], text: str) -> JobDict:
        waits = {}
        if words[0] != "--parsable":
            assert words[1] == "--kill-on-invalid-dep=yes"
            kinds = {"each": "aftercorr:([0-9]+)", "one": "afterok:([0-9]+)"}
            kinds["all"] = "afterany:([0-9]+(:[0-9]+)*)"
            waits = self.waits_for(words[0].removeprefix("--dependency="), kinds)
            words = words[2:]
        assert words[0] == "--parsable"
        long = "job-name output open-mode array time signal mem cpus-per-task nodes gres"
        single = " ".join(
            f"--{name}" for name in [*long.split(), "partition", "account", "comment"]
        )
        given = read_options(header(text, "#SBATCH "), "--requeue --exclusive", single)
        array, throttle = indices(given.array, lists=True) if given.array else (None, None)
        return {
            "indices": array,
            "throttle": throttle,
            "name": given.job_name,
            "log": given.output,
            "requeue": given.requeue,
            "seconds": given.time and clock(given.time),
            "mib": given.mem and int(re.fullmatch(r"(\d+)M", given.mem)[1]),
            "cpus": int(given.cpus_per_task),
            "start": os.getcwd(),
            "environment": dict(os.environ),
            **waits,
        }

    def command(self, name: str, words: list[str]) -> str:
        if name == "scontrol" and words == ["show", "config"]:
            return f"Configuration data\nMaxArraySize            = {LIMIT + 1}\n"
        if name == "scontrol":
            (self.folder / f"{words[1]}.again").touch()
            return ""
        if name == "scancel":
            self.cancel(words)
            return ""
        words_of = {"waiting": "PENDING", "running": "RUNNING", "ended": "COMPLETED"}
        return "".join(
            f"{job['id']}|{task['index'] or 'N/A'}|{words_of[task['state']]}|None\n"
            for job, task in self.tasks()
        )

    def surroundings(self, job: JobDict, index: int | None) -> dict[str, str]:
        told = {"SLURM_JOB_ID": str(job["id"] * 1000 + (index or 0))}
        if index is None:
            told = {"SLURM_JOB_ID": str(job["id"])}
        else:
            told |= {"SLURM_ARRAY_JOB_ID": str(job["id"]), "SLURM_ARRAY_TASK_ID": str(index)}
        return {**job["environment"], **told}

    def log(self, job: JobDict, index: int | None) -> str:
        known = {"%A": job["id"], "%j": job["id"], "%a": index, "%%": "%"}
        return re.sub("%.", lambda found: str(known[found[0]]), job["log"])

    def put_back(self, job: JobDict, index: int | None, code: int) -> bool:
        mark = self.folder / (
            f"{job['id']}.again" if index is None else f"{job['id']}_{index}.again"
        )
        if there := mark.exists():
            mark.unlink()
        return there and job["requeue"]


class GridEngine(Queue):
    name = "sge"
    heeds_failure = False
    programs = "qsub qstat qdel qconf"

    def submit(self, words: list[str], text: str) -> JobDict:
        waits = {}
        if words[0] in ("-hold_jid", "-hold_jid_ad"):
            kinds = {"each": "-hold_jid_ad ([0-9]+)", "all": "-hold_jid ([0-9]+(,[0-9]+)*)"}
            waits = self.waits_for(" ".join(words[:2]), kinds)
            words = words[2:]
        assert words[0] == "-terse"
        lines = [line.replace("-pe smp ", "-pe smp:") for line in header(text, "#$ ")]
        given = read_options(lines, "-notify", "-S -N -j -o -t -tc -pe -q -P -r -ac", "-l")
        assert given.S == "/bin/bash"
        array = indices(given.t, lists=False)[0] if given.t else None
        if given.N[0].isdigit():
            raise Refused(f"denied: {given.N} is not a valid object name")
        limits = dict(pair.split("=") for text in given.l for pair in text.split(","))
        slots = int((given.pe or "smp:1").removeprefix("smp:"))
        memory = limits.get("h_vmem")
        before = [job for job in self.jobs() if job["id"] in waits.get("after", ())]
        if waits.get("waits") == "each" and [task["index"] for task in before[0]["tasks"]] != array:
            raise Refused("denied: array dependency of jobs with other tasks")
        return {
            **waits,
            "indices": array,
            "throttle": given.tc and int(given.tc),
            "name": given.N,
            "log": given.o,
            "requeue": given.r == "y",
            "seconds": limits.get("h_rt") and clock(limits["h_rt"]),
            "mib": memory and int(re.fullmatch(r"(\d+)M", memory)[1]) * slots,
            "cpus": slots,
        }

    def command(self, name: str, words: list[str]) -> str:
        if name == "qconf":
            return f"max_aj_instances 2000\nmax_aj_tasks {LIMIT}\n"
        if name == "qdel":
            self.cancel(words)
            return ""
        lines = [
            "job-ID  prior   name  user  state submit/start at  queue  slots ja-task-ID",
            "-" * 9,
        ]
        for job, task in self.tasks():
            state, where = {"waiting": ("qw", ""), "running": ("r", "all.q@localhost ")}.get(
                task["state"], ("", "")
            )
            if state:
                about = (
                    f"{job['id']} 0.55500 {job['name']:10.10} someone {state} 11/21/2026 10:00:00"
                )
                lines.append(f"{about} {where}1 {task['index'] or ''}")
        return "\n".join(lines) + "\n"

    def surroundings(self, job: JobDict, index: int | None) -> dict[str, str]:
        return {"JOB_ID": str(job["id"]), "SGE_TASK_ID": str(index or "undefined")}

    def log(self, job: JobDict, index: int | None) -> str:
        return job["log"].replace("$JOB_ID", str(job["id"])).replace("$TASK_ID", str(index))

    def put_back(self, job: JobDict, index: int | None, code: int) -> bool:
        return code == 99


class PBS(Queue):
    name = "pbs"
    programs = "qsub qstat qdel qmgr"
    array_option, lists, one_alone = "-J", False, False
    kinds: ClassVar[dict[str, str]] = {
        "one": r"depend=afterok:([0-9]+\.here)",
        "all": r"depend=afterany:([0-9]+(\[\])?\.here(:[0-9]+(\[\])?\.here)*)",
    }

    def submit(self, words: list[str], text: str) -> JobDict:
        waits = {}
        if words[0] == "-W":
            waits = self.waits_for(words[1], self.kinds)
        single = f"-S -N -j -o -q -A -W {self.array_option}"
        given = read_options(header(text, "#PBS "), "-V", single, "-l")
        asked = getattr(given, self.array_option[1:])
        array, throttle = indices(asked, lists=self.lists, first=0) if asked else (None, None)
        if array and len(array) == 1 and not self.one_alone:
            raise Refused(f"illegal value of {self.array_option}: {asked}")
        limits = dict(re.split("=", each, maxsplit=1) for each in given.l)
        return {
            "indices": array,
            "throttle": throttle,
            "name": given.N,
            "log": given.o,
            "seconds": limits.get("walltime") and clock(limits["walltime"]),
            **self.granted(limits),
            **waits,
        }

    def granted(self, limits: dict[str, str]) -> JobDict:
        """Memory and cores of a task."""
        each = limits["select"].split(":")[1:]
        parts = dict(part.split("=") for part in each)
        memory = parts.get("mem")
        return {"cpus": int(parts["ncpus"]), "mib": memory and int(memory.removesuffix("mb"))}

    def command(self, name: str, words: list[str]) -> str:
        if name == "qmgr":
            return f"Server here\n\tmax_array_size = {LIMIT}\n"
        ids = [word.partition(".")[0].replace("[]", "") for word in words]
        if name == "qdel":
            self.cancel(ids)
            return ""
        lines = ["Job id            Name             User              Time Use S Queue", "-" * 9]
        for job, task in self.tasks():
            if str(job["id"]) in ids and task["state"] != "ended":
                number = f"{job['id']}" + (
                    f"[{task['index']}]" if task["index"] is not None else ""
                )
                state = {"waiting": "Q", "running": "R"}[task["state"]]
                lines.append(f"{number}.here  {job['name']:16.16} someone  00:00:00 {state} workq")
        return "\n".join(lines) + "\n"

    def surroundings(self, job: JobDict, index: int | None) -> dict[str, str]:
        alone = {"PBS_JOBID": f"{job['id']}.here", "PBS_O_WORKDIR": job["cwd"]}
        if index is None:
            return alone
        return {**alone, "PBS_JOBID": f"{job['id']}[{index}].here", "PBS_ARRAY_INDEX": str(index)}

    def log(self, job: JobDict, index: int | None) -> str:
        assert job["log"].endswith("/")
        return f"{job['log']}{job['name']}.o{job['id']}" + ("" if index is None else f".{index}")


class Torque(PBS):
    name = "torque"
    array_option, lists, one_alone = "-t", True, True
    kinds: ClassVar[dict[str, str]] = {
        "one": r"depend=afterok:([0-9]+\.here)",
        "all": r"depend=(((afteranyarray(:[0-9]+\[\]\.here)+|afterany(:[0-9]+\.here)+),?)+)",
    }

    def granted(self, limits: dict[str, str]) -> JobDict:
        parts = dict(part.split("=") for part in limits["nodes"].split(":")[1:])
        memory = limits.get("mem")
        return {"cpus": int(parts["ppn"]), "mib": memory and int(memory.removesuffix("mb"))}

    def surroundings(self, job: JobDict, index: int | None) -> dict[str, str]:
        if index is None:
            return super().surroundings(job, index)
        return {"PBS_JOBID": f"{job['id']}[{index}].here", "PBS_ARRAYID": str(index)}

    def log(self, job: JobDict, index: int | None) -> str:
        return f"{job['log']}{job['name']}.o{job['id']}" + ("" if index is None else f"-{index}")


class LSF(Queue):
    name = "lsf"
    programs = "bsub bjobs bkill bparams"

    def submit(self, words: list[str], text: str) -> JobDict:
        waits = {}
        if words:
            option, condition = words
            assert option == "-w"
            kinds = {"each": r"done\(([0-9]+)\[\*\]\)", "one": r"done\(([0-9]+)\)"}
            kinds["all"] = r"(ended\([0-9]+\)( && ended\([0-9]+\))*)"
            waits = self.waits_for(condition, kinds)
        single = "-J -o -n -W -wa -wt -M -gpu -q -P -Q -sp"
        given = read_options(header(text, "#BSUB "), "-r", single, "-R")
        named = re.fullmatch(r"([^\[\]]+)(?:\[(.+)\](%\d+)?)?", given.J)
        array, throttle = (None, None)
        if named[2]:
            array, throttle = indices(named[2] + (named[3] or ""), lists=True)
        return {
            "indices": array,
            "throttle": throttle,
            "name": named[1],
            "log": given.o,
            "again": [int(code) for code in (given.Q or "").split()],
            "seconds": given.W and clock(f"{given.W}:00"),
            "mib": given.M and int(given.M.removesuffix("MB")),
            "cpus": int(given.n),
            "start": os.getcwd(),
            "environment": dict(os.environ),
            **waits,
        }

    def command(self, name: str, words: list[str]) -> str:
        if name == "bparams":
            return f"MAX_JOB_ARRAY_SIZE = {LIMIT}\n"
        if name == "bkill":
            self.cancel(words)
            return ""
        words_of = {"waiting": "PEND", "running": "RUN", "ended": "DONE"}
        return "".join(
            f"{job['id']} {task['index'] or 0} {words_of[task['state']]}\n"
            for job, task in self.tasks()
            if str(job["id"]) in words
        )

    def surroundings(self, job: JobDict, index: int | None) -> dict[str, str]:
        told = {"LSB_JOBID": str(job["id"]), "LSB_JOBINDEX": str(index or 0)}
        return {**job["environment"], **told}

    def log(self, job: JobDict, index: int | None) -> str:
        return job["log"].replace("%J", str(job["id"])).replace("%I", str(index))

    def put_back(self, job: JobDict, index: int | None, code: int) -> bool:
        return code in job["again"]


class Condor(Queue):
    name = "condor"
    programs = "condor_submit condor_q condor_rm"

    def submit(self, words: list[str], text: str) -> JobDict:
        assert words[:2] == ["-terse", "-append"]
        assert words[3] == "-"
        known = """executable jobbatchname arguments output error log should_transfer_files kill_sig
            request_cpus request_memory request_gpus accounting_group
            max_materialize on_exit_remove periodic_vacate periodic_remove requirements
            request_disk queue"""
        told: dict[str, str] = {}
        for line in [words[2], *text.splitlines()]:
            name, equals, value = line.partition("=")
            if line.startswith("queue "):
                told["queue"] = line.split()[1]
            elif not equals or name.strip().lower() not in known.split() or "queue" in told:
                raise Refused(f"Submit:-1: {line!r} is no line of a submit description")
            else:
                told[name.strip().lower()] = value.strip()
        if not os.access(told["executable"], os.X_OK):
            raise Refused(f"{told['executable']} is not executable")
        lasts = re.search(r"JobCurrentStartDate > (\d+)", told.get("periodic_remove", ""))
        numbers = {
            "mib": int(told["request_memory"]) if "request_memory" in told else None,
            "seconds": int(lasts[1]) if lasts else None,
        }
        throttle = int(told["max_materialize"]) if "max_materialize" in told else None
        more = {"cpus": int(told["request_cpus"]), "name": told["jobbatchname"]}
        indices = [*range(int(told["queue"]))]
        return {**told, **numbers, **more, "throttle": throttle, "indices": indices}

    def command(self, name: str, words: list[str]) -> str:
        if name == "condor_rm":
            self.cancel(words)
            return ""
        words_of = {"waiting": 1, "running": 2}
        return "".join(
            f"{job['id']} {task['index']} {words_of[task['state']]}\n"
            for job, task in self.tasks()
            if str(job["id"]) in words and task["state"] != "ended"
        )

    def _expanded(self, text: str, job: JobDict, index: int | None) -> str:
        return text.replace("$(Cluster)", str(job["id"])).replace("$(Process)", str(index))

    def surroundings(self, job: JobDict, index: int | None) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(job["cpus"])}

    def arguments(self, job: JobDict, index: int | None) -> list[str]:
        return [job["executable"], *self._expanded(job["arguments"], job, index).split()]

    def log(self, job: JobDict, index: int | None) -> str:
        return self._expanded(job["output"], job, index)

    def put_back(self, job: JobDict, index: int | None, code: int) -> bool:
        found = re.fullmatch(r"ExitCode =!= (\d+)", job.get("on_exit_remove", ""))
        return bool(found) and code == int(found[1])


QUEUES: dict[str, type[Queue]] = {
    kind.name: kind for kind in (Slurm, GridEngine, PBS, Torque, LSF, Condor)
}
# How each scheduler tells the id of a job that it takes.
_ANSWERS: dict[str, Callable[[JobDict], str]] = {
    "slurm": lambda job: f"{job['id']}",
    "sge": lambda job: f"{job['id']}" + (".1-9:1" if job["tasks"][0]["index"] else ""),
    "pbs": lambda job: f"{job['id']}" + ("[].here" if job["tasks"][0]["index"] else ".here"),
    "torque": lambda job: f"{job['id']}" + ("[].here" if job["tasks"][0]["index"] else ".here"),
    "lsf": lambda job: f"Job <{job['id']}> is submitted to default queue <normal>.",
    "condor": lambda job: f"{job['id']}.0 - {job['id']}.{len(job['tasks']) - 1}",
}


def main(scheduler: str, folder: str, program: str, *words: str) -> int:
    """One of a scheduler's commands."""
    queue = QUEUES[scheduler](Path(folder))
    with open(f"{folder}/calls", "a") as calls:
        calls.write(f"{program}\n")
    try:
        if program not in ("sbatch", "qsub", "bsub", "condor_submit"):
            sys.stdout.write(queue.command(program, list(words)))
            return 0
        reads = program in ("bsub", "condor_submit")
        text = sys.stdin.read() if reads else Path(words[-1]).read_text()
        print(_ANSWERS[scheduler](queue.take(list(words), text)))
    except Refused as refused:
        sys.stderr.write(f"{program}: {refused}\n")
        return 1
    return 0
