"""What makes a problem the same as another, told without running it.

Functions are told by their code and by the functions, classes and constants that it
names; data by their values. All of it is the same in every process that runs the same
program.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.disk.fingerprint import digest, fingerprint
from cropfit.work.context import Case

if TYPE_CHECKING:
    from cropfit.fitting.model import Model

__all__ = ["identity"]


def identity(model: Model, data: Any) -> dict[str, str]:
    """A digest of each part: likelihood, constraint, every parameter's prior, and the data."""
    parts = {
        "the likelihood": told(model.log_likelihood),
        "the constraint": told(model.constraint),
        "the order of the parameters": told([list(model.priors), model.as_array]),
        "the data": told(data),
    }
    for name, prior in model.priors.items():
        parts[f"the prior of {name!r}"] = told(prior)
    return parts


def told(value: Any) -> str:
    """Digest of any value."""
    return digest(repr(_plain(value, _Path())).encode())


@dataclasses.dataclass(frozen=True)
class _Path:
    """Where a walk through an object is: the objects around, and the code that was told."""

    around: tuple[int, ...] = ()
    told: dict[int, int] = dataclasses.field(default_factory=dict)

    def inside(self, value: Any) -> _Path:
        return _Path((*self.around, id(value)), self.told)

    def again(self, value: Any) -> tuple[str, int] | None:
        """How far out `value` stands around this place, or as which code it was told before."""
        if id(value) in self.around:
            return "around", self.around[::-1].index(id(value))
        if id(value) in self.told:
            return "told", self.told[id(value)]
        if isinstance(value, types.FunctionType | type):
            self.told[id(value)] = len(self.told)
        return None


def _plain(value: Any, path: _Path) -> Any:
    """`value` as nested tuples of text and numbers, whose repr is the same in every process."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return type(value).__name__, repr(value)
    if isinstance(value, np.ndarray | np.generic):
        return _plain_array(np.asarray(value), path)
    again = path.again(value)
    if again is not None:
        return again
    inside = path.inside(value)
    if isinstance(value, types.FunctionType):
        return _plain_function(value, inside)
    if isinstance(value, types.CodeType):
        return _plain_code(value, inside)
    if isinstance(value, types.MethodType):
        return (
            "method",
            value.__name__,
            _plain(value.__self__, inside),
            _plain(value.__func__, inside),
        )
    if isinstance(value, functools.partial):
        return "partial", *(_plain(v, inside) for v in (value.func, value.args, value.keywords))
    if isinstance(value, Mapping):
        pairs = ((repr(_plain(key, inside)), key) for key in value)
        keys = sorted(pairs, key=lambda pair: pair[0])
        return type(value).__name__, [(text, _plain(value[key], inside)) for text, key in keys]
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(repr(_plain(each, _Path())) for each in value)
    if isinstance(value, list | tuple):
        return type(value).__name__, [_plain(each, inside) for each in value]
    return _plain_object(value, inside)


def _plain_array(array: np.ndarray[Any, Any], path: _Path) -> Any:
    if array.dtype.hasobject:
        return "objects", array.shape, [_plain(each, path) for each in array.ravel().tolist()]
    return str(array.dtype), array.shape, digest(np.ascontiguousarray(array).tobytes())


def _plain_object(value: Any, inside: _Path) -> Any:
    """Tables and Datasets by their values, instances by their attributes, the rest by pickle."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    root = kind.__module__.partition(".")[0]
    if isinstance(value, Case):
        return name  # it tells where a function runs, not what it computes
    if root in ("pandas", "xarray"):
        return name, _plain(_table(value), inside)
    if isinstance(value, type):
        return name, _plain_class(value, inside)
    frozen = getattr(value, "dist", None), getattr(value, "args", None), getattr(value, "kwds", 0)
    if root == "scipy" and frozen[0] is not None:
        return name, frozen[0].name, _plain(frozen[1:], inside)
    if dataclasses.is_dataclass(value):
        own = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return name, _plain_class(kind, inside), _plain(own, inside)
    if _is_plain_instance(value):
        return name, _plain_class(kind, inside), _plain(vars(value), inside)
    return name, fingerprint(value)


def _is_plain_instance(value: Any) -> bool:
    """Whether its attributes are all that there is to it."""
    changes = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")
    inherited = all(getattr(type(value), c, None) is getattr(object, c, None) for c in changes)
    return inherited and hasattr(value, "__dict__")


def _table(value: Any) -> Any:
    """A DataFrame, Series, Dataset or DataArray as the arrays that it holds."""
    if hasattr(value, "to_dataset") and hasattr(value, "coords"):  # a DataArray
        coords = {str(k): v.values for k, v in value.coords.items()}
        return list(value.dims), value.values, coords
    if hasattr(value, "variables"):
        return {str(k): (list(v.dims), v.values) for k, v in value.variables.items()}
    if hasattr(value, "columns"):
        columns = [(str(name), value[name].to_numpy()) for name in value.columns]
        return columns, value.index.to_numpy()
    return [value.to_numpy(), getattr(value, "index", value).to_numpy()]


def _plain_class(kind: type, inside: _Path) -> Any:
    if not _is_own(kind.__module__):
        return kind.__qualname__
    methods = {
        name: each
        for name, each in vars(kind).items()
        if isinstance(each, types.FunctionType | staticmethod | classmethod | property)
    }
    plain = {
        name: [_plain(getattr(each, part, None), inside) for part in ("fget", "__func__")]
        if not isinstance(each, types.FunctionType)
        else _plain(each, inside)
        for name, each in methods.items()
    }
    return kind.__qualname__, sorted(plain.items())


def _plain_function(function: types.FunctionType, inside: _Path) -> Any:
    if not _is_own(function.__module__):
        return "function", function.__module__, function.__qualname__
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    named = {
        name: function.__globals__[name]
        for name in sorted(_names(function.__code__))
        if name in function.__globals__
    }
    used = {
        name: _plain(value, inside)
        for name, value in named.items()
        if not isinstance(value, types.ModuleType)
    }
    return (
        "function",
        _plain_code(function.__code__, inside),
        _plain((function.__defaults__, function.__kwdefaults__, cells), inside),
        sorted(used.items()),
    )


def _plain_code(code: types.CodeType, inside: _Path) -> Any:
    """What the code does, without where it stands."""
    constants = [_plain(each, inside) for each in code.co_consts]
    return code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, constants


def _names(code: types.CodeType) -> set[str]:
    """All globals that a function's code may look up, inner functions included.

    Not attributes: ``np.median`` has nothing to do with a notebook's variable ``median``.
    """
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    own = {
        each.argval
        for each in dis.get_instructions(code)
        if each.opname == "LOAD_NAME" or "GLOBAL" in each.opname
    }
    return own.union(*map(_names, inner))


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _is_own(module: str | None) -> bool:
    """Whether code of this module is the user's, which may change between two runs."""
    import sys
    import sysconfig

    if module in (None, "__main__"):
        return True
    if str(module).partition(".")[0] == "cropfit":
        return False
    place = getattr(sys.modules.get(str(module)), "__file__", None)
    if place is None:
        return str(module) not in sys.modules
    installed = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    return "site-packages" not in place and not place.startswith(tuple(installed))
