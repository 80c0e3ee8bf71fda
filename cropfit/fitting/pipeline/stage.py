"""A stage: one piece of work with a name, and how it takes over what was found before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from cropfit.errors import DesignError
from cropfit.fitting.identity import told
from cropfit.fitting.model import Model
from cropfit.fitting.pipeline.chain import short_names
from cropfit.fitting.pipeline.command import Command
from cropfit.fitting.pipeline.cosmosis import CosmoSIS
from cropfit.fitting.pipeline.fitted import Fitting
from cropfit.fitting.pipeline.function import Calling
from cropfit.fitting.pipeline.inherit import IGNORE, Rules
from cropfit.fitting.pipeline.work import Work
from cropfit.fitting.result import Fit

__all__ = ["Stage"]

BESTS = ("max_posterior", "max_likelihood", "median")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Stage:
    """One stage of a `Pipeline`.

    Parameters
    ----------
    name : str
        Letters, digits, - and _.
    work : Model, function, list of str, Command or CosmoSIS
        What is done: a fit; ``function(data, former, **options)``; a program with its
        arguments, for which the options are those of `Command`.
    sampler : str
        Of a fit; "dynesty" by default.
    n_cores : int
        -1 is all. A fit has so many processes compute its likelihood, a program runs with
        ``mpiexec -n N``; a function does as it likes.
    inherit : mapping or False, optional
        Parameter → "fix", "start", `around` (width) or "ignore": how it takes over the value of
        that name which the last stage before found. By default fixed parameters get the
        value and free ones start there, where the sampler starts somewhere. False: nothing.
    best : {"max_posterior", "max_likelihood", "median"}
        Which values of a fit are handed on.
    gives : iterable of str, optional
        Numbers that a function or program finds, so that names can be checked before
        anything runs.
    **options
        Of `cropfit.fit`, of the function, or of `Command`.

    Examples
    --------
    >>> Stage("fine", model, sampler="dynesty", inherit={"sigma": "fix"})  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str,
        work: Any,
        *,
        sampler: str | None = None,
        n_cores: int = 1,
        inherit: Rules = None,
        best: Literal["max_posterior", "max_likelihood", "median"] = "max_posterior",
        gives: Iterable[str] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise DesignError(f"A stage is named by letters, digits, - and _, not {name!r}.")
        if best not in BESTS:
            raise DesignError(f"Stage {name!r}: best={best!r} is none of {', '.join(BESTS)}.")
        if inherit is not None and inherit is not False and not isinstance(inherit, Mapping):
            raise DesignError(f"Stage {name!r}: inherit maps names to what is done, or is False.")
        self.name = name
        self.n_cores = check_cores(name, n_cores)
        self.inherit: Rules = dict(inherit) if isinstance(inherit, Mapping) else inherit
        self.best = best
        self.declared = None if gives is None else frozenset(gives)
        self.work = _work(name, work, sampler, options)

    @property
    def model(self) -> Model | None:
        """What it fits; None if it does something else."""
        return self.work.model if isinstance(self.work, Fitting) else None

    def gives(self) -> set[str] | None:
        """Names of the numbers that it will find; None if that is not known before."""
        return set(self.declared) if self.declared is not None else self.work.gives()

    def identity(self) -> dict[str, str]:
        """Digest of each part, under the stage's name."""
        rules = self.inherit if self.inherit is False else sorted((self.inherit or {}).items())
        own = {"inherit": told(rules), "best": told(self.best)}
        return {f"{self.name}: {what}": it for what, it in {**self.work.identity(), **own}.items()}

    def with_priors(self, priors: Mapping[str, Any]) -> Stage:
        """A copy whose model has other priors, of those parameters that it has."""
        own = self.work
        if not isinstance(own, Fitting):
            return self
        mine = {name: prior for name, prior in priors.items() if name in own.model.priors}
        if not mine:
            return self
        own_model = own.model.with_settings(priors=mine)
        copy = Stage.__new__(Stage)
        vars(copy).update(vars(self))
        known = {name for name in mine if name not in own_model.names}
        if known and copy.inherit is not False:  # a value that is given need not be found
            copy.inherit = {**(copy.inherit or {}), **dict.fromkeys(known, IGNORE)}
        copy.work = Fitting(own_model, own.sampler, own.options)
        return copy

    def numbers(self, found: Fit) -> dict[str, tuple[float, float]]:
        """The values of a fit that are handed on, and half the way from 16 to 84 per cent."""
        levels = found.percentiles()
        if self.best == "median":
            values: Mapping[str, Any] = {name: each[1] for name, each in levels.items()}
        else:
            values = found.max_posterior if self.best == "max_posterior" else found.best_fit
        errors = {name: float(high - low) / 2 for name, (low, _, high) in levels.items()}
        numbers = {name: (float(values[name]), error) for name, error in errors.items()}
        return {**{n: numbers[whole] for n, whole in short_names(numbers).items()}, **numbers}

    def __repr__(self) -> str:
        return f"<Stage {self.name!r}: {self.work.kind}>"


def check_cores(stage: str, n_cores: int) -> int:
    """The number of cores, if it is one.

    Raises
    ------
    DesignError
        It is neither -1 nor above 0.
    """
    if isinstance(n_cores, bool) or not isinstance(n_cores, int) or (n_cores < 1 and n_cores != -1):
        raise DesignError(f"Stage {stage!r}: n_cores={n_cores!r} must be above 0, or -1 for all.")
    return n_cores


def _work(name: str, work: Any, sampler: str | None, options: dict[str, Any]) -> Work:
    if isinstance(work, Model):
        return Fitting(work, sampler or "dynesty", options)
    if sampler is not None:
        raise DesignError(f"Stage {name!r} fits no model, so sampler= has no meaning.")
    if isinstance(work, Command | CosmoSIS):
        if options:
            raise DesignError(
                f"Stage {name!r}: give {next(iter(options))!r} to {type(work).__name__}."
            )
        return work
    if isinstance(work, list | tuple):
        try:
            return Command(work, **options)
        except TypeError as error:
            known = ", ".join(each for each in Command.__dataclass_fields__ if each != "args")
            raise DesignError(f"Stage {name!r}: options of a command are {known}.") from error
    if callable(work):
        return Calling(work, options)
    raise DesignError(
        f"Stage {name!r}: {work!r} is no model, function, list of words, Command or CosmoSIS."
    )
