"""A stage that calls a plain function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cropfit.disk.functions import short_name
from cropfit.errors import DesignError
from cropfit.fitting.identity import told
from cropfit.fitting.pipeline.inherit import Rules
from cropfit.fitting.pipeline.work import Found, Job, numbers_in

__all__ = ["Calling"]


@dataclass(frozen=True)
class Calling:
    """A function ``function(data, former, **options)``.

    Parameters
    ----------
    function : callable
        `former` maps the names of the stages before it to their fits or values. The numbers
        of a mapping that it returns are handed on.
    options : mapping
        Keyword arguments.
    """

    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    kind = "function"

    def identity(self) -> dict[str, str]:
        """Digests of the function and its arguments."""
        return {"the function": told(self.function), "its arguments": told(dict(self.options))}

    def gives(self) -> set[str] | None:
        """Not known before."""
        return None

    def check(self, stage: str, rules: Rules, known: set[str] | None) -> None:
        """Refuse rules: a function is given all that was found."""
        if rules:
            raise DesignError(
                f"Stage {stage!r} is a function, which gets all former results: it takes no "
                "inherit=."
            )

    def asks_for(self) -> set[str]:
        """No templates."""
        return set()

    def do(self, job: Job) -> Found:
        """Call it."""
        value = self.function(job.data, job.former, **self.options)
        return Found(value, numbers_in(value))

    def prepare(self, job: Job) -> list[str]:
        """Say what would be called."""
        return [f"call {short_name(self.function)}"]
