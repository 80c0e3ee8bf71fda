"""Torque."""

from __future__ import annotations

from dataclasses import replace

from cropfit.engines.schedulers.pbs import DIALECT as PBS

DIALECT = replace(
    PBS,
    name="torque",
    title="Torque",
    index="PBS_ARRAYID",
    arrays="lists",
    asked=None,
    name_length=15,
)
