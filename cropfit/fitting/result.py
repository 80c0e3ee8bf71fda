"""`Fit`: the samples of one object and all that can be asked of them.

A fit is a Dataset at heart: what `save` writes is what `to_dataset` gives, and `load`
makes the same fit of it, without a pickle.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DamagedError, DesignError
from cropfit.fitting.params import Params, params_maker
from cropfit.fitting.weights import effective_size, normalised, quantiles, resample

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from cropfit.fitting.model import Model
    from cropfit.fitting.summary import Summary

__all__ = ["Fit"]

FORMAT = "cropfit fit 1"


@dataclass(eq=False, repr=False, kw_only=True)
class Fit:
    """What a sampler found.

    Attributes
    ----------
    names : tuple of str
        The free parameters.
    samples : (n, n_dim) float array
        In the order of `names`.
    log_weights, log_likelihood, log_prior : (n,) float array
        Logarithms of each sample's weight, likelihood and prior density.
    weights : (n,) float array
        They sum to one.
    derived : mapping
        Name → (n,) float array.
    fixed, units, labels : mapping
        Name → value, unit, name in pictures.
    log_evidence, log_evidence_error : float
        NaN if the sampler gives none.
    ess : float
        How many independent samples these are worth.
    calls : int
        Of the likelihood.
    seconds : float
        Of this run.
    converged : bool
        Whether the sampler came to its end; `why` says what ended it.
    sampler : str
    settings : mapping
        All that was really used: the sampler's options, seed and version.
    covariance : (n_dim, n_dim) float array or None
        As the sampler itself estimated it.
    model, data
        What was fitted; None in a fit that was loaded.
    """

    names: tuple[str, ...]
    samples: NDArray[np.float64]
    log_weights: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    log_prior: NDArray[np.float64]
    derived: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    log_evidence: float = np.nan
    log_evidence_error: float = np.nan
    ess: float = 0.0
    calls: int = 0
    seconds: float = np.nan
    converged: bool = True
    why: str = ""
    sampler: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    covariance: NDArray[np.float64] | None = None
    model: Model | None = None
    data: Any = None

    def __post_init__(self) -> None:
        self.weights = normalised(self.log_weights)
        if not self.ess:
            self.ess = effective_size(self.weights)

    @property
    def n_dim(self) -> int:
        """Number of free parameters."""
        return len(self.names)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """The samples, with `weights`, of a parameter or derived quantity."""
        if name in self.names:
            return self.samples[:, self.names.index(name)]
        if name in self.derived:
            return self.derived[name]
        raise KeyError(f"there is no {name!r}; there are {', '.join([*self.names, *self.derived])}")

    # -- what was found --------------------------------------------------------------

    @property
    def best_fit(self) -> Params:
        """The sample of the highest likelihood, with fixed and derived values."""
        return self._point(self.log_likelihood)

    @property
    def max_posterior(self) -> Params:
        """The sample of the highest posterior density, with fixed and derived values."""
        return self._point(self.log_likelihood + self.log_prior)

    def _point(self, density: NDArray[np.float64]) -> Params:
        """The sample where `density` is highest."""
        if not len(self):
            raise DesignError(f"The fit has no samples: {self.why}.")
        row = int(np.argmax(density))
        values = [float(self[name][row]) for name in (*self.names, *self.derived)]
        names = (*self.names, *self.derived)
        order = [*(n for n in self.labels if n in self.names or n in self.fixed), *self.derived]
        return params_maker(order, names, self.fixed, self.units)(values)

    def percentiles(self, levels: Iterable[float] = (16, 50, 84)) -> dict[str, NDArray[np.float64]]:
        """Weighted percentiles of every free parameter and derived quantity.

        Parameters
        ----------
        levels : iterable of float
            In per cent.
        """
        wanted = np.asarray(list(levels), float)
        if not np.all((wanted >= 0) & (wanted <= 100)):
            raise DesignError(f"percentiles lie between 0 and 100, not at {wanted.tolist()}.")
        names = (*self.names, *self.derived)
        return {name: quantiles(self[name], self.weights, wanted / 100) for name in names}

    def posterior(self, n_posterior: int | None = None, seed: int | None = None) -> xr.Dataset:
        """Equally weighted draws of the posterior, with dimension ``sample``.

        Parameters
        ----------
        n_posterior : int, optional
            How many; by default as many as the samples are worth.
        seed : int, optional
            By default the fit's own, so that the draws are the same every time.
        """
        return self.to_dataset().isel(sample=self.draws(n_posterior, seed)).drop_vars("log_weight")

    def draws(self, n_posterior: int | None = None, seed: int | None = None) -> NDArray[np.intp]:
        """Indices of the samples that `posterior` gives."""
        size = max(int(self.ess), 1) if n_posterior is None else n_posterior
        if not len(self) or size < 1:
            raise DesignError(f"{size} samples cannot be drawn from {len(self)}.")
        return resample(self.weights, size, self.settings.get("seed", 0) if seed is None else seed)

    def summary(self) -> Summary:
        """A table of medians, 16 and 84 per cent, and best fit; prints well, HTML in notebooks."""
        from cropfit.fitting.summary import Summary

        return Summary.of(self)

    def __repr__(self) -> str:
        state = "" if self.converged else f", not converged: {self.why}"
        return (
            f"<Fit of {self.n_dim} parameters by {self.sampler}: {len(self)} samples worth "
            f"{self.ess:.0f}, {self.calls} calls in {self.seconds:.3g} s{state}>"
        )

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    # -- other forms -----------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The numbers of `summary` and the diagnostics as plain, JSON-able values; no samples."""
        best = self.best_fit if len(self) else {}
        levels = self.percentiles()
        parameters = {
            name: {
                "unit": self.units.get(name),
                "lower": float(low),
                "median": float(middle),
                "upper": float(high),
                "best_fit": float(best.get(name, np.nan)),
                "derived": name in self.derived,
            }
            for name, (low, middle, high) in levels.items()
        }
        return {
            "parameters": parameters,
            "fixed": {name: float(value) for name, value in self.fixed.items()},
            **{name: getattr(self, name) for name in _SCALARS},
            "max_log_likelihood": float(np.max(self.log_likelihood, initial=-np.inf)),
            "settings": dict(self.settings),
        }

    def to_dataset(self) -> xr.Dataset:
        """All of the fit: one variable a parameter along ``sample``, units in the attributes."""
        import xarray as xr

        columns = {name: ("parameter", self[name]) for name in self.names}
        columns |= {name: ("derived", values) for name, values in self.derived.items()}
        data: dict[str, Any] = {
            name: ("sample", values, self._attrs(name, role))
            for name, (role, values) in columns.items()
        }
        data |= {n: ((), float(v), self._attrs(n, "fixed")) for n, v in self.fixed.items()}
        for name, text in _PER_SAMPLE.items():
            data[name] = ("sample", self._per_sample(name), {"role": "sampling", "long_name": text})
        attrs: dict[str, Any] = {"format": FORMAT, "names": list(self.names)}
        attrs |= {name: getattr(self, name) for name in _SCALARS}
        attrs |= {"settings": dict(self.settings), "order": list(self.labels)}
        if self.covariance is not None:
            attrs["covariance"] = self.covariance
        return xr.Dataset(data, attrs=attrs)

    def _attrs(self, name: str, role: str) -> dict[str, Any]:
        attrs = {"role": role, "long_name": self.labels.get(name, name)}
        return attrs | ({"units": self.units[name]} if name in self.units else {})

    def _per_sample(self, name: str) -> NDArray[np.float64]:
        return self.log_weights if name == "log_weight" else np.asarray(getattr(self, name))

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> Fit:
        """The fit that `to_dataset` made `ds` of."""
        attrs = ds.attrs
        if attrs.get("format") != FORMAT:
            raise DamagedError("The Dataset holds no fit of cropfit.")
        roles = {str(name): var.attrs.get("role") for name, var in ds.data_vars.items()}
        described = [name for name, role in roles.items() if role != "sampling"]
        names = tuple(str(name) for name in attrs["names"])
        order = [*attrs["order"], *(name for name in described if name not in attrs["order"])]
        columns = [ds[name].values for name in names]
        return cls(
            names=names,
            samples=np.stack(columns, axis=1) if columns else np.empty((ds.sizes["sample"], 0)),
            log_weights=ds["log_weight"].values,
            log_likelihood=ds["log_likelihood"].values,
            log_prior=ds["log_prior"].values,
            derived={n: ds[n].values for n in described if roles[n] == "derived"},
            fixed={n: float(ds[n].values) for n in described if roles[n] == "fixed"},
            units={n: ds[n].attrs["units"] for n in described if "units" in ds[n].attrs},
            labels={n: ds[n].attrs["long_name"] for n in order},
            settings=dict(attrs["settings"]),
            covariance=attrs.get("covariance"),
            **{name: kind(attrs[name]) for name, kind in _SCALARS.items()},
        )

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write all of the fit to a netCDF file, whole or not at all.

        Raises
        ------
        ExistsError
            There is a file of that name, and `overwrite` is false.
        """
        from cropfit.disk.netcdf import save_dataset

        save_dataset(self.to_dataset(), path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Fit:
        """Read a saved fit.

        Raises
        ------
        DamagedError
            The file holds something else.
        """
        from cropfit.disk.netcdf import load_dataset

        try:
            return cls.from_dataset(load_dataset(path))
        except DamagedError as error:
            raise DamagedError(f"{os.fspath(path)}: {error}") from error

    # -- pictures --------------------------------------------------------------------

    def plot_corner(self, names: Sequence[str] | None = None, **options: Any) -> Figure:
        """All pairs of parameters; options as of `cropfit.fitting.plots.plot_corner`."""
        from cropfit.fitting.plots import plot_corner

        return plot_corner(self, names, **options)

    def plot_fit(self, data: Any = None, **options: Any) -> Figure:
        """Data, best fit, predictive band; options as of `cropfit.fitting.plots.plot_fit`."""
        from cropfit.fitting.plots import plot_fit

        return plot_fit(self, data, **options)

    def plot_trace(self, names: Sequence[str] | None = None) -> Figure:
        """How the samples came in; see `cropfit.fitting.plots.plot_trace`."""
        from cropfit.fitting.plots import plot_trace

        return plot_trace(self, names)


_SCALARS: dict[str, Any] = {
    "log_evidence": float,
    "log_evidence_error": float,
    "ess": float,
    "calls": int,
    "seconds": float,
    "converged": bool,
    "why": str,
    "sampler": str,
}
_PER_SAMPLE = {
    "log_weight": "logarithm of the weight",
    "log_likelihood": "logarithm of the likelihood",
    "log_prior": "logarithm of the prior density",
}
