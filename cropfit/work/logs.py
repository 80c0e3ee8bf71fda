"""What the function prints, kept beside the results of its batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cropfit.disk.layout import LOG


@contextmanager
def logged(folder: str) -> Iterator[None]:
    """Append what this process prints to the log of the batch in `folder`, C libraries included.

    For processes of our own: file descriptors 1 and 2 belong to the whole process.
    """
    log = os.open(f"{folder}/{LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    before = [os.dup(number) for number in (1, 2)]
    _flush()
    try:
        for number in (1, 2):
            os.dup2(log, number)
        yield
    finally:
        _flush()
        for number, handle in zip((1, 2), before, strict=True):
            os.dup2(handle, number)
            os.close(handle)
        os.close(log)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
