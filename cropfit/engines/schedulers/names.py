"""Options of scripts under the names that users of xyzpy know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from cropfit.batching import batch_numbers
from cropfit.engines.schedulers.dialect import find_dialect
from cropfit.engines.schedulers.environment import python
from cropfit.engines.schedulers.resources import read_memory
from cropfit.errors import DesignError

_SAME = {
    "batches", "workers", "cpus", "gpus", "nodes", "queue", "account", "throttle",
    "array_limit", "requeue", "threads", "conda_env", "launcher", "grow_args", "output_dir",
    "resources", "template",
}  # fmt: skip
_RENAMED = {
    "num_procs": "cpus",
    "num_threads": "threads",
    "num_nodes": "nodes",
    "output_directory": "output_dir",
}
_TIMES = {"hours": 3600, "minutes": 60, "seconds": 1}
_OTHERS = {
    "mode", "time", "mem", "mem_per_cpu", "gigabytes", "temp_gigabytes", "num_workers",
    "subprocess", "setup", "shell_setup", "mpi", "debugging", "extra", "extra_resources",
}  # fmt: skip
_LISTED = ("sge", "pbs", "torque")  # their further options are resources after -l
_SCRATCH = {"sge": "tmpfs", "slurm": "tmp", "condor": "request_disk"}


def translate(
    scheduler: str | None, batch_ids: int | Iterable[int] | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Options of `cropfit.Crop.script` from those of xyzpy.

    Raises
    ------
    DesignError
        One of them has no counterpart here; says what to give instead.
    """
    name = find_dialect(scheduler).name
    if given.get("mpi"):
        raise DesignError("mpi= is not taken: give launcher='mpiexec -n 4 python'.")
    told = {_RENAMED.get(key, key): value for key, value in given.items() if value is not None}
    options = {key: value for key, value in told.items() if key in _SAME}
    if options.get("conda_env") is True:
        options["conda_env"] = None
    options.update(_amounts(given), scheduler=name, extra=_extra(name, given), setup=_setup(given))
    if given.get("setup", "#").strip() not in ("", "#"):
        launcher = python(options.get("launcher"), options.get("conda_env"))
        options["launcher"] = [*launcher, "-c", _prepared(given["setup"])]
    words = ["--fresh"] if given.get("subprocess") else []
    if workers := given.get("num_workers"):
        words += ["--workers", str(workers)]
        options.setdefault("threads", max(1, options.get("cpus", 1) // workers))
    mode = given.get("mode", "array")
    if mode == "single":
        options.update(mode="workers", workers=1)
        words += [] if batch_ids is None else map(str, batch_numbers(batch_ids))
    else:
        options.update(mode=mode, batches=batch_ids)
    return {**options, "grow_args": words} if words else options


def _prepared(code: str) -> str:
    """A program that runs `code` and then what its arguments, ``-m cropfit``, would run."""
    return f"{code}\nimport sys\nfrom cropfit.cli import main\nsys.argv[:3] = ['cropfit']\nmain()"


def _setup(given: Mapping[str, Any]) -> list[str]:
    lines = given.get("shell_setup") or ""
    return [*(["set -x"] if given.get("debugging") else []), *lines.strip().splitlines()]


def _extra(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Lines of the header, from what is known by no other name."""
    extra: dict[str, Any] = dict(given.get("extra") or {})
    listed: list[str] = []  # after -l
    known = _SAME | _OTHERS | _RENAMED.keys() | _TIMES.keys()
    further = {key: value for key, value in given.items() if key not in known}
    if more := given.get("extra_resources"):
        words = more.split(",") if isinstance(more, str) else list(more)
        pairs = (word.partition("=") for word in words)
        further |= {key.strip(" -"): value if equals else True for key, equals, value in pairs}
    if gigabytes := given.get("temp_gigabytes"):
        if name not in _SCRATCH:
            raise DesignError(f"temp_gigabytes= has no counterpart on {name}: give extra=.")
        further[_SCRATCH[name]] = f"{gigabytes}G"
    for key, value in further.items():
        if name in _LISTED:
            listed.append(key if value is None or value is True else f"{key}={value}")
        else:
            option = key.replace("_", "-") if name == "slurm" else key
            extra[option] = True if value is None else value
    if listed:
        mine = extra.get("l", [])
        extra["l"] = [*(mine if isinstance(mine, list) else [mine]), *listed]
    return extra


def _amounts(given: Mapping[str, Any]) -> dict[str, Any]:
    """Time and memory; plain numbers are hours and gigabytes."""
    told: dict[str, Any] = {}
    total = sum(size * (given.get(name) or 0) for name, size in _TIMES.items())
    time = given.get("time")
    if total and time is not None:
        raise DesignError("time= and hours=, minutes=, seconds= say the same: give one of them.")
    if total or time is not None:
        told["time"] = total or (time * 3600 if isinstance(time, int | float) else time)
    sizes = [name for name in ("mem", "gigabytes", "mem_per_cpu") if given.get(name) is not None]
    if len(sizes) > 1:
        raise DesignError(f"{'= and '.join(sizes)}= say the same: give one of them.")
    for name in sizes:
        size = given[name]
        told["mem"] = f"{size}G" if isinstance(size, int | float) else size
        if name == "mem_per_cpu":
            cpus = given.get("num_procs") or given.get("cpus") or 1
            told["mem"] = math.ceil(read_memory(told["mem"]) * cpus)
    return told
