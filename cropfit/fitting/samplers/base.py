"""What a sampler is asked to do, and what it gives back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError, MissingDependencyError

if TYPE_CHECKING:
    from cropfit.fitting.pools import LikelihoodPool
    from cropfit.fitting.problem import Problem

__all__ = ["Draws", "Halt", "Task", "check_options", "missing"]


@dataclass(frozen=True)
class Task:
    """How to sample.

    Parameters
    ----------
    seed : int
        Of all random numbers.
    n_live : int, optional
        Live points, or walkers, or starting points; by default the sampler's choice.
    dlogz : float, optional
        How much of the logarithm of the evidence may be left at the end.
    max_calls : int, optional
        Calls of the likelihood after which to end.
    deadline : float
        When to end, in seconds since the epoch.
    should_stop : callable, optional
        Says whether somebody asked for the end.
    checkpoint : str, optional
        A folder that is the sampler's alone.
    checkpoint_every : float
        Seconds.
    pool : LikelihoodPool, optional
        Computes the likelihoods; by default this process does.
    progress : callable, optional
        Is told ``calls=``, ``log_evidence=`` and ``dlogz=`` now and then.
    options : mapping
        The sampler's own.
    """

    seed: int = 0
    n_live: int | None = None
    dlogz: float | None = None
    max_calls: int | None = None
    deadline: float = math.inf
    should_stop: Callable[[], bool] | None = None
    checkpoint: str | None = None
    checkpoint_every: float = 60.0
    pool: LikelihoodPool | None = None
    progress: Callable[..., None] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def why_end(self, calls: int, spare: float = 0.0) -> str:
        """Why to end before all is done; empty if there is no reason.

        Parameters
        ----------
        calls : int
            Of the likelihood, so far, over all lives of the fit.
        spare : float
            Seconds before the deadline at which to end.
        """
        if self.max_calls is not None and calls >= self.max_calls:
            return "max_calls"
        if self.should_stop is not None and self.should_stop():
            return "asked to stop"
        return "deadline" if time.time() + spare >= self.deadline else ""

    def tell(self, **numbers: Any) -> None:
        """Show how far the sampling is."""
        if self.progress is not None:
            self.progress(**numbers)


@dataclass
class Draws:
    """What came out.

    Parameters
    ----------
    samples : (n, n_dim) float array
        Parameters, not points of the unit cube.
    log_weights : (n,) float array
        Up to a constant.
    log_likelihood : (n,) float array
    log_evidence, log_evidence_error : float
        NaN where the sampler gives none.
    calls : int
        Of the likelihood, over all lives of the fit.
    converged : bool
    why : str
        What ended the sampling.
    covariance : (n_dim, n_dim) float array, optional
        At the best point.
    settings : dict
        Every option that was used, the defaults too.
    extra : dict
        ``ess``, where weights alone do not tell it.
    """

    samples: NDArray[np.float64]
    log_weights: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    log_evidence: float
    log_evidence_error: float
    calls: int
    converged: bool
    why: str
    covariance: NDArray[np.float64] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def none(cls, problem: Problem, calls: int, why: str, settings: dict[str, Any]) -> Draws:
        """What there is if the end came before the first sample."""
        nothing: NDArray[np.float64] = np.empty(0)
        return cls(
            samples=np.empty((0, problem.n_dim)),
            log_weights=nothing,
            log_likelihood=nothing,
            log_evidence=math.nan,
            log_evidence_error=math.nan,
            calls=calls,
            converged=False,
            why=why,
            settings=settings,
        )


class Halt(Exception):
    """Ends a sampler from within: out of calls or of time, or asked to stop."""


def check_options(sampler: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that the sampler does not have.

    Raises
    ------
    DesignError
        Says which it has.
    """
    known = sorted(known)
    wrong = [name for name in given if name not in known]
    if wrong:
        raise DesignError(f"{sampler} has no option {wrong[0]!r}; it has {', '.join(known)}.")


def missing(sampler: str, package: str, extra: str) -> MissingDependencyError:
    """The error that tells how to get the library of a sampler."""
    return MissingDependencyError(
        f"The sampler {sampler!r} needs {package}, which is not installed here: "
        f"pip install 'cropfit[{extra}]'"
    )
