"""How a stage takes over what stages before it found.

    value ──"fix"────▶ a fixed parameter
          ──"start"──▶ where a sampler that climbs begins
          ──around──▶ the same prior, cut off some errors to either side

By default fixed parameters get the value and free ones start there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cropfit.errors import DesignError
from cropfit.fitting.model import Model
from cropfit.fitting.priors import Fixed

__all__ = ["Around", "Best", "Inherited", "Rules", "around"]

STARTING = ("maxlike", "emcee")  # samplers that begin somewhere
FIX: Literal["fix"] = "fix"
START: Literal["start"] = "start"
IGNORE: Literal["ignore"] = "ignore"


@dataclass(frozen=True)
class Around:
    """A prior that is cut off `width` errors below and above what was found."""

    width: float = 3.0

    def __post_init__(self) -> None:
        if not self.width > 0 or not math.isfinite(self.width):
            raise DesignError(f"around(width={self.width!r}): the width must be above 0.")

    def __str__(self) -> str:
        return f"around {self.width:g}"


Rule = Literal["fix", "start", "ignore"] | Around
Rules = Mapping[str, Rule] | Literal[False] | None


def around(width: float = 3.0) -> Around:
    """Narrow a prior to `width` errors about what a former stage found.

    The prior keeps its shape: a Gaussian stays one, cut off earlier.

    Parameters
    ----------
    width : float
        In standard deviations: half the way from 16 to 84 per cent.
    """
    return Around(width)


@dataclass(frozen=True)
class Best:
    """A number that a stage found.

    Parameters
    ----------
    value, sigma : float
        And its error; NaN if that is not known.
    stage : str
        Which one.
    """

    value: float
    sigma: float
    stage: str


@dataclass(frozen=True)
class Inherited:
    """A number that a stage took over.

    Parameters
    ----------
    name : str
    how : str
        "fix", "start", "around 3", "fill" for one that stands in a command or file.
    value : float
    stage : str
        From which stage.
    """

    name: str
    how: str
    value: float
    stage: str


def check_rules(
    stage: str, rules: Rules, names: Mapping[str, bool], known: set[str] | None
) -> None:
    """Refuse rules that match nothing.

    Parameters
    ----------
    stage : str
    rules : mapping, False or None
    names : mapping
        Parameters of the stage → whether they are free.
    known : set of str or None
        Names that stages before it find; None if that will be seen.
    """
    for name, rule in (rules or {}).items():
        if not isinstance(rule, Around) and rule not in (FIX, START, IGNORE):
            raise DesignError(
                f"Stage {stage!r}: inherit={{{name!r}: {rule!r}}} is none of 'fix', 'start', "
                "'ignore', around(width)."
            )
        if name not in names:
            raise DesignError(
                f"Stage {stage!r} inherits {name!r} but has no such parameter; it has "
                f"{', '.join(names)}."
            )
        if known is not None and name not in known and rule != IGNORE:
            found = f"they find {', '.join(sorted(known))}" if known else "they find nothing"
            raise DesignError(
                f"Stage {stage!r} inherits {name!r}, which no stage before it finds; {found}."
            )
        if rule == START and not names[name]:
            raise DesignError(f"Stage {stage!r}: {name!r} is fixed and cannot start; use 'fix'.")


def check_model(
    stage: str, rules: Rules, model: Model, sampler: str, known: set[str] | None
) -> None:
    """Refuse rules that the model or its sampler cannot follow."""
    free = {name: name in model.names for name in model.priors}
    check_rules(stage, rules, free, known)
    for name, rule in (rules or {}).items():
        if rule == START and sampler not in STARTING:
            raise DesignError(
                f"Stage {stage!r}: {sampler} draws from the whole prior and starts nowhere, so "
                f"{name!r} cannot 'start'; use 'fix' or around(width), or one of "
                f"{', '.join(STARTING)}."
            )
        if isinstance(rule, Around) and not _can_narrow(model.priors[name]):
            raise DesignError(
                f"Stage {stage!r}: the prior of {name!r}, {model.priors[name]!r}, cannot be "
                "narrowed; Uniform, LogUniform, Normal and LogNormal can."
            )
    fixed = [name for name in model.names if rules and rules.get(name) == FIX]
    if len(fixed) == model.n_dim:
        raise DesignError(f"Stage {stage!r} fixes all its parameters: nothing is left to fit.")


def rule_of(rules: Rules, name: str, free: bool) -> Rule:
    """What is done with a parameter."""
    default: Rule = "start" if free else "fix"
    return IGNORE if rules is False else (rules or {}).get(name, default)


def applied(
    stage: str, rules: Rules, model: Model, sampler: str, best: Mapping[str, Best]
) -> tuple[Model, dict[str, float], list[Inherited], list[str]]:
    """The model with what was found before.

    Returns
    -------
    Model
        A copy.
    dict
        Name → where it starts.
    list of Inherited
    list of str
        Notes: what was not used, and why.
    """
    check_model(stage, rules, model, sampler, set(best))
    fixed: dict[str, float] = {}
    priors: dict[str, Any] = {}
    start: dict[str, float] = {}
    inherited, unused = [], []
    for name in model.priors.keys() & best.keys():
        rule, found = rule_of(rules, name, name in model.names), best[name]
        if rule == FIX:
            fixed[name] = found.value
        elif isinstance(rule, Around):
            priors[name] = narrowed(name, model.priors[name], rule, found)
        elif rule == START and sampler in STARTING:
            start[name] = found.value
        else:
            unused += [name] if rule == START else []
            continue
        inherited.append(Inherited(name, str(rule), found.value, found.stage))
    order = list(model.priors)
    inherited.sort(key=lambda each: order.index(each.name))
    changed = model.with_settings(fixed=fixed, priors=priors) if fixed or priors else model
    _check_start(start, changed)
    names = ", ".join(sorted(unused, key=order.index))
    notes = [f"{sampler} starts nowhere, so not used as a start: {names}"] if unused else []
    return changed, start, inherited, notes


def narrowed(name: str, prior: Any, rule: Around, found: Best) -> Any:
    """The prior, cut off about what was found."""
    if not found.sigma > 0 or not math.isfinite(found.sigma):
        raise DesignError(
            f"{name!r} cannot be narrowed around {found.value:g}: stage {found.stage!r} found no "
            f"error of it ({found.sigma:g})."
        )
    reach = rule.width * found.sigma
    low, high = max(prior.low, found.value - reach), min(prior.high, found.value + reach)
    if not low < high:
        raise DesignError(
            f"{name!r} cannot be narrowed to {found.value:g} ± {reach:g}, of stage "
            f"{found.stage!r}: that is outside of {prior!r}."
        )
    whole = (low, high) == (prior.low, prior.high)
    return dataclasses.replace(
        prior, low=low, high=high, boundary=prior.boundary if whole else None
    )


def _can_narrow(prior: Any) -> bool:
    return hasattr(prior, "low") and hasattr(prior, "high") and not isinstance(prior, Fixed)


def _check_start(start: Mapping[str, float], model: Model) -> None:
    for name, value in start.items():
        support = getattr(model.priors[name], "support", (-math.inf, math.inf))
        if not support[0] <= value <= support[1]:
            raise DesignError(
                f"{name!r} cannot start at {value:g}, outside of {model.priors[name]!r}."
            )
