"""Options of scripts under the names that users of xyzpy know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cropfit.errors import DesignError

_OURS = {
    "mode", "batches", "workers", "cpus", "gpus", "nodes", "queue", "account", "throttle",
    "array_limit", "requeue", "threads", "conda_env", "launcher", "grow_args", "output_dir",
    "resources", "template",
}  # fmt: skip
_RENAMED = {
    "batch_ids": "batches",
    "num_procs": "cpus",
    "num_threads": "threads",
    "num_nodes": "nodes",
    "shell_setup": "setup",
    "output_directory": "output_dir",
}
_GONE = {
    "setup": "Python code before the work belongs into the function's module",
    "mpi": "give launcher='mpiexec -n 4 python'",
    "subprocess": "give grow_args='--fresh'",
    "temp_gigabytes": "give the site's own option in extra=",
    "debugging": "print crop.script(...)",
}


def translate(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `cropfit.Crop.script` from those of xyzpy; what is unknown goes into the header.

    Raises
    ------
    DesignError
        One of them has no counterpart here; says what to give instead.
    """
    options: dict[str, Any] = {"extra": dict(given.get("extra") or {})}
    grow = options["grow_args"] = []
    for name, value in given.items():
        if name in _RENAMED:
            if value is not None:
                options[_RENAMED[name]] = value
        elif name in _OURS:
            options[name] = value
        elif name in _GONE:
            if value and value != "#":
                raise DesignError(f"{name}= is not taken: {_GONE[name]}.")
        elif name == "num_workers":
            grow += ["--workers", str(value)] if value else []
        elif name not in _AMOUNTS:
            options["extra"][name] = value
    options.update(_amounts(given))
    if options.get("mode") == "single":
        options.update(mode="workers", workers=1)
        options.pop("batches", None)
    if options.get("conda_env") is True:
        options["conda_env"] = None
    return options


_AMOUNTS = {"extra", "time", "hours", "minutes", "seconds", "mem", "mem_per_cpu", "gigabytes"}


def _amounts(given: Mapping[str, Any]) -> dict[str, Any]:
    """Time and memory; their plain numbers are hours and gigabytes there."""
    told: dict[str, Any] = {}
    parts = [given.get(name) or 0 for name in ("hours", "minutes", "seconds")]
    total = sum(part * size for part, size in zip(parts, (3600, 60, 1), strict=True))
    time = given.get("time")
    if total:
        told["time"] = total
    elif time is not None:
        told["time"] = time * 3600 if isinstance(time, int | float) else time
    for name in ("mem", "gigabytes", "mem_per_cpu"):
        value = given.get(name)
        if value is not None:
            told["mem"] = f"{value}G" if isinstance(value, int | float) else value
    if given.get("mem_per_cpu") is not None:
        from cropfit.engines.schedulers.resources import read_memory

        cpus = given.get("num_procs") or given.get("cpus") or 1
        told["mem"] = math.ceil(read_memory(told["mem"]) * cpus)
    return told
