"""Drawing samples: values, distributions and callables become columns of so many rows. No I/O.

Each parameter has a random stream of its own, made from the seed and its name:
what it draws changes neither with the other parameters nor with their order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError, MissingDependencyError
from cropfit.values import some

if TYPE_CHECKING:
    from cropfit.tables import Column

__all__ = ["Method", "draw"]

Method = Literal["random", "latin", "sobol"]
DRAWS = 2**32 - 1  # keeps these streams apart from those of the cases


def draw(n: int, combos: Mapping[str, Any], method: Method, seed: int) -> dict[str, Column]:
    """Draw samples.

    Parameters
    ----------
    n : int
        How many.
    combos : mapping
        Name → what to draw from: a list or array, each value as likely as any other; a
        frozen distribution of scipy.stats; a callable, which may take a numpy Generator;
        or one value, for all samples.
    method : {"random", "latin", "sobol"}
        Independent draws, or a Latin hypercube or scrambled Sobol sequence over all
        lists and distributions. Callables are called either way.
    seed : int
        Root of all draws.

    Raises
    ------
    DesignError
        There is nothing to draw from.
    MissingDependencyError
        Sequences need scipy.
    """
    if method not in ("random", "latin", "sobol"):
        raise DesignError(f"method is 'random', 'latin' or 'sobol', not {method!r}")
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise DesignError(f"the number of samples must be an int of at least 1, not {n!r}")
    if not combos:
        raise DesignError("there is nothing to draw from: give combos, or default_combos.")
    sources = {name: _source(name, given) for name, given in combos.items()}
    spread = [name for name, source in sources.items() if not isinstance(source, _Calls)]
    quantiles: dict[str, NDArray[np.float64]] = {}
    if method != "random" and spread:
        points = _sequence(method, len(spread), int(n), stream(seed, ""))
        quantiles = {name: points[:, at] for at, name in enumerate(spread)}
    return {
        name: source.at(quantiles[name])
        if name in quantiles
        else source.draw(int(n), stream(seed, name))
        for name, source in sources.items()
    }


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one parameter."""
    return np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(DRAWS, *name.encode("utf-8", "surrogatepass")))
    )


def _source(name: str, given: Any) -> _Values | _Distribution | _Calls:
    if hasattr(given, "rvs") or (hasattr(given, "icdf") and hasattr(given, "sample")):
        return _Distribution(given)
    if isinstance(given, (Mapping, set, frozenset)):
        raise DesignError(f"{name!r} is a {type(given).__name__}; give a list to draw from.")
    if callable(given) and not isinstance(given, type):
        return _Calls(given)
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        return _Values([given])
    values = given if isinstance(given, np.ndarray) else getattr(given, "values", given)
    values = values if isinstance(values, np.ndarray) else list(values)
    if len(values) == 0:
        raise DesignError(f"{name!r} has no values to draw from.")
    return _Values(values)


class _Values:
    """Each as likely as any other."""

    def __init__(self, values: Sequence[Any] | NDArray[Any]) -> None:
        self.values = values

    def draw(self, n: int, rng: np.random.Generator) -> Column:
        return self._take(rng.integers(len(self.values), size=n))

    def at(self, quantiles: NDArray[np.float64]) -> Column:
        size = len(self.values)
        return self._take(np.minimum((quantiles * size).astype(np.intp), size - 1))

    def _take(self, places: NDArray[Any]) -> Column:
        if isinstance(self.values, np.ndarray):
            chosen: NDArray[Any] = self.values[places]
            return chosen
        return [self.values[place] for place in places.tolist()]


class _Distribution:
    """A frozen distribution of scipy.stats, of the older kind or the newer."""

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution

    def draw(self, n: int, rng: np.random.Generator) -> Column:
        if hasattr(self.distribution, "rvs"):
            return np.asarray(self.distribution.rvs(size=n, random_state=rng))
        return np.asarray(self.distribution.sample(n, rng=rng))

    def at(self, quantiles: NDArray[np.float64]) -> Column:
        inverse = getattr(self.distribution, "ppf", None) or self.distribution.icdf
        return np.asarray(inverse(quantiles))


class _Calls:
    """What a callable gives, one call a sample."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def draw(self, n: int, rng: np.random.Generator) -> Column:
        given = (rng,) if _takes_one(self.call) else ()
        return [self.call(*given) for _ in range(n)]

    def at(self, quantiles: NDArray[np.float64]) -> Column:
        raise DesignError(f"{some([self.call])} has no quantiles")


def _takes_one(call: Callable[..., Any]) -> bool:
    """Whether it takes a generator: an argument that it cannot do without, or one named rng."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return any(p.default is p.empty or p.name in ("rng", "random_state") for p in positional[:1])


def _sequence(
    method: Method, dimensions: int, n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Points in the unit cube that fill it evenly."""
    try:
        from scipy.stats import qmc
    except ImportError as error:
        raise MissingDependencyError(
            f"method={method!r} needs scipy: pip install cropfit[sample]"
        ) from error
    made = qmc.LatinHypercube if method == "latin" else qmc.Sobol
    named = "rng" if "rng" in inspect.signature(made).parameters else "seed"
    points: NDArray[np.float64] = made(dimensions, **{named: rng}).random(n)
    return points
