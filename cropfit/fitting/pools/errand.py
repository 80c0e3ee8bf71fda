"""What a worker is sent to do, and what it answers.

An answer is always a value: what the likelihood raises travels as data, so no pool
takes it for a fault of its own, and every pool stays usable.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from cropfit.errors import LikelihoodError
from cropfit.fitting.pools.shared import find, thick
from cropfit.work.limits import cap_threads

DONE, LACKS, FAILED = "done", "lacks", "failed"


class Answer(NamedTuple):
    """How an errand ended.

    Attributes
    ----------
    kind : str
        `DONE`, `LACKS` (the worker does not have the problem) or `FAILED`.
    value
        The result, as bytes of a pickle where it comes from another process; or the
        exception and the text of its traceback.
    seconds : float
        That the computation took.
    """

    kind: str
    value: Any = None
    seconds: float = 0.0


class Told(Exception):
    """Traceback of an exception in a worker, shown as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}" if self.args else ""


@dataclass(frozen=True)
class Errand:
    """Work for a process that has the problem already, or finds it.

    Parameters
    ----------
    verb : str
        A name of `VERBS`.
    load : bytes
        Pickle of what it works on.
    digest, path : str
        Of the problem.
    threads : int, optional
        How many threads numerical libraries may start.
    """

    verb: str
    load: bytes
    digest: str
    path: str
    threads: int | None = None

    def __call__(self, data: Any = None) -> Answer:
        """Do it; `data` are the problem's bytes, or Ray's reference to them."""
        limit_threads(self.threads)
        try:
            problem = find(self.digest, self.path, _bytes(data))
            if problem is None:
                return Answer(LACKS)
            answer = _do(self.verb, problem, thick(self.load, problem))
            return answer._replace(value=cloudpickle.dumps(answer.value, protocol=5))
        except (Exception, SystemExit) as error:
            return Answer(FAILED, _packed(error))


@dataclass(frozen=True)
class Local:
    """The same for a thread of this process, where nothing needs to travel."""

    verb: str
    load: Any
    problem: Any

    def __call__(self, data: Any = None) -> Answer:
        """Do it."""
        try:
            return _do(self.verb, self.problem, self.load)
        except (Exception, SystemExit) as error:
            return Answer(FAILED, (error, ""))


def read(answer: Answer) -> Any:
    """The result; raises what the worker raised."""
    value = pickle.loads(answer.value) if isinstance(answer.value, bytes) else answer.value
    if answer.kind == DONE:
        return value
    error, text = value
    if text:
        error.__cause__ = Told(text)
    raise error


def _likelihoods(problem: Any, thetas: Any) -> Any:
    return np.asarray(problem.log_likelihoods(thetas), np.float64)


def _transforms(problem: Any, points: Any) -> Any:
    return np.asarray(problem.transform(points), np.float64)


def _map(problem: Any, load: Any) -> Any:
    function, items = load
    return [function(item) for item in items]


VERBS: dict[str, Callable[[Any, Any], Any]] = {
    "likelihoods": _likelihoods,
    "transforms": _transforms,
    "map": _map,
}


def _do(verb: str, problem: Any, load: Any) -> Answer:
    begin = time.perf_counter()
    value = VERBS[verb](problem, load)
    return Answer(DONE, value, time.perf_counter() - begin)


def _packed(error: BaseException) -> bytes:
    """The exception as it can be read again, with the text of its traceback."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, Exception):
        with contextlib.suppress(Exception):
            packed = cloudpickle.dumps((error, text), protocol=5)
            if type(pickle.loads(packed)[0]) is type(error):
                return bytes(packed)
    told = LikelihoodError(f"a worker raised {type(error).__name__}: {error}")
    return pickle.dumps((told, text), 5)


def _bytes(data: Any) -> bytes | None:
    if data is None or isinstance(data, bytes):
        return data
    import ray

    return bytes(ray.get(data))


_threads: int | None = None


def limit_threads(number: int | None) -> None:
    """Cap the threads of numerical libraries in this process, loaded or not."""
    global _threads
    if number is None or number == _threads:
        return
    _threads = number
    cap_threads(number, os.environ)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_limits

        threadpool_limits(number)
