"""GNU parallel: one computer, or those of its ``--sshlogin``."""

from __future__ import annotations

import shlex
from typing import Any

from cropfit.engines.schedulers.dialect import Dialect, Tasks

LOCAL = "it starts jobs on this computer, and has no"
# In a session of its own, so that it outlives the terminal.
_START = 'setsid nohup bash "$0" >>"$1" 2>&1 </dev/null & echo $!'


def _option(name: str, value: Any) -> str:
    dashes = "-" if len(name) == 1 else "--"
    return dashes + name if value is None else f"{dashes}{name} {shlex.quote(str(value))}"


def _read(text: str) -> Tasks:
    """From lines ``<process> <command>``."""
    return {(line.split()[0], 0): "running" for line in text.splitlines()}


DIALECT = Dialect(
    name="parallel",
    title="GNU parallel",
    index="batch",
    job="$$",
    arrays="count",
    limit=10_000_000,
    log=("", ""),
    submit=("bash", "-c", _START, "{script}", "{log}"),
    number=r"^(\d+)",
    query=("ps", "-ww", "-o", "pid=,args=", "-p", "{ids}"),
    cancel=("kill", "-TERM", "{ids}"),
    read=_read,
    program="parallel",
    option=_option,
    path="{}/{}".format,
    local=True,
    lacks={
        "nodes": "give extra={'sshlogin': ...}",
        "queue": f"{LOCAL} queues",
        "account": f"{LOCAL} accounts",
        "requeue": f"{LOCAL} queue; start it again, and it grows what is left",
        "mem": f"{LOCAL} limits; see its --memfree for extra=",
        "gpus": f"{LOCAL} GPUs to share out",
    },
)
