"""A figure that notebooks show though pyplot does not know it."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["Picture"]


class Picture(Figure):
    """A figure that is nobody's but the caller's, and is shown where it stands alone in a cell.

    Notebooks learn to show figures when pyplot opens its first one, which these never do.
    """

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", bbox_inches="tight")
        return image.getvalue()
