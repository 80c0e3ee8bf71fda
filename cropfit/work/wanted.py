"""What is asked of a reap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cropfit.work.assemble import Instead
from cropfit.work.target import Layout


@dataclass(frozen=True)
class Wanted:
    """How a crop is to be reaped; see `cropfit.Crop.reap`."""

    to: str | bool | None = None
    allow_incomplete: bool = False
    clean_up: bool | None = None
    layout: Layout = "auto"
    fill_value: Any = None
    diagnostics: bool = False
    nested: bool = False
    overwrite: bool = False
    load: bool = True
    collect: Callable[[Any], Any] | None = None
    """Takes in the results before anything is deleted; gives what the user is given."""
    keeper: str | None = None
    """The file that `collect` adds them to."""
    instead: Instead = field(default_factory=dict)
    """What `collect` is given of some variables; see `assemble`."""

    @property
    def deletes(self) -> bool:
        """Whether the crop goes away in the end."""
        if self.clean_up is None:
            return not self.allow_incomplete and self.to is not False
        return self.clean_up
