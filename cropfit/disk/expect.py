"""Results held against what was declared of their inner dimensions, while their case is in hand.

A column that is whole (one dtype, one shape) is judged at once; only where that shape
is not the declared one, or there is none, each case is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from cropfit.disk.columns import Encoded, Spec
from cropfit.disk.exact import as_arrays
from cropfit.errors import ResultError
from cropfit.outputs import Outputs

__all__ = ["Expected", "expected_of", "misfits"]

Expected: TypeAlias = Mapping[str, tuple[tuple[str, "int | None"], ...]]
"""Output → name and length of each inner dimension; None where any length will do."""

_DEPTH = 16  # levels of nested lists that are taken for an array


def expected_of(outputs: Outputs) -> Expected:
    """What is declared: dimensions by ``var_dims``, their lengths by ``var_coords``."""
    lengths = {dim: len(coord.values) for dim, coord in outputs.var_coords.items()}
    return {
        name: tuple((dim, lengths.get(dim)) for dim in dims)
        for name, dims in outputs.var_dims.items()
    }


def misfits(
    expected: Expected, columns: Mapping[str, Sequence[Any]], encoded: Sequence[Encoded]
) -> dict[int, ResultError]:
    """Position → what is wrong, of the cases whose results contradict the declaration.

    Parameters
    ----------
    expected
        What was declared.
    columns
        Output → one value a case.
    encoded
        The same columns as bytes.
    """
    found: dict[int, ResultError] = {}
    for column in encoded:
        name = column.spec.name
        dims = expected.get(name)
        if dims is None or _is_whole(column.spec, dims):
            continue
        for position, value in enumerate(columns[name]):
            wrong = _wrong(value, dims)
            if wrong:
                found.setdefault(position, ResultError(_told(name, dims, wrong)))
    return found


def _is_whole(spec: Spec, dims: Sequence[tuple[str, int | None]]) -> bool:
    return spec.kind == "array" and _agree(spec.shape, dims)


def _agree(shape: Sequence[int], dims: Sequence[tuple[str, int | None]]) -> bool:
    return len(shape) == len(dims) and all(
        length is None or length == size for size, (_, length) in zip(shape, dims, strict=True)
    )


def _wrong(value: Any, dims: Sequence[tuple[str, int | None]]) -> str | None:
    """What a value is instead of an array of these dimensions; None if it is one."""
    arrays = as_arrays([value], _DEPTH)
    if arrays is None:
        inner = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
        return f"a {type(value).__name__}{inner} came, which no array of numbers or text holds"
    shape = arrays[0].shape
    if _agree(shape, dims):
        return None
    what = f"an array of shape {shape}" if shape else f"a single {type(value).__name__}"
    return f"{what} came"


def _told(name: str, dims: Sequence[tuple[str, int | None]], wrong: str) -> str:
    wanted = ", ".join(dim if length is None else f"{dim} ({length})" for dim, length in dims)
    return f"{name!r} was declared with the inner dimensions {wanted}, but {wrong}."
