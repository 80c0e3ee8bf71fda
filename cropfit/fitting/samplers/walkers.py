"""dynesty's static sampler with many walkers that are moved together.

    live points, sorted ──▶ the worst M die ──▶ M walkers start at points that are left
          ▲                                                │  leap, if leaps arrive; then walk,
          └──────────── their ends take the places ◀───────┘  each step one call for all walkers

With M points gone at once the volume shrinks as if they were removed one by one and not
replaced in between: by n/(n+1) with n = N, N-1, ..., N-M+1. So ties need no special care.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from dynesty.internal_samplers import RWalkSampler
from dynesty.sampler import Sampler
from dynesty.utils import IteratorResult
from numpy.typing import NDArray

from cropfit.fitting.samplers.evaluations import Evaluations
from cropfit.fitting.samplers.leaps import REFRESHED, SHORTER, Leaps

__all__ = ["Walk", "Walkers"]

Floats = NDArray[np.float64]


class Walk(RWalkSampler):  # type: ignore[misc]
    """Random walks of many points above a likelihood, in steps that all take together.

    Parameters
    ----------
    between : float
        Share of the steps that go along the difference of two live points, which fits
        bent and degenerate shapes; the others go into one of the bound's ellipsoids.
    **options
        As of dynesty's random walk.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.between = float(options.get("between", 0.5))

    def advance(
        self,
        evaluations: Evaluations,
        least: float,
        points: tuple[Floats, Floats, Floats],
        steps: Floats,
    ) -> int:
        """Walk, and leave the ends in `points`.

        Parameters
        ----------
        least : float
            All points on the way have a higher likelihood.
        points : (m, n_dim), (m, n_dim) and (m,) float arrays
            In the unit cube, as parameters, and their likelihoods; changed in place.
        steps : (walks, m, n_dim) float array
            What to try.

        Returns
        -------
        int
            How many steps were taken.
        """
        cube, theta, height = points
        taken = 0
        for step in steps:
            tried = self._inside(cube + step)
            rows = np.flatnonzero(tried[1])
            if not len(rows):
                continue
            here = evaluations.problem.transform(tried[0][rows])
            found = evaluations.many(here)
            good = found > least
            rows = rows[good]
            cube[rows], theta[rows], height[rows] = tried[0][rows], here[good], found[good]
            taken += len(rows)
        return taken

    def _inside(self, cube: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The points after wrapping and mirroring, and which of them are in the cube."""
        periodic, reflective = (self.sampler_kwargs[n] for n in ("periodic", "reflective"))
        if periodic is not None:
            cube[:, periodic] %= 1
        if reflective is not None:
            cube[:, reflective] = 1 - np.abs(1 - cube[:, reflective] % 2)
        return cube, np.all((cube > 0) & (cube < 1), axis=1)

    def steps(self, rng: np.random.Generator, axes: Floats, live: Floats, walks: int) -> Floats:
        """Steps (walks, m, n_dim) for m walkers: into ellipsoids of `axes`, or between live points.

        None of them depends on where a walker is, so that there and back is equally likely.
        """
        shape = (walks, *axes.shape[:2])
        n_dim = shape[-1]
        ball = rng.standard_normal(shape)
        radius = rng.random((*shape[:2], 1)) ** (1 / n_dim)
        ball *= radius / np.linalg.norm(ball, axis=-1, keepdims=True)
        into = np.matmul(axes, ball[..., None])[..., 0]
        first = rng.integers(len(live), size=shape[:2])
        second = (first + rng.integers(1, len(live), size=shape[:2])) % len(live)
        length = 2.38 / np.sqrt(2 * n_dim) * np.exp(0.5 * rng.standard_normal((*shape[:2], 1)))
        along = length * (live[first] - live[second])
        pick = rng.random((*shape[:2], 1)) < self.between
        return np.asarray(self.scale * np.where(pick, along, into))


class Walkers(Sampler):  # type: ignore[misc]
    """dynesty's static sampler, replacing its worst points `walkers` at a time."""

    evaluations: Evaluations
    walkers: int
    leaps: Leaps | None = None

    @classmethod
    def of(
        cls, sampler: Sampler, evaluations: Evaluations, walkers: int, leaps: Leaps | None
    ) -> Walkers:
        """The same sampler, with its initial live points, in this way."""
        new = cls.__new__(cls)
        new.__dict__.update(vars(sampler))
        new.evaluations, new.walkers = evaluations, walkers
        new.leaps = leaps
        new._begin_step()
        return new

    def _begin_step(self) -> None:
        self.evaluations.mark()
        self.dice = self.rstate.bit_generator.state  # a step that is cut off begins again here

    def sample(
        self,
        maxiter: int | None = None,
        maxcall: int | None = None,
        dlogz: float = 0.01,
        logl_max: float = np.inf,
        save_bounds: bool = True,
        **_: Any,
    ) -> Iterator[IteratorResult]:
        """Run the main loop, as dynesty's own does."""
        self.save_bounds = save_bounds
        iterations = self.it + (sys.maxsize if maxiter is None else maxiter)
        calls = self.ncall + (sys.maxsize if maxcall is None else maxcall)
        run = self.saved_run
        while self.it <= iterations and self.ncall <= calls:
            log_z, log_volume, least = self._last()
            left = float(np.logaddexp(0, self.live_logl.max() + log_volume - log_z))
            if left < dlogz or least > logl_max or np.ptp(self.live_logl) == 0:
                return
            order = np.argsort(self.live_logl, kind="stable")
            number = self._how_many(self.live_logl[order])
            dead = order[:number]
            new, calls_now = self._replacements(order, number)
            self._bury(dead, calls_now / number)
            self.live_u[dead], self.live_v[dead], self.live_logl[dead] = new
            self.live_it[dead] = self.it
            self.it += number
            self.ncall += calls_now
            self.eff = 100 * self.it / self.ncall
            self._begin_step()
            names = dict.fromkeys(IteratorResult._fields)
            yield IteratorResult(
                **names | {"nc": calls_now, "logz": run["logz"][-1], "delta_logz": left}
            )

    def _last(self) -> tuple[float, float, float]:
        """Evidence and volume so far and the likelihood of the last dead point, as logarithms."""
        run = self.saved_run
        if not run["logl"]:
            return -1e300, self.logvol_init, -1e300
        return run["logz"][-1], run["logvol"][-1], run["logl"][-1]

    def _how_many(self, heights: Floats) -> int:
        """How many of the sorted live points die: `walkers`, and all that tie with the last."""
        least = heights[min(self.walkers, len(heights) - 1) - 1]
        if least == heights[-1]:
            least = heights[heights < least][-1]
        return int(np.searchsorted(heights, least, side="right"))

    def _replacements(self, order: NDArray[np.intp], number: int) -> tuple[Any, int]:
        least = self.live_logl[order[number - 1]]
        if self.unit_cube_sampling:
            new, calls = self._from_prior(least, number)
        else:
            new, calls = self._from_walks(least, order[number:], number)
        self.update_bound_if_needed(least, ncall=self.ncall + calls)
        return new, calls

    def _from_prior(self, least: float, number: int) -> tuple[Any, int]:
        """Points of the prior above `least`, in the order in which they are found."""
        parts, found, calls = [], 0, 0
        while found < number:
            good, computed = self._above(least, self.rstate.random((2 * self.nlive, self.ndim)))
            parts.append(good)
            found += len(good[0])
            calls += computed
        return tuple(np.concatenate(each)[:number] for each in zip(*parts, strict=True)), calls

    def _from_walks(self, least: float, above: NDArray[np.intp], number: int) -> tuple[Any, int]:
        start = self.rstate.choice(above, number)
        points = self.live_u[start], self.live_v[start], self.live_logl[start]
        live, walk = self.live_u[above], self.internal_sampler
        moved, share, calls = 0.0, 0.0, 0
        if self.leaps is not None:
            moved, share, calls = self.leaps.leap(
                self.rstate, live, points, partial(self._above, least)
            )
        walks = walk.sampler_kwargs["walks"]
        if moved >= REFRESHED:
            walks = -(-walks // SHORTER)
        axes = np.array([self.bound.get_random_axes(self.rstate) for _ in range(number)])
        steps = walk.steps(self.rstate, axes, live, walks)
        taken = walk.advance(self.evaluations, least, points, steps)
        stepped = len(steps) * number
        tuning = {"accept": taken, "reject": stepped - taken, "scale": walk.scale}
        walk.tune(tuning, update=True)
        if self.leaps is not None:
            self.leaps.share = share
        return points, calls + stepped

    def _above(self, least: float, cube: Floats) -> tuple[tuple[Floats, Floats, Floats], int]:
        """Those of the points in the unit cube that are above `least`, and how many it holds."""
        cube = cube[np.all((cube > 0) & (cube < 1), axis=1)]
        theta = self.evaluations.problem.transform(cube)
        height = self.evaluations.many(theta)
        good = height > least
        return (cube[good], theta[good], height[good]), len(cube)

    def _bury(self, dead: NDArray[np.intp], calls: float) -> None:
        """Record live points as dead ones, lowest first."""
        log_z, log_volume, least = self._last()
        heights = self.live_logl[dead]
        volumes = log_volume + np.log1p(-np.arange(1, len(dead) + 1) / (self.nlive + 1))
        before = np.concatenate([[log_volume], volumes[:-1]])
        widths = before + np.log(-np.expm1(volumes - before))
        means = np.logaddexp(np.concatenate([[least], heights[:-1]]), heights) - np.log(2)
        total = np.logaddexp.accumulate(np.concatenate([[log_z], means + widths]))[1:]
        columns = {
            "id": dead,
            "u": self.live_u[dead],
            "v": self.live_v[dead],
            "logl": heights,
            "logvol": volumes,
            "logwt": means + widths,
            "logz": total,
            "it": self.live_it[dead],
        }
        same = {
            "nc": calls,
            "scale": self.internal_sampler.scale,
            "bounditer": self.nbound - 1,
            "boundidx": self.nbound - 1,
            "logzvar": 0.0,
            "h": 0.0,
            "blob": None,
            "proposal_stats": None,
        }
        for name, column in columns.items():
            self.saved_run[name].extend(column)
        for name, value in same.items():
            self.saved_run[name].extend([value] * len(dead))

    def add_live_points(self) -> list[IteratorResult]:
        """Record the live points that are left, at the end."""
        self._bury(np.argsort(self.live_logl, kind="stable"), 1)
        self.added_live = True
        return []
