"""dynesty: nested sampling, static or dynamic.

By default the static sampler moves many walkers together (see `walkers`), whether the
likelihood is vectorised, pooled or neither, so that the numbers are the same. With
``sample="rwalk"`` or another of dynesty's own methods it is dynesty as it is, number for
number.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.errors import DesignError, LikelihoodError
from cropfit.fitting.samplers.base import Draws, Halt, Task, check_options, missing
from cropfit.fitting.samplers.evaluations import Evaluations
from cropfit.fitting.samplers.keeper import Keeper

if TYPE_CHECKING:
    from cropfit.fitting.problem import Problem

__all__ = ["run", "run_dynamic"]

WALKERS = "walkers"
N_LIVE = 500
FACC = 0.35  # share of steps that are taken, to which their length is tuned
UNBORN = ("INIT", "LIVEPOINTSINIT")  # a dynamic sampler before its first iteration
RESUMABLE = ("INBASE", "INBATCH")  # states in which it can be saved
OURS = {
    *("loglikelihood", "prior_transform", "ndim", "nlive", "rstate", "pool", "use_pool", "blob"),
    *("periodic", "reflective", "live_points", "logl_args", "logl_kwargs", "ptform_args", "dlogz"),
    *("ptform_kwargs", "print_progress", "print_func", "checkpoint_file", "checkpoint_every"),
    *("resume", "self", "cls", "history_filename", "save_evaluation_history"),
    *("dlogz_init", "nlive_init"),
}


def run(problem: Problem, task: Task) -> Draws:
    """Static nested sampling.

    Options are those of ``dynesty.NestedSampler`` and its ``run_nested``, and with
    ``sample="walkers"`` also ``walkers``, how many are moved together, ``between``, the share
    of steps that go along the difference of two live points, and ``leaps``, whether walkers are
    first drawn anew from an ellipsoid around the live points where most such draws succeed:
    their walks are then a quarter as long.
    """
    return _Run(problem, task, dynamic=False).draws()


def run_dynamic(problem: Problem, task: Task) -> Draws:
    """Dynamic nested sampling.

    Options are those of ``dynesty.DynamicNestedSampler`` and its ``run_nested``.
    """
    return _Run(problem, task, dynamic=True).draws()


class _Lanes:
    """What dynesty takes for a pool: `size` proposals at a time, computed where the task says."""

    def __init__(self, evaluations: Evaluations, size: int) -> None:
        self.evaluations = evaluations
        self.size = size

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        from dynesty.utils import LogLikelihood, LoglOutput

        if isinstance(function, LogLikelihood):  # of all initial live points
            values = self.evaluations.many(np.array(list(items)))
            return [LoglOutput(value, False) for value in values]
        pool = self.evaluations.task.pool
        if pool is None or self.size == 1:
            return [function(item) for item in items]
        return pool.map(function, items)


class _Run:
    """One run, from its checkpoint or from the start."""

    def __init__(self, problem: Problem, task: Task, *, dynamic: bool) -> None:
        try:
            import dynesty
        except ImportError as error:
            raise missing("dynesty", "dynesty", "fit") from error
        self.problem, self.task, self.dynamic = problem, task, dynamic
        self.kind = dynesty.DynamicNestedSampler if dynamic else dynesty.NestedSampler
        self.evaluations = Evaluations(problem, task)
        live = {"evaluations": self.evaluations, "problem": problem}
        versions = {"dynesty": dynesty.__version__}
        self.keeper = Keeper(task.checkpoint, task.checkpoint_every, live, versions)
        self.sampler: Any = None
        self.name = "dynesty-dynamic" if dynamic else "dynesty"
        self.together = not dynamic and task.options.get("sample", WALKERS) == WALKERS
        self.making, self.running = self._options()

    def _options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What goes to the sampler's maker and what to its run, defaults included."""
        make = self.kind.__init__ if self.dynamic else self.kind.__new__
        for_making = set(inspect.signature(make).parameters) - OURS
        for_running = set(inspect.signature(self.kind.run_nested).parameters) - OURS
        given = {"sample": "rwalk" if self.dynamic else WALKERS, **self.task.options}
        if self.together:
            for_making = (for_making | {"walkers", "between", "leaps"}) - {
                "ncdim",
                "slices",
                "queue_size",
            }
        check_options(self.name, given, for_making | for_running)
        making = {n: value for n, value in given.items() if n in for_making}
        running = {n: value for n, value in given.items() if n in for_running}
        making["nlive"] = n_live = self._n_live()
        if self.together:
            walks = 25 + self.problem.n_dim**2 // 3
            ours = {"walkers": max(1, n_live // 5), "walks": walks, "facc": FACC, "between": 0.5}
            making = {**ours, "bound": "single", **making}
        elif self.task.pool is not None:
            making.setdefault("queue_size", self.task.pool.queue_size)
        running.setdefault("save_bounds", False)
        self.dlogz = self.task.dlogz
        if self.dlogz is None:
            self.dlogz = 0.01 if self.dynamic else 0.01 + 0.001 * (n_live - 1)
        running["dlogz_init" if self.dynamic else "dlogz"] = self.dlogz
        return making, running

    def _n_live(self) -> int:
        n_dim, asked = self.problem.n_dim, self.task.n_live
        n_live = max(N_LIVE, 25 * n_dim) if asked is None else asked
        if n_live <= 2 * n_dim:
            raise DesignError(
                f"n_live={n_live} is too few for {n_dim} parameters: more than {2 * n_dim} are "
                f"needed, and {25 * n_dim} are better."
            )
        return n_live

    def draws(self) -> Draws:
        """Sample until the end, or until it is time to stop."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="dynesty")
            why = self._sample()
            if not self._started():
                return Draws.none(self.problem, self.evaluations.calls, why, self._settings())
            return self._collect(why)

    def _sample(self) -> str:
        """Run the sampler; why it ended early, if it did."""
        self.evaluations.look = self._look_within
        try:
            resumed = self._resume()
            if self.sampler is None:
                self._make()
            self.sampler.run_nested(
                **self.running, resume=resumed, print_progress=True, print_func=self._look
            )
        except Halt as halt:
            self._save()
            self.evaluations.look = None
            if self._started():
                ending = {**self.running, "maxiter": -1}
                self.sampler.run_nested(**ending, resume=True, print_progress=False)
            return str(halt)
        except RuntimeError as error:
            if self._started():
                raise
            raise LikelihoodError(f"No start for dynesty: {error}") from error
        return ""

    def _resume(self) -> bool:
        """Take up the checkpoint; whether there is a sampler in it."""
        state = self.keeper.load()
        if state is None:
            return False
        self.evaluations.resume(state["journal"])
        self.sampler = state["sampler"]
        if self.sampler is None:
            return False
        if self.together:
            self.sampler.rstate.bit_generator.state = state["dice"]
        lanes = _Lanes(self.evaluations, self.sampler.queue_size)
        inner = [getattr(self.sampler, name, None) for name in ("sampler", "batch_sampler")]
        for each in [self.sampler, *inner]:
            if each is not None:
                each.pool, each.mapper = lanes, lanes.map
        return True

    def _make(self) -> None:
        """A new sampler; a static one computes its live points here."""
        making = dict(self.making)
        walkers, between = making.pop("walkers", 0), making.pop("between", 0.0)
        leaping = making.pop("leaps", True)
        if self.together:
            from cropfit.fitting.samplers.leaps import Leaps
            from cropfit.fitting.samplers.walkers import Walk, Walkers

            leaps = Leaps(worth=making["walks"] / 4) if leaping else None
            making["sample"] = Walk(walks=making["walks"], between=between)
        size = making.pop("queue_size", None) or 1
        sampler = self.kind(
            self.evaluations.one,
            self.problem.transform,
            self.problem.n_dim,
            **making,
            **self._boundaries(),
            rstate=np.random.default_rng(self.task.seed),
            pool=_Lanes(self.evaluations, size),
            queue_size=size,
            use_pool={"prior_transform": False, "update_bound": False},
        )
        # dynesty's own wrappers print what our errors say
        sampler.loglikelihood.loglikelihood = self.evaluations.one
        sampler.prior_transform = self.problem.transform
        self.sampler = sampler
        if self.together:
            self.sampler = Walkers.of(sampler, self.evaluations, walkers, leaps)

    def _boundaries(self) -> dict[str, list[int] | None]:
        """Periodic and reflective parameters; one that is neither must be left to dynesty's own.

        Its methods fail if all parameters have such a boundary. Without it, a walk that
        leaves the prior there only stays where it is.
        """
        found = {"periodic": self.problem.periodic, "reflective": self.problem.reflective}
        if not self.together and sum(map(len, found.values())) == self.problem.n_dim:
            last = "reflective" if found["reflective"] else "periodic"
            found[last] = found[last][:-1]
        return {name: indices or None for name, indices in found.items()}

    def _started(self) -> bool:
        """Whether there are live points, so that the sampler can be saved, and ended."""
        state = getattr(self.sampler, "internal_state", None)
        return self.sampler is not None and (state is None or state.name not in UNBORN)

    # -- looks at the clock -----------------------------------------------------------

    def _look(self, result: Any, iterations: int, calls: int, **_: Any) -> None:
        """What dynesty calls between two iterations, for printing."""
        state = getattr(self.sampler, "internal_state", None)
        between = self.sampler.added_live if state is None else state.name not in RESUMABLE
        if between:
            return
        if not self.together:
            self.evaluations.look = None  # this place is the only one to save and to end at
            self.evaluations.mark()
            if self.task.pool is not None:
                self.evaluations.calls = self.sampler.ncall  # others computed them
        numbers = {"log_evidence": result.logz, "dlogz": result.delta_logz}
        self.task.tell(calls=self.evaluations.calls, **numbers)
        self._look_within()

    def _look_within(self) -> None:
        if self.keeper.due():
            self._save()
        self.evaluations.check()

    def _save(self) -> None:
        self.keeper.save(self._state)
        self.evaluations.spare = 2 * self.keeper.took

    def _state(self) -> dict[str, Any]:
        sampler = self.sampler if self._started() else None
        dice = sampler.dice if self.together and sampler is not None else None
        return {"sampler": sampler, "journal": self.evaluations.journal(), "dice": dice}

    # -- the end ----------------------------------------------------------------------

    def _collect(self, why: str) -> Draws:
        results = self.sampler.results
        ended = why or self._limit()
        return Draws(
            samples=np.asarray(results["samples"]),
            log_weights=np.asarray(results["logwt"]),
            log_likelihood=np.asarray(results["logl"]),
            log_evidence=float(results["logz"][-1]),
            log_evidence_error=float(results["logzerr"][-1]),
            calls=self.evaluations.calls,
            converged=not ended,
            why=ended or "converged",
            settings=self._settings(),
        )

    def _limit(self) -> str:
        """Which of the user's limits was reached, if any."""
        reached = {"maxiter": self.sampler.it, "maxcall": self.sampler.ncall}
        for name, number in reached.items():
            limit = self.running.get(name)
            if limit is not None and number > limit:
                return f"{name}={limit}"
        return ""

    def _settings(self) -> dict[str, Any]:
        import dynesty

        made = {name: value for name, value in self.making.items() if name != "nlive"}
        settings = {**made, **self.running, "n_live": self.making["nlive"]}
        settings.pop("dlogz_init", None)
        settings["dlogz"] = self.dlogz
        return {**settings, "dynesty": dynesty.__version__}
