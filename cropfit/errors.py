"""Everything that cropfit raises on purpose.

    CropError
    ├── DesignError (ValueError)              what was asked for cannot be sown
    ├── ExistsError                           a crop of that name, with another design, is there
    ├── NotFoundError                         no crop, batch or case of that name
    ├── NotReadyError                         batches are missing
    ├── DamagedError                          a file is torn or belongs to another design
    ├── FunctionError                         the function cannot be pickled, found or loaded
    ├── ForeignFileError                      a file that would be unpickled is not the user's own
    ├── ResultError (ValueError)              what the function returned does not fit
    ├── LikelihoodError (ValueError)          a likelihood raised, or gave no number
    ├── StageError                            a stage of a pipeline failed; the chain ends there
    ├── CaseError                             a case raised and ``on_error="raise"`` was asked for
    └── MissingDependencyError (ImportError)  an extra is not installed

Each takes one finished message, and so survives pickling.
"""

from __future__ import annotations

__all__ = [
    "CaseError",
    "ConflictError",
    "CropError",
    "DamagedError",
    "DesignError",
    "ExistsError",
    "ForeignFileError",
    "FunctionError",
    "LikelihoodError",
    "MissingDependencyError",
    "NotFoundError",
    "NotReadyError",
    "ResultError",
    "StageError",
]


class CropError(Exception):
    """Base of all errors that cropfit raises on purpose."""


class DesignError(CropError, ValueError):
    """The combos, cases or arguments cannot be sown; nothing was written."""


class ExistsError(CropError):
    """A crop of that name is there already and its design differs."""


class NotFoundError(CropError):
    """There is no such crop, batch or case."""


class NotReadyError(CropError):
    """Batches are missing, so the crop cannot be reaped whole."""


class DamagedError(CropError):
    """A file is torn, altered, or belongs to another design."""


class FunctionError(CropError):
    """The function cannot be pickled, found or loaded."""


class ForeignFileError(CropError):
    """A file that would have to be unpickled is not the user's own."""


class ResultError(CropError, ValueError):
    """What the function returned does not fit what was declared."""


class ConflictError(CropError, ValueError):
    """What is added and what is there have other values in the same place."""


class LikelihoodError(CropError, ValueError):
    """A likelihood raised, or gave something else than a number below infinity."""


class CaseError(CropError):
    """A case raised, and ``on_error="raise"`` was asked for."""


class StageError(CropError):
    """A stage of a pipeline failed, and what comes after it was not begun.

    Attributes
    ----------
    stage : str
        Its name.
    exit_code : int or None
        Of the command that it ran; negative for the number of the signal that ended it.
    output : str
        The last lines that the command printed.
    """

    def __init__(
        self, message: str, stage: str = "", exit_code: int | None = None, output: str = ""
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.exit_code = exit_code
        self.output = output

    def __reduce__(self) -> tuple[type[StageError], tuple[str, str, int | None, str]]:
        return StageError, (str(self), self.stage, self.exit_code, self.output)


class MissingDependencyError(CropError, ImportError):
    """A library of an extra is not installed; the message says how to get it."""
