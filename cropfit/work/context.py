"""What a running function may ask of the case that it computes.

The worker keeps one `Case` and moves it from case to case, so that asking
nothing costs nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import numpy as np


class Case:
    """The case in hand.

    Attributes
    ----------
    index : int
        Number of the case in the crop, from 0: the same whatever the batching,
        order, host or attempt.
    batch : int
        Number of its batch, from 1.
    attempt : int
        1, or more if the case failed or its worker died before.
    n_pool : int or None
        How many processes the case may start, if whoever grows it said so.
    """

    def __init__(
        self,
        seed: int = 0,
        deadline: float = math.inf,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.index = 0
        self.batch = 0
        self.attempt = 1
        self.n_pool: int | None = None
        self.folder = ""
        self.checkpoints: dict[int, str] = {}
        self._seed = seed
        self._deadline = deadline
        self._asked_to_stop = asked_to_stop
        self._told_to_stop = False
        self._ask_again = 0.0

    @property
    def rng(self) -> np.random.Generator:
        """A new random generator that depends on the crop's seed and `index` alone.

        Every access starts the same stream again: keep it in a variable.
        """
        import numpy as np

        sequence = np.random.SeedSequence(self._seed, spawn_key=(self.index,))
        return np.random.default_rng(sequence)

    @property
    def seed(self) -> int:
        """The same as a plain integer below 2**32, for libraries that want one."""
        import numpy as np

        sequence = np.random.SeedSequence(self._seed, spawn_key=(self.index,))
        return int(sequence.generate_state(1)[0])

    @property
    def checkpoint_dir(self) -> str:
        """A folder for this case alone that outlives the worker.

        Whoever grows the case after this worker died finds in it what was put
        there. It goes away when the case is done.
        """
        if not self.folder:
            import tempfile

            self.folder = tempfile.mkdtemp(prefix="cropfit-")
        folder = f"{self.folder}/checkpoint/{self.index}"
        for path in (os.path.dirname(folder), folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(
                    path, 0o700
                )  # not makedirs: a claim that was taken over must not come back
        self.checkpoints[self.index] = folder
        return folder

    def drop_checkpoint(self, index: int) -> None:
        """Remove the checkpoint folder of a case that is done."""
        folder = self.checkpoints.pop(index, None)
        if folder:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)

    def time_left(self) -> float:
        """Seconds until the worker's deadline; infinite if it has none."""
        return self._deadline - time.time()

    def should_stop(self) -> bool:
        """Whether to save a checkpoint and `leave` soon.

        True when the deadline has passed or `Crop.stop` was called. Looks for the
        latter at most five times a second, so that an inner loop may ask.
        """
        if self.time_left() <= 0:
            return True
        now = time.monotonic()
        if now >= self._ask_again:
            self._told_to_stop, self._ask_again = self._asked_to_stop(), now + 0.2
        return self._told_to_stop

    def leave(self) -> NoReturn:
        """Give the case back unfinished, and end the worker.

        It counts neither as done nor as failed: whoever grows it next finds what is
        in `checkpoint_dir`.
        """
        raise Unfinished(f"case {self.index} was given back by its function")


class Unfinished(BaseException):
    """The function left its case; see `Case.leave`."""


def current_case() -> Case:
    """The case that is being computed by this thread.

    Outside of a worker it is a case 0 of its own, so that a function which asks
    can be called by hand too.
    """
    return getattr(_here, "case", None) or _by_hand


def within_case() -> bool:
    """Whether this thread computes a case, and is not called by hand."""
    return getattr(_here, "case", None) is not None


@contextlib.contextmanager
def entered(case: Case) -> Iterator[None]:
    """Make `case` the current one of this thread; a function may grow another crop inside."""
    former = getattr(_here, "case", None)
    _here.case = case
    try:
        yield
    finally:
        _here.case = former


_by_hand = Case()
_here = threading.local()
