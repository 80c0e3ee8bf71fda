"""`Pipeline`: stages one after the other, each with what those before it found.

for each stage:  done before? ──yes──▶ read it
                      │no
                 begin ──▶ do ──▶ keep ──▶ numbers for those behind it
                            │
                            └──raises──▶ StageError; nothing behind it is begun
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cropfit.disk.lock import LEASE, locked
from cropfit.errors import CropError, DesignError, StageError
from cropfit.fitting.identity import told
from cropfit.fitting.pipeline.inherit import Best, Inherited
from cropfit.fitting.pipeline.keep import Folder, open_folder
from cropfit.fitting.pipeline.process import all_cores
from cropfit.fitting.pipeline.result import (
    BEGUN,
    DONE,
    FAILED,
    WAITING,
    PipelineResult,
    StageResult,
)
from cropfit.fitting.pipeline.stage import Stage, check_cores
from cropfit.fitting.pipeline.template import known_before
from cropfit.fitting.pipeline.work import Found, Job
from cropfit.fitting.result import Fit
from cropfit.work.context import within_case

__all__ = ["Pipeline"]


class Pipeline:
    """Stages that run one after the other.

    Parameters
    ----------
    stages : sequence of Stage
        Each may take over what those before it found.
    name : str
        Also of the folder that `run` keeps its results in.

    Raises
    ------
    DesignError
        Two stages have one name, or a name that is taken over matches nothing.

    Examples
    --------
    >>> pipeline = Pipeline([
    ...     Stage("coarse", model, sampler="maxlike"),
    ...     Stage("fine", model, inherit={"sigma": around(width=5)}),
    ... ])  # doctest: +SKIP
    >>> result = pipeline.run(data)  # doctest: +SKIP
    """

    def __init__(self, stages: Sequence[Stage], *, name: str = "pipeline") -> None:
        self.stages = list(stages)
        self.name = name
        strange = [each for each in self.stages if not isinstance(each, Stage)]
        if strange or not self.stages:
            raise DesignError(f"A pipeline is a list of Stage, not {strange or 'an empty one'}.")
        names = [each.name for each in self.stages]
        twice = sorted({each for each in names if names.count(each) > 1})
        if twice:
            raise DesignError(f"Two stages are called {twice[0]!r}.")
        self._check()

    def _check(self) -> None:
        """Hold every name that is taken over against what can be found before it."""
        for stage, known in self._known():
            stage.work.check(stage.name, stage.inherit, known)

    def _known(self) -> Iterator[tuple[Stage, set[str] | None]]:
        """Each stage with the names found before it; None if only running will tell."""
        known: set[str] | None = set()
        for stage in self.stages:
            yield stage, known
            gives = stage.gives()
            known = None if known is None or gives is None else known | gives

    def _check_templates(self, data: Any) -> None:
        """Refuse templates that nothing can fill, before anything runs."""
        given = known_before(data)
        for stage, known in self._known():
            missing = set() if known is None else stage.work.asks_for() - known - given
            if missing:
                there = ", ".join(sorted(given | (known or set())))
                raise DesignError(
                    f"Stage {stage.name!r} asks for {{{min(missing)}}}, which neither the data nor "
                    f"a stage before it gives; there are {there}. Write {{{{ and }}}} for braces "
                    "that stay."
                )

    # -- as a model: what differs between the objects of a catalogue ---------------------

    @property
    def priors(self) -> Mapping[str, Any]:
        """The priors of all models, of each parameter as the last stage has it."""
        return {n: p for s in self.stages if s.model is not None for n, p in s.model.priors.items()}

    def with_settings(self, *, priors: Mapping[str, Any]) -> Pipeline:
        """A copy in which every model that has these parameters has other priors of them.

        Raises
        ------
        DesignError
            No model has a parameter of that name.
        """
        strange = [name for name in priors if name not in self.priors]
        if strange:
            known = ", ".join(self.priors) or "none"
            raise DesignError(f"No stage has a parameter {strange[0]!r}; there are {known}.")
        return Pipeline([stage.with_priors(priors) for stage in self.stages], name=self.name)

    def identity(self) -> dict[str, str]:
        """A digest of each part of every stage."""
        return {name: each for stage in self.stages for name, each in stage.identity().items()}

    # -- running -------------------------------------------------------------------------

    def run(
        self,
        data: Any = None,
        plot_result: bool = False,
        n_cores_list: Sequence[int] | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        seed: int | None = None,
    ) -> PipelineResult:
        """Run all stages that are not done yet.

        Parameters
        ----------
        data
            Whatever the stages take.
        plot_result : bool
            Save the best fit over the data in each stage's folder, or a corner plot where
            the model predicts nothing.
        n_cores_list : sequence of int, optional
            One a stage, instead of the stages' own.
        folder : path, optional
            Where each finished stage is kept, so that the same call goes on after a kill; by
            default the pipeline's name, in the current folder.
        seed : int, optional
            Every stage has its own by it. Drawn and kept in the folder if not given.

        Returns
        -------
        PipelineResult

        Raises
        ------
        StageError
            A stage failed; with its name, exit code and last output. The same call tries it
            again, or what was put in its place.
        ExistsError
            The folder has stages of other data, models or options; says what differs.
        CropError
            Another process runs it in that folder right now; says which, and where.
        """
        path = os.path.abspath(os.fspath(folder if folder is not None else self.name))
        cores = self._cores(n_cores_list)
        kept = self._folders(path, data)
        _check(kept)
        with locked(path, _patience()):
            _check(kept)  # who ran it until now may have been another pipeline
            seed = open_folder(path, seed)
            result = self._empty(kept, path)
            best: dict[str, Best] = {}
            for place, stage in enumerate(self.stages):
                job = self._job(place, data, kept[place], best, result, cores[place], seed)
                self._one(place, stage, job, kept[place], result.stages[place])
                self._remember(stage, result.stages[place], best)
                if plot_result:
                    _draw(result.stages[place])
        return result

    def plan(
        self,
        data: Any = None,
        n_cores_list: Sequence[int] | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        write: bool = False,
    ) -> PipelineResult:
        """How far a run is, without running anything.

        Parameters
        ----------
        data, n_cores_list, folder, seed
            As of `run`.
        write : bool
            Also write the input files of programs, as far as their values are known, and
            note what each stage would do.

        Raises
        ------
        ExistsError
            As of `run`.
        """
        path = os.path.abspath(os.fspath(folder if folder is not None else self.name))
        cores = self._cores(n_cores_list)
        kept = self._folders(path, data)
        _check(kept)
        result = self._empty(kept, path)
        number = open_folder(path, seed) if write else 0
        best: dict[str, Best] = {}
        for place, stage in enumerate(self.stages):
            found = result.stages[place]
            if not _restore(found, kept[place], stage, data):
                failure = kept[place].failure()
                found.state = FAILED if failure else BEGUN if kept[place].begun else WAITING
                found.notes = [failure] if failure else []
                if write:
                    job = self._job(place, data, kept[place], best, result, cores[place], number)
                    os.makedirs(job.folder, 0o700, exist_ok=True)
                    found.notes += stage.work.prepare(job)
            self._remember(stage, found, best)
        return result

    def _cores(self, given: Sequence[int] | None) -> list[int]:
        cores = [stage.n_cores for stage in self.stages] if given is None else list(given)
        if len(cores) != len(self.stages):
            raise DesignError(
                f"n_cores_list has {len(cores)} numbers for {len(self.stages)} stages."
            )
        for stage, number in zip(self.stages, cores, strict=True):
            check_cores(stage.name, number)
        return [all_cores() if number == -1 else number for number in cores]

    def _folders(self, path: str, data: Any) -> list[Folder]:
        self._check_templates(data)
        identity, folders = {"the data": told(data)}, []
        for stage in self.stages:
            identity = {**identity, **stage.identity()}
            folders.append(Folder(path, stage.name, identity))
        return folders

    def _empty(self, kept: Sequence[Folder], path: str) -> PipelineResult:
        stages = [
            StageResult(stage.name, stage.work.kind, folder=each.path)
            for stage, each in zip(self.stages, kept, strict=True)
        ]
        return PipelineResult(self.name, stages, path)

    def _job(
        self,
        place: int,
        data: Any,
        kept: Folder,
        best: Mapping[str, Best],
        result: PipelineResult,
        n_cores: int,
        seed: int,
    ) -> Job:
        former = {each.name: each.value for each in result.stages[:place]}
        own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
        stage = self.stages[place]
        return Job(stage.name, data, kept.path, dict(best), former, stage.inherit, n_cores, own)

    def _one(self, place: int, stage: Stage, job: Job, kept: Folder, found: StageResult) -> None:
        """Do one stage, or read what it found before."""
        if _restore(found, kept, stage, job.data):
            return
        begin = time.monotonic()
        kept.begin()
        try:
            made = stage.work.do(job)
            _fill(found, stage, made, time.monotonic() - begin)
            kept.finish(found.value, _record(found))
        except Exception as error:
            where = f"Stage {stage.name!r} ({place + 1} of {len(self.stages)})"
            failure = _failure(where, stage.name, error)
            kept.fail(str(failure))
            raise failure from error

    @staticmethod
    def _remember(stage: Stage, found: StageResult, best: dict[str, Best]) -> None:
        for name, (value, sigma) in found.numbers.items():
            best[name] = Best(value, sigma, stage.name)

    def __repr__(self) -> str:
        stages = " → ".join(f"{each.name} ({each.work.kind})" for each in self.stages)
        return f"<Pipeline {self.name}: {stages}>"

    def _repr_html_(self) -> str:
        stages = [StageResult(stage.name, stage.work.kind) for stage in self.stages]
        return PipelineResult(self.name, stages, "")._repr_html_()


def _check(kept: Sequence[Folder]) -> None:
    for each in kept:
        each.check()


def _patience() -> float:
    """How long to wait for who runs the same: for a batch's former worker until it is dead."""
    return 2 * LEASE if within_case() else 0.0


def _fill(found: StageResult, stage: Stage, made: Found, seconds: float) -> None:
    found.value, found.inherited, found.notes = made.value, made.inherited, made.notes
    found.numbers = stage.numbers(made.value) if isinstance(made.value, Fit) else made.numbers
    missing = sorted((stage.declared or set()) - set(found.numbers))
    if missing:
        raise DesignError(f"it found no number {missing[0]!r}, which gives= promises")
    found.seconds, found.state = seconds, DONE


def _record(found: StageResult) -> dict[str, Any]:
    inherited = [[each.name, each.how, each.value, each.stage] for each in found.inherited]
    numbers = {name: list(each) for name, each in found.numbers.items()}
    told_too = {"notes": found.notes, "seconds": found.seconds}
    return {"numbers": numbers, "inherited": inherited, **told_too}


def _restore(found: StageResult, kept: Folder, stage: Stage, data: Any) -> bool:
    """Read what a stage found before; whether there is something."""
    known = kept.finished()
    if known is None:
        return False
    found.value, record = known
    found.numbers = {name: (each[0], each[1]) for name, each in record["numbers"].items()}
    found.inherited = [Inherited(*each) for each in record["inherited"]]
    found.notes, found.seconds = list(record["notes"]), float(record["seconds"])
    found.state, found.resumed = DONE, True
    if isinstance(found.value, Fit) and stage.model is not None:
        fixed = {each.name: each.value for each in found.inherited if each.how == "fix"}
        model = stage.model.with_settings(fixed=fixed) if fixed else stage.model
        found.value.model, found.value.data = model, data
    return True


def _failure(where: str, name: str, error: Exception) -> StageError:
    if isinstance(error, StageError):
        return StageError(f"{where} failed: {error}", name, error.exit_code, error.output)
    kind = "" if isinstance(error, CropError) else f"{type(error).__name__}: "
    return StageError(f"{where} failed: {kind}{error}", name)


def _draw(found: StageResult) -> None:
    from cropfit.fitting.pipeline.picture import draw

    if found.fit is not None:
        found.picture, note = draw(found.fit, found.folder)
        found.notes = [*found.notes, note] if note else found.notes
