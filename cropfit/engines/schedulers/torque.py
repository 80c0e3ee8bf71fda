"""Torque."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cropfit.engines.schedulers.dialect import Wait
from cropfit.engines.schedulers.pbs import DIALECT as PBS


def _after(how: Wait, ids: Sequence[str]) -> list[str]:
    """As PBS has it, but arrays are told from other jobs."""
    arrays = [each for each in ids if "[]" in each]
    alone = [each for each in ids if each not in arrays]
    waits = {"afteranyarray": arrays, "afterok" if how == "one" else "afterany": alone}
    return ["-W", "depend=" + ",".join(f"{k}:{':'.join(v)}" for k, v in waits.items() if v)]


DIALECT = replace(
    PBS,
    name="torque",
    title="Torque",
    index="PBS_ARRAYID",
    arrays="lists",
    asked=None,
    after=_after,
    name_length=15,
)
