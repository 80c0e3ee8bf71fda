"""The 27 nonlinear regression problems of NIST's StRD, and three ways to fit them.

A problem is a few observations, a model, two starting points, and the answer that NIST certifies
to 11 significant digits: so a fit can be graded by the digits that it gets right.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize

FOLDER = Path(__file__).parent / "nist"
CERTIFIED_DIGITS = 11
TOO_LARGE = 1e100  # stands for residuals that overflow, so that an optimiser turns back


def bennett5(x, b1, b2, b3):
    return b1 * (b2 + x) ** (-1 / b3)


def saturation(x, b1, b2):
    return b1 * (1 - np.exp(-b2 * x))


def chwirut(x, b1, b2, b3):
    return np.exp(-b1 * x) / (b2 + b3 * x)


def danwood(x, b1, b2):
    return b1 * x**b2


def enso(x, b1, b2, b3, b4, b5, b6, b7, b8, b9):
    turn = 2 * np.pi * x
    return (
        b1
        + b2 * np.cos(turn / 12)
        + b3 * np.sin(turn / 12)
        + b5 * np.cos(turn / b4)
        + b6 * np.sin(turn / b4)
        + b8 * np.cos(turn / b7)
        + b9 * np.sin(turn / b7)
    )


def eckerle4(x, b1, b2, b3):
    return (b1 / b2) * np.exp(-0.5 * ((x - b3) / b2) ** 2)


def two_peaks(x, b1, b2, b3, b4, b5, b6, b7, b8):
    first, second = ((x - b4) / b5) ** 2, ((x - b7) / b8) ** 2
    return b1 * np.exp(-b2 * x) + b3 * np.exp(-first) + b6 * np.exp(-second)


def cubic_over_cubic(x, b1, b2, b3, b4, b5, b6, b7):
    return (b1 + x * (b2 + x * (b3 + x * b4))) / (1 + x * (b5 + x * (b6 + x * b7)))


def kirby2(x, b1, b2, b3, b4, b5):
    return (b1 + x * (b2 + x * b3)) / (1 + x * (b4 + x * b5))


def three_decays(x, b1, b2, b3, b4, b5, b6):
    return b1 * np.exp(-b2 * x) + b3 * np.exp(-b4 * x) + b5 * np.exp(-b6 * x)


def mgh09(x, b1, b2, b3, b4):
    return b1 * (x**2 + x * b2) / (x**2 + x * b3 + b4)


def mgh10(x, b1, b2, b3):
    return b1 * np.exp(b2 / (x + b3))


def mgh17(x, b1, b2, b3, b4, b5):
    return b1 + b2 * np.exp(-x * b4) + b3 * np.exp(-x * b5)


def misra1b(x, b1, b2):
    return b1 * (1 - (1 + b2 * x / 2) ** -2)


def misra1c(x, b1, b2):
    return b1 * (1 - (1 + 2 * b2 * x) ** -0.5)


def misra1d(x, b1, b2):
    return b1 * b2 * x / (1 + b2 * x)


def nelson(x, b1, b2, b3):
    """The logarithm of the breakdown voltage, after time x[0] at temperature x[1]."""
    return b1 - b2 * x[0] * np.exp(-b3 * x[1])


def rat42(x, b1, b2, b3):
    return b1 / (1 + np.exp(b2 - b3 * x))


def rat43(x, b1, b2, b3, b4):
    return b1 / (1 + np.exp(b2 - b3 * x)) ** (1 / b4)


def roszman1(x, b1, b2, b3, b4):
    return b1 - b2 * x - np.arctan(b3 / (x - b4)) / np.pi


MODELS: dict[str, Callable[..., NDArray[Any]]] = {
    "Bennett5": bennett5,
    "BoxBOD": saturation,
    "Chwirut1": chwirut,
    "Chwirut2": chwirut,
    "DanWood": danwood,
    "ENSO": enso,
    "Eckerle4": eckerle4,
    "Gauss1": two_peaks,
    "Gauss2": two_peaks,
    "Gauss3": two_peaks,
    "Hahn1": cubic_over_cubic,
    "Kirby2": kirby2,
    "Lanczos1": three_decays,
    "Lanczos2": three_decays,
    "Lanczos3": three_decays,
    "MGH09": mgh09,
    "MGH10": mgh10,
    "MGH17": mgh17,
    "Misra1a": saturation,
    "Misra1b": misra1b,
    "Misra1c": misra1c,
    "Misra1d": misra1d,
    "Nelson": nelson,
    "Rat42": rat42,
    "Rat43": rat43,
    "Roszman1": roszman1,
    "Thurber": cubic_over_cubic,
}


@dataclass(frozen=True, eq=False)
class Problem:
    """One data set with its model, its two starting points and its certified answer.

    Parameters
    ----------
    x : (n_obs,) or (n_predictors, n_obs) float array
    y : (n_obs,) float array
        The response; its logarithm where the model is one of log(y).
    starts : (2, n_par) float array
    certified, deviations : (n_par,) float array
        The parameters to 11 digits and their standard deviations.
    rss
        The certified residual sum of squares.
    """

    name: str
    difficulty: str
    formula: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    starts: NDArray[np.float64]
    certified: NDArray[np.float64]
    deviations: NDArray[np.float64]
    rss: float

    def residuals(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Observed minus modelled, (n_obs,); what overflows is only very large."""
        with np.errstate(all="ignore"):
            left = self.y - MODELS[self.name](self.x, *parameters)
        return np.clip(np.nan_to_num(left, nan=TOO_LARGE), -TOO_LARGE, TOO_LARGE)

    def jacobian(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of the residuals, (n_obs, n_par), exact to rounding.

        By complex steps: no difference is taken, so the step can be as small as one likes.
        """
        columns = []
        for i, value in enumerate(parameters):
            step = 1e-30 * max(abs(value), 1e-30)
            shifted = parameters.astype(complex)
            shifted[i] += 1j * step
            with np.errstate(all="ignore"):
                columns.append(-np.imag(MODELS[self.name](self.x, *shifted)) / step)
        return np.clip(np.nan_to_num(np.stack(columns, axis=1)), -TOO_LARGE, TOO_LARGE)

    def sum_of_squares(self, parameters: NDArray[np.float64]) -> float:
        """The residual sum of squares."""
        left = self.residuals(parameters)
        return float(left @ left)

    def digits(self, parameters: NDArray[np.float64]) -> float:
        """How many digits of the worst parameter are right: 0 to 11, as NIST grades."""
        error = np.max(np.abs(parameters - self.certified) / np.abs(self.certified))
        return float(np.clip(-np.log10(max(error, 1e-300)), 0, CERTIFIED_DIGITS))


def load_problem(path: Path) -> Problem:
    """Read one of the CSV files; NIST's formula, numbers and grades are in its comments."""
    with path.open(encoding="ascii", newline="") as file:
        lines = file.read().splitlines()
    comments = [line[2:] for line in lines if line.startswith("# ")]
    said = dict(line.split(": ", 1) for line in comments if ": " in line)
    table = np.array(
        [line.split(", ")[1:] for line in comments if line.startswith("b") and ", " in line],
        dtype=float,
    )
    header, *rows = csv.reader(lines[len(comments) :])
    data = np.array(rows, dtype=float).T
    *x, y = data
    return Problem(
        name=path.stem,
        difficulty=said["difficulty"],
        formula=said["model"],
        x=np.array(x) if len(header) > 2 else x[0],
        y=np.log(y) if said["model"].startswith("log[y]") else y,
        starts=table[:, :2].T,
        certified=table[:, 2],
        deviations=table[:, 3],
        rss=float(said["certified residual sum of squares"]),
    )


def load_problems() -> dict[str, Problem]:
    """All 27 problems by name, in the order of the alphabet."""
    return {path.stem: load_problem(path) for path in sorted(FOLDER.glob("*.csv"))}


def fit(problem: Problem, start: int, optimiser: str) -> tuple[float, float, int]:
    """Fit `problem` from starting point 1 or 2 with ``"lm"``, ``"trf"`` or ``"nelder-mead"``.

    Returns
    -------
    digits, rss, evaluations
        The certified digits that the worst parameter reaches, the residual sum of squares there,
        and how often the model was computed (a Jacobian counts as one for each parameter).
    """
    begin = problem.starts[start - 1]
    if optimiser == "nelder-mead":
        best, evaluations = _descend(problem, begin)
    else:
        tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
        found = least_squares(
            problem.residuals,
            begin,
            problem.jacobian,
            method=optimiser,
            x_scale="jac",
            max_nfev=5000,
            **tight,
        )
        best, evaluations = found.x, found.nfev + (found.njev or 0) * begin.size
    return problem.digits(best), problem.sum_of_squares(best), int(evaluations)


def _descend(problem: Problem, begin: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Nelder and Mead's simplex on the logarithm of the sum of squares, restarted while it helps.

    The parameters are taken in units of the starting point, for they differ by up to ten
    orders of magnitude.
    """

    def height(unit: NDArray[np.float64]) -> float:
        return float(np.log(problem.sum_of_squares(unit * begin) + 1e-300))

    best, lowest, evaluations = np.ones_like(begin), np.inf, 0
    for _ in range(8):
        found = minimize(
            height,
            best,
            method="Nelder-Mead",
            options={"adaptive": True, "xatol": 1e-13, "fatol": 1e-15, "maxfev": 4000},
        )
        evaluations += found.nfev
        if found.fun >= lowest - 1e-9:
            break
        best, lowest = found.x, found.fun
    return best * begin, evaluations
