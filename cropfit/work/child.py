"""The main program of a worker process that a `Supervisor` started."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cropfit.errors import CropError
from cropfit.work.batch import Policy
from cropfit.work.grow import Worker
from cropfit.work.report import GrowReport


def main() -> None:
    """Grow as told by the first argument, and say what happens on the pipe of the second."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    pipe = int(sys.argv[2])
    os.set_inheritable(pipe, False)
    if order["cores"]:
        os.sched_setaffinity(0, order["cores"])
    sys.argv[1:] = []

    def say(told: dict[str, Any]) -> None:
        line = json.dumps(told).encode() + b"\n"
        try:
            while line:
                line = line[os.write(pipe, line) :]
        except BrokenPipeError:
            sys.exit("cropfit: the process that started this worker is gone; it gives up its batch")

    try:
        report = _work(order, say)
    except CropError as error:
        say({"error": (type(error).__name__, str(error))})
        sys.exit(1)
    say({"report": asdict(report)})
    sys.exit(report.exit_code)


def _work(order: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> GrowReport:
    worker = Worker(
        order["root"],
        Policy(**order["policy"]),
        deadline=math.inf if order["deadline"] is None else order["deadline"],
        announce=(lambda batch, offset: say({"case": (batch, offset)}))
        if order["tell_cases"]
        else None,
        progress=lambda batch, state: say(
            {"batch": (batch, state), "fails": len(worker.report.failures)}
        ),
        log=order["log"],
        turn=math.inf if order["turn"] is None else order["turn"],
        max_batches=order["max_batches"] or math.inf,
        stop_sign=order["stop_sign"],
    )
    if order["batches"] is None:
        return worker.grow_left(wait=order["wait"])
    return worker.grow_these(order["batches"], steal=order["steal"])
