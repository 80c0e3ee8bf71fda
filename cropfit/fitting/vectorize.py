"""Whether a likelihood takes many points in one call, and in which layout.

Found out by calling it with arrays and holding every entry against the point alone,
so that one which merely happens to broadcast is never taken for vectorised.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import LikelihoodError
from cropfit.fitting.model import Model
from cropfit.fitting.params import columns
from cropfit.fitting.quiet import quiet

__all__ = ["Layout", "find_layout"]

Shape = Literal["scalar", "flat", "column", "array"]
POINTS = 13  # a prime above most numbers of parameters
FEWEST = 4  # points that are compared even where that takes long
PATIENCE = 0.5  # seconds for comparing more
TRIES = 1000  # draws of the prior to find points that the constraint allows


@dataclass(frozen=True)
class Layout:
    """How points are handed to a likelihood.

    Parameters
    ----------
    shape : {"scalar", "flat", "column", "array"}
        One by one; as parameters of shape (n,) or (n, 1); as one array (n, n_dim).
    declared : bool
        Whether the model says so; then it is never called with one point's numbers.
    constraint : bool
        Whether the constraint takes many points too.
    """

    shape: Shape
    declared: bool = False
    constraint: bool = False

    @property
    def many(self) -> bool:
        """Whether one call takes many points."""
        return self.shape != "scalar"

    def arguments(self, model: Model, thetas: NDArray[np.float64]) -> Any:
        """What the likelihood gets for the points (n, n_dim)."""
        if self.shape == "array":
            copy = thetas.copy()
            copy.flags.writeable = False
            return copy
        turned = columns(thetas)
        return model.params(turned[:, :, None] if self.shape == "column" else turned)

    def call(self, model: Model, thetas: NDArray[np.float64], data: Any) -> NDArray[Any]:
        """What the likelihood gives for the points."""
        return _real(model.log_likelihood(self.arguments(model, thetas), data))

    def allowed(self, model: Model, thetas: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points the constraint allows."""
        assess = model.constraint
        if assess is None:
            return np.ones(len(thetas), bool)
        if self.constraint:
            flat: Shape = "array" if model.as_array else "flat"
            return np.asarray(assess(Layout(flat).arguments(model, thetas)), np.bool_)
        if model.as_array:
            return np.array([bool(assess(theta)) for theta in thetas])
        return np.array([bool(assess(model.params(theta))) for theta in thetas])

    def agree(self, one: float, other: float) -> bool:
        """Whether two values are the same likelihood but for rounding."""
        tolerance = 1e-8 if self.declared else 1e-12
        return bool(one == other or abs(one - other) <= tolerance * max(1, abs(one), abs(other)))


def find_layout(model: Model, data: Any) -> Layout:
    """The layout in which `model`'s likelihood takes points.

    Raises
    ------
    LikelihoodError
        It is declared vectorised, and is not in any layout; says what was seen.
    """
    declared = bool(model.vectorized)
    if model.vectorized is False:
        return Layout("scalar")
    thetas, constraint = _draws(model)
    if len(thetas) < FEWEST:
        return Layout("array" if model.as_array else "flat", True) if declared else Layout("scalar")
    seen = []
    shapes: tuple[Shape, ...] = ("array",) if model.as_array else ("flat", "column")
    for shape in shapes:
        layout = Layout(shape, declared, constraint)
        wrong = _mistake(layout, model, thetas, data)
        if not wrong:
            return layout
        seen.append(f"as arrays of {_SHAPES[shape]} {wrong}")
    if declared:
        raise LikelihoodError(
            f"vectorized=True was declared, but given {len(thetas)} points "
            + ", and ".join(seen)
            + ". It must give one number a point, whatever the other points are; or leave "
            "vectorized out."
        )
    return Layout("scalar")


_SHAPES = {"array": "shape (n, n_dim)", "flat": "shape (n,)", "column": "shape (n, 1)"}


def _draws(model: Model) -> tuple[NDArray[np.float64], bool]:
    """Some points of the prior that the constraint allows; whether that takes many at once."""
    thetas = model.transform(np.random.default_rng(0).random((TRIES, model.n_dim)))
    if model.constraint is None:
        return thetas[:POINTS], False
    thetas = thetas[: 8 * POINTS] if model.vectorized is None else thetas
    try:
        alone = Layout("scalar").allowed(model, thetas)
    except Exception:
        return thetas[:0], False  # the run itself will say what is wrong with it
    together = False
    with contextlib.suppress(Exception), quiet():
        found = Layout("scalar", constraint=True).allowed(model, thetas)
        together = found.shape == alone.shape and bool((found == alone).all())
    return thetas[alone][:POINTS], together


def _mistake(layout: Layout, model: Model, thetas: NDArray[np.float64], data: Any) -> str:
    """What is wrong with calling the likelihood in this layout; empty if nothing is."""
    try:
        with quiet():
            values = layout.call(model, thetas, data)
            if values.shape != (len(thetas),):
                return f"it gave shape {values.shape}"
            pair = layout.call(model, thetas[:2], data)
            if pair.shape != (2,) or not all(map(layout.agree, pair, values)):
                return "it gave other values for 2 points than for the same among more"
            for row, alone in enumerate(_alone(layout, model, thetas, data)):
                if not layout.agree(values[row], alone):
                    return f"it gave {float(values[row])!r} for a point that alone has {alone!r}"
    except Exception as error:
        return f"it raised {type(error).__name__}: {error}"
    return ""


def _alone(layout: Layout, model: Model, thetas: NDArray[np.float64], data: Any) -> Iterator[float]:
    """The likelihood of each point by itself, until enough time was spent on it."""
    begin = time.monotonic()
    for row, theta in enumerate(thetas):
        if row >= FEWEST and time.monotonic() - begin > PATIENCE:
            return
        if layout.declared:
            (value,) = layout.call(model, thetas[row : row + 1], data)
        else:
            params = theta if model.as_array else model.params(theta)
            value = _real(model.log_likelihood(params, data))[()]
        yield float(value)


def _real(value: Any) -> NDArray[Any]:
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{type(value).__name__} is no real number")
    return found.astype(np.float64, copy=False)
