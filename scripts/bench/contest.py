"""What a row is: one piece of work, done by several contenders, and the marks to reach.

A contender is a method of the row, marked by `@contender`, that makes ready what it needs
and then does the work inside ``with meter():``. Where there is a method ``prepare_<name>``,
it runs once, and the contender runs in the folder that it left; otherwise each run has an
empty folder. Both are the current folder. Rows are read in the peers' environments as well:
nothing but the standard library is imported outside of methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Size = dict[str, int]
Run = dict[str, Any]  # what a contender told: "laps" and "notes", or "error"
Round = Mapping[str, Run]  # of each contender


@dataclass(frozen=True)
class Mark:
    """What is to be reached: `margin` is 1 where it just is, and less where it is with ease.

    `of` says what it is about: "time", "memory", or a "promise" that is kept or not.
    """

    text: str
    margin: Callable[[Round, Any], float]
    lap: str = ""
    of: Literal["time", "memory", "promise"] = "time"


def contender(method: Callable[..., None]) -> Callable[..., None]:
    """A method that does the row's work."""
    vars(method)["contends"] = True
    return method


@dataclass(frozen=True)
class Sizes:
    """To try and to warm up; to measure; and `full` where `normal` saves time or disk."""

    quick: Size
    normal: Size
    full: Size | None = None

    def named(self, name: str) -> Size:
        return dict(getattr(self, name) or self.normal)


class Row:
    """One piece of work of a certain size; the size's names are attributes.

    `grows` are sizes that tell how the cost grows, by the first of their names.
    """

    title: ClassVar[str]
    limit: ClassVar[str]  # what the bare contender does
    sizes: ClassVar[Sizes]
    grows: ClassVar[Sequence[Size]] = ()
    marks: ClassVar[Sequence[Mark]] = ()
    per: ClassVar[str] = ""  # one of the size's names, where cost is told by it
    place: ClassVar[Literal["disk", "memory"]] = "disk"
    warm: ClassVar[bool] = True  # whether to run the quick size first, in the same process
    bulky: ClassVar[bool] = False  # leaves big files: to be deleted at once
    once: ClassVar[bool] = False  # takes too long for more than one round

    def __init__(self, size: Size) -> None:
        self.size = size
        for name, value in size.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no size {name!r}")

    @classmethod
    def contenders(cls) -> list[str]:
        """Names of all that do the work, as written; one set to None in a subclass does not."""
        found: dict[str, None] = {}
        for each in reversed(cls.__mro__):
            found |= {name: None for name, it in vars(each).items() if hasattr(it, "contends")}
        return [name for name in found if hasattr(getattr(cls, name), "contends")]

    def describe(self) -> str:
        """The title with the size filled in."""
        return self.title.format(**{name: short(value) for name, value in self.size.items()})


def short(number: int) -> str:
    """1000000 as 1e6; what is not so round as it is."""
    text = str(number)
    zeros = len(text) - len(text.rstrip("0"))
    return f"{text[:-zeros]}e{zeros}" if zeros >= 3 and len(text) == zeros + 1 else text


def told(rounds: Round, who: str, lap: str, what: str = "seconds") -> float:
    """A figure of one contender in one round; KeyError where it was not measured."""
    figure = rounds[who]["laps"][lap][what]
    if figure is None:
        raise KeyError(what)
    return float(figure)


def faster_than(peer: str, times: float, lap: str = "") -> Mark:
    def margin(found: Round, row: Row) -> float:
        return told(found, "cropfit", lap) * times / told(found, peer, lap)

    return Mark(f"{times:g} × faster than {peer}" if times != 1 else f"below {peer}", margin, lap)


def within(times: float, lap: str = "", of: str = "seconds") -> Mark:
    def margin(found: Round, row: Row) -> float:
        return told(found, "cropfit", lap, of) / times / told(found, "bare", lap, of)

    return Mark(f"within {times:g} × bare", margin, lap)


def over_bare(text: str, seconds: Callable[[Any], float], lap: str = "") -> Mark:
    def margin(found: Round, row: Row) -> float:
        return told(found, "cropfit", lap) / (told(found, "bare", lap) + seconds(row))

    return Mark(f"{text} over bare", margin, lap)


def memory_under(text: str, mib: Callable[[Any], float], lap: str = "") -> Mark:
    def margin(found: Round, row: Row) -> float:
        return told(found, "cropfit", lap, "mib") / mib(row)

    return Mark(f"memory under {text}", margin, lap, "memory")


def holds(text: str, promise: Callable[[Mapping[str, Any], Any], bool], lap: str = "") -> Mark:
    """A promise on what the contenders noted, by name."""

    def margin(found: Round, row: Row) -> float:
        notes = {who: run["notes"] for who, run in found.items() if "notes" in run}
        return 0.0 if promise(notes, row) else float("inf")

    return Mark(text, margin, lap, "promise")
