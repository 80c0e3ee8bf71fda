"""Whether posteriors hold the truth as often as they say.

For each object and parameter whose truth is known: the smallest central interval of the
posterior that holds it. Of posteriors that are right, a fraction p of the truths lies within
the central interval of probability p, but for the chance of so many objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError, MissingDependencyError
from cropfit.plotting.figures import label_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["central_levels", "plot_coverage"]

SAMPLE = "_sample"
BANDS = ((0.95, 0.2), (0.68, 0.35))  # probability, opacity

Weighted = tuple[NDArray[np.float64], NDArray[np.float64]]


def plot_coverage(found: Any, truths: Any, names: Sequence[str] | None = None) -> Figure:
    """Draw which fraction of known truths the central intervals of the posteriors hold.

    The line of a right posterior stays in the bands: where it lies below, errors are
    underestimated or values biased; above, errors are overestimated.

    Parameters
    ----------
    found : Dataset, mapping or sequence of Fit
        What the reap of a catalogue gives, with posterior draws; or fits, by id or in order.
    truths : mapping or DataFrame
        By id → {name: value}; for fits in order a sequence of such mappings, or one for all.
    names : sequence of str, optional
        Parameters; by default all that have a truth.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DesignError
        No truth belongs to any posterior, or the Dataset has no draws.
    MissingDependencyError
        Matplotlib or scipy is not installed.
    """
    levels = central_levels(found, truths, names)
    figure = new_figure(5.4, 5.0)
    axes = figure.subplots()
    _bands(axes, min(map(len, levels.values())))
    for place, (name, each) in enumerate(levels.items()):
        steps = np.concatenate([[0.0], np.sort(each), [1.0]])
        heights = np.concatenate([[0.0], np.arange(1, len(each) + 1), [len(each)]]) / len(each)
        label = f"{label_of(name, {})} ({len(each)})"
        axes.step(steps, heights, where="post", color=f"C{place % 10}", label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("probability of the central interval")
    axes.set_ylabel("fraction of truths within it")
    axes.legend(frameon=False, loc="upper left", fontsize="small")
    return figure


def central_levels(
    found: Any, truths: Any, names: Sequence[str] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Probability of the smallest central interval that holds each truth, by parameter.

    Parameters
    ----------
    found, truths, names
        As of `plot_coverage`.
    """
    collected: dict[str, list[float]] = {}
    posteriors = _posteriors(found)
    for place, (key, columns) in enumerate(posteriors.items()):
        for name, truth in _truths_of(truths, key, place, len(posteriors)).items():
            if name in columns and (names is None or name in names) and np.isfinite(truth):
                values, weights = columns[name]
                if len(values) and np.ptp(values) > 0:
                    collected.setdefault(name, []).append(_level(values, weights, truth))
    if not collected:
        there = sorted({name for columns in posteriors.values() for name in columns})
        raise DesignError(
            f"No truth belongs to any of {len(posteriors)} posteriors; they have {there} of "
            f"{_some(posteriors)}, and truths are given as id → {{name: value}}."
        )
    return {name: np.array(each) for name, each in collected.items()}


def _level(values: NDArray[np.float64], weights: NDArray[np.float64], truth: float) -> float:
    below = weights[values < truth].sum() + 0.5 * weights[values == truth].sum()
    return float(abs(2 * below / weights.sum() - 1))


# -- what was found, and what is true ----------------------------------------------------


def _posteriors(found: Any) -> dict[Any, dict[str, Weighted]]:
    """Id → name → values and weights."""
    if hasattr(found, "data_vars"):
        return _of_dataset(found)
    fits = found if isinstance(found, Mapping) else dict(enumerate(_listed(found)))
    if not all(hasattr(fit, "samples") and hasattr(fit, "weights") for fit in fits.values()):
        raise DesignError(
            "plot_coverage takes the Dataset that a catalogue's reap gives, a mapping of id to "
            f"Fit, or several of them; not {type(found).__name__}."
        )
    return {
        key: {name: (fit[name], fit.weights) for name in (*fit.names, *fit.derived)}
        for key, fit in fits.items()
    }


def _listed(found: Any) -> list[Any]:
    return list(found) if isinstance(found, Iterable) and not hasattr(found, "names") else [found]


def _of_dataset(ds: Any) -> dict[Any, dict[str, Weighted]]:
    draws = {str(n)[: -len(SAMPLE)]: ds[n] for n in ds.data_vars if str(n).endswith(SAMPLE)}
    if not draws:
        raise DesignError(
            "This Dataset has no posterior draws (<parameter>_sample): fit the catalogue with "
            "n_posterior=500."
        )
    found: dict[Any, dict[str, Weighted]] = {}
    for place, key in enumerate(ds["object"].values.tolist()):
        columns = {}
        for name, each in draws.items():
            values = each.values[place]
            values = values[np.isfinite(values)]
            columns[name] = values, np.ones(len(values))
        found[key] = columns
    return found


def _truths_of(truths: Any, key: Any, place: int, size: int) -> dict[str, float]:
    """What is true of one object; nothing where it is not known."""
    if hasattr(truths, "columns"):
        row = truths.loc[key].to_dict() if key in truths.index else {}
    elif isinstance(truths, Mapping):
        is_for_all = not any(isinstance(each, Mapping) for each in truths.values())
        row = truths if is_for_all else truths.get(key, {})
    elif len(truths) != size:
        raise DesignError(f"{len(truths)} truths are given for {size} posteriors.")
    else:
        row = truths[place]
    return {str(name): float(value) for name, value in row.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _some(keys: Mapping[Any, Any]) -> str:
    names = ", ".join(repr(key) for key in list(keys)[:5])
    return names + (", …" if len(keys) > 5 else "")


def _bands(axes: Axes, size: int) -> None:
    """Where the line of right posteriors lies by chance, for so many objects."""
    try:
        from scipy.stats import binom
    except ImportError as error:
        raise MissingDependencyError(
            "plot_coverage needs scipy: pip install 'cropfit[fit,plot]'."
        ) from error
    p = np.linspace(0, 1, 201)
    for probability, opacity in BANDS:
        low, high = (
            binom.ppf(q, size, p) / size for q in (0.5 - probability / 2, 0.5 + probability / 2)
        )
        label = f"expected, {100 * probability:.0f} %"
        axes.fill_between(p, low, high, color="0.5", alpha=opacity, linewidth=0, label=label)
    axes.plot(p, p, color="0.5", linewidth=1, linestyle="--")
