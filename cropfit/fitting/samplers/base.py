"""The contract of all samplers: a `Task` goes in, `Draws` come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

__all__ = ["Draws", "Task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """How to sample.

    Parameters
    ----------
    n_live, dlogz : optional
        As of `cropfit.fit`; None leaves them to the sampler.
    seed : int
        Of all random numbers.
    max_calls : int, optional
        Calls of the likelihood after which to end.
    deadline : float
        When to end, in seconds since the epoch.
    should_stop : callable, optional
        Whether somebody asked for the end; cheap enough for every iteration.
    checkpoint : str, optional
        A folder that is the sampler's alone, and holds what a killed run left there.
    checkpoint_every : float
        Seconds.
    pool : optional
        Computes likelihoods in other processes.
    progress : callable, optional
        Takes ``calls=``, ``log_evidence=`` and ``dlogz=``, each optional.
    options : mapping
        The sampler's own.
    """

    n_live: int | None = None
    dlogz: float | None = None
    seed: int = 0
    max_calls: int | None = None
    deadline: float = math.inf
    should_stop: Callable[[], bool] | None = None
    checkpoint: str | None = None
    checkpoint_every: float = 60.0
    pool: Any = None
    progress: Callable[..., None] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Draws:
    """What came out.

    Attributes
    ----------
    samples : (n, n_dim) float array
    log_weights : (n,) float array
        Up to a constant.
    log_likelihood : (n,) float array
    log_evidence, log_evidence_error : float
        NaN where the sampler gives none.
    calls : int
        Of the likelihood, those of former processes included.
    converged : bool
        Whether it came to its end; `why` says what ended it.
    covariance : (n_dim, n_dim) float array or None
    settings : dict
        Every option that was really used, and the library's version.
    extra : dict
        ``ess`` where the weights do not tell, and whatever else is of use.
    """

    samples: NDArray[Any]
    log_weights: NDArray[Any]
    log_likelihood: NDArray[Any]
    log_evidence: float = math.nan
    log_evidence_error: float = math.nan
    calls: int = 0
    converged: bool = True
    why: str = ""
    covariance: NDArray[Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
