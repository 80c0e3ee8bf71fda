"""Quick looks at a crop while it grows: its results, where the time goes, where cases fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cropfit.errors import DesignError
from cropfit.tending import Tended

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from cropfit.farming.accessor import CropfitAccessor


class Pictured(Tended):
    """One crop, as far as pictures of it are concerned. No worker is disturbed by any of them."""

    def plot(
        self,
        what: str | None = None,
        /,
        *,
        x: str | None = None,
        y: str | None = None,
        hue: str | None = None,
        col: str | None = None,
        row: str | None = None,
        sel: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Figure:
        """Have a quick look at what there is by now; the same as ``Dataset.cropfit.plot``.

        What is not named is chosen: lines where a second parameter has ten labels at most, a
        map where it has more, panels for a third and fourth. Failed cases are crossed out, and
        the legend tells how many are not grown.

        Parameters
        ----------
        what : str, optional
            The output; by default the only one.
        x : str, optional
            A parameter or inner dimension. An output alone makes a histogram, and with
            another one a point a case.
        y : str, optional
            A second parameter, which makes a map; or the output, as `what`.
        hue : str, optional
            A parameter with a line or colour for each of its labels.
        col, row : str, optional
            Parameters with a panel for each of their labels.
        sel : mapping, optional
            Name → label at which to look; of numbers the nearest.
        **options
            As of matplotlib's ``plot``, ``pcolormesh``, ``scatter`` or ``hist``.

        Returns
        -------
        matplotlib.figure.Figure
            Its own, not one of ``pyplot``: ``.savefig("look.png")``.

        Raises
        ------
        DesignError
            A name is unknown, or there is more than one way; lists the choices.
        NotReadyError
            Nothing is grown yet.

        Notes
        -----
        Reads all results, as `peek` does.
        """
        return self._glance().plot(what, x=x, y=y, hue=hue, col=col, row=row, sel=sel, **options)

    def plot_seconds(self, **options: Any) -> Figure:
        """Draw how long cases took over the parameters.

        Parameters
        ----------
        **options
            ``x``, ``y``, ``col``, ``row`` and ``sel`` as of `plot`. Where ``x`` is named, the mean
            is taken over parameters that are not.
        """
        return self._examined().plot_seconds(**options)

    def plot_failures(self, **options: Any) -> Figure:
        """Draw what became of the cases: done, failed with which error, not grown.

        Parameters
        ----------
        **options
            As of `plot_seconds`. Where ``x`` is named and parameters are left over, the share of
            cases that failed is drawn.
        """
        return self._examined().plot_failures(**options)

    def _glance(self) -> CropfitAccessor:
        """What can be done with all results by now, as a Dataset whoever sowed the crop."""
        from cropfit.work.reap import Reaper
        from cropfit.work.wanted import Wanted

        manifest, ledger = self._open()
        found = Reaper(manifest, ledger, Wanted(False, True, False, diagnostics=True)).peek()
        if not hasattr(found, "data_vars"):
            raise DesignError(
                f"{self.location}: results have no names, so there is nothing to choose from: sow "
                "with var_names=. plot_seconds() and plot_failures() work."
            )
        return _accessor(found)

    def _examined(self) -> CropfitAccessor:
        from cropfit.work.examine import examine

        return _accessor(examine(*self._open()))


class PicturedCatalogue(Pictured):
    """One catalogue, as far as pictures of its columns are concerned."""

    def plot(self, what: str | None = None, /, *, x: str | None = None, **options: Any) -> Figure:
        """Draw a column over the objects, or against another one; what there is by now.

        Parameters
        ----------
        what : str, optional
            A parameter, which is drawn with bars from the 16th to the 84th percentile, or any
            column of `merge`. By default evidence and all parameters, one below the other; of
            words such as "status" how often each comes.
        x : str, optional
            The same for the horizontal axis; by default the objects.
        **options
            ``y`` stands for `what`, ``hue`` is a column that gives the colour; all else as of
            matplotlib's ``scatter``.

        Raises
        ------
        DesignError
            There is no such column; lists those that there are.
        """
        from cropfit.fitting.catalogue.merging import merge
        from cropfit.fitting.catalogue.table import to_frame
        from cropfit.plotting.objects import plot_objects

        y, hue = options.pop("y", None), options.pop("hue", None)
        table = to_frame(merge(*self._open()))
        return plot_objects(table, y if what is None else what, x=x, hue=hue, options=options)

    def plot_coverage(self, truths: Any, names: Sequence[str] | None = None) -> Figure:
        """Draw how often posteriors hold the truth; see `cropfit.plot_coverage`."""
        from cropfit.plotting.coverage import plot_coverage

        return plot_coverage(self.peek(), truths, names)


def _accessor(ds: xr.Dataset) -> CropfitAccessor:
    from cropfit.farming.accessor import CropfitAccessor

    return CropfitAccessor(ds)
