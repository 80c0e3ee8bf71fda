"""The table that a fit shows of itself: as text on a terminal, as HTML in a notebook."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cropfit.fitting.result import Fit

__all__ = ["Summary", "with_error"]


@dataclass(frozen=True)
class Summary:
    """Rows of text under a header, and a line about the run.

    Attributes
    ----------
    header : tuple of str
    rows : list of tuples of str
    notes : list of str
    """

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]

    @classmethod
    def of(cls, fit: Fit) -> Summary:
        """The summary of `fit`."""
        best = fit.best_fit if len(fit) else {}
        rows: list[tuple[str, ...]] = []
        for name, (low, middle, high) in fit.percentiles().items():
            shown = with_error(middle, middle - low, high - middle)
            peak = _rounded(float(best.get(name, math.nan)), _digits(middle - low, high - middle))
            kind = "derived" if name in fit.derived else ""
            rows.append((name, *shown, peak, fit.units.get(name, ""), kind))
        for name, value in fit.fixed.items():
            rows.append((name, f"{value:g}", "", "", "", fit.units.get(name, ""), "fixed"))
        header = ("parameter", "median", "-", "+", "best fit", "unit", "")
        return cls(header, rows, _notes(fit))

    def __str__(self) -> str:
        table = [self.header, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(self.header))]
        lines = []
        for row in table:
            cells = [
                cell.rjust(width) if 0 < i < 5 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        lines.insert(1, "  ".join("─" * width for width in widths if width))
        return "\n".join([*lines, "", *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(cells: tuple[str, ...], tag: str) -> str:
            inner = "".join(
                f'<{tag} style="text-align:{"right" if 0 < i < 5 else "left"}">'
                f"{html.escape(cell)}</{tag}>"
                for i, cell in enumerate(cells)
            )
            return f"<tr>{inner}</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        notes = "<br>".join(html.escape(note) for note in self.notes)
        return f"<table>{line(self.header, 'th')}{body}</table><p>{notes}</p>"


def with_error(value: float, minus: float, plus: float) -> tuple[str, str, str]:
    """A number and its errors, with as many digits as the smaller error deserves: two.

    Examples
    --------
    >>> with_error(1.23456, 0.0123, 0.0234)
    ('1.235', '0.012', '0.023')
    """
    digits = _digits(minus, plus)
    return _rounded(value, digits), _rounded(minus, digits), _rounded(plus, digits)


def _digits(minus: float, plus: float) -> int | None:
    """Digits after the point; None if the errors do not tell."""
    errors = [each for each in (abs(minus), abs(plus)) if each > 0 and math.isfinite(each)]
    return 1 - math.floor(math.log10(min(errors))) if errors else None


def _rounded(value: float, digits: int | None) -> str:
    if not math.isfinite(value) or digits is None:
        return f"{value:.6g}"
    size = math.floor(math.log10(abs(value))) if value else 0
    if -4 <= size <= 6 and digits <= 9:
        return f"{round(value, digits):.{max(digits, 0)}f}"
    return f"{value:.{max(size + digits, 1)}e}"


def _notes(fit: Fit) -> list[str]:
    import numpy as np

    numbers = [f"max log L = {float(np.max(fit.log_likelihood, initial=-np.inf)):.2f}"]
    if math.isfinite(fit.log_evidence):
        numbers.append(f"log Z = {fit.log_evidence:.2f} ± {fit.log_evidence_error:.2f}")
    effort = (
        f"{fit.sampler}: {len(fit)} samples worth {fit.ess:.0f}, {fit.calls} calls "
        f"in {fit.seconds:.3g} s"
    )
    notes = [", ".join(numbers), effort]
    return notes if fit.converged else [*notes, f"NOT CONVERGED: {fit.why}"]
