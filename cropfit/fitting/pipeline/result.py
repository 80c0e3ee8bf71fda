"""What came of a pipeline, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cropfit.fitting.pipeline.inherit import Inherited
from cropfit.fitting.result import Fit

__all__ = ["PipelineResult", "StageResult"]

DONE, FAILED, BEGUN, WAITING = "done", "failed", "begun", "waiting"


@dataclass
class StageResult:
    """One stage.

    Attributes
    ----------
    name : str
    kind : str
        The sampler, "function", "command" or "cosmosis".
    state : str
        "done", "failed", "begun" (and not finished: the next run goes on) or "waiting".
    seconds : float
        Of the run that finished it.
    value
        A `Fit`, or what the function or the reader returned.
    numbers : mapping
        Name → value and error that later stages may take over.
    inherited : list of Inherited
        What it took over, how, and from which stage.
    notes : list of str
    folder : str
        Where its files are.
    picture : str
        Path of its picture; "" if none was drawn.
    resumed : bool
        Whether it was done already when this run came to it.
    """

    name: str
    kind: str
    state: str = WAITING
    seconds: float = 0.0
    value: Any = None
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    inherited: list[Inherited] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    folder: str = ""
    picture: str = ""
    resumed: bool = False

    @property
    def fit(self) -> Fit | None:
        """Its fit, if it has one."""
        return self.value if isinstance(self.value, Fit) else None

    def __repr__(self) -> str:
        return f"<Stage {self.name!r} ({self.kind}): {self.state}>"


@dataclass(repr=False)
class PipelineResult:
    """All stages by name, in order: ``result["fine"].value``.

    Attributes
    ----------
    name : str
    stages : list of StageResult
    folder : str
    """

    name: str
    stages: list[StageResult]
    folder: str

    def __getitem__(self, name: str) -> StageResult:
        for each in self.stages:
            if each.name == name:
                return each
        raise KeyError(f"there is no stage {name!r}; there are {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return (each.name for each in self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def done(self) -> bool:
        """Whether all stages are."""
        return all(each.state == DONE for each in self.stages)

    @property
    def fit(self) -> Fit | None:
        """The fit of the last stage that has one."""
        return next((each.fit for each in reversed(self.stages) if each.fit is not None), None)

    @property
    def seconds(self) -> float:
        """Of all stages together."""
        return sum(each.seconds for each in self.stages)

    def __repr__(self) -> str:
        from cropfit.fitting.pipeline.picture import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from cropfit.fitting.pipeline.picture import to_html

        return to_html(self)
