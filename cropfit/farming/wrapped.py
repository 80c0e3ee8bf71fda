"""What is made of a function and still is the function: callable, documented, picklable."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Wrapped"]

_OF_THE_FUNCTION = (*functools.WRAPPER_ASSIGNMENTS, "__wrapped__")
_LAST = ("last_ds", "last_df", "_full_ds", "_full_df")  # of this process alone


class Wrapped:
    """Base of Runner, Harvester and Sampler: called, shown and signed like their function.

    Pickled by name where a module holds it under its function's name, as functions are;
    else, and in ``__main__``, by value.
    """

    fn: Any  # the function, which subclasses have as an attribute or a property

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.fn(*args, **kwargs)

    def _wear(self, fn: Callable[..., Any]) -> None:
        """Take on name, module, documentation and signature of `fn`."""
        for name in _OF_THE_FUNCTION:
            vars(self).pop(name, None)
        functools.update_wrapper(self, fn, updated=())

    def __reduce_ex__(self, protocol: Any) -> Any:
        module, name = getattr(self, "__module__", ""), vars(self).get("__qualname__", "")
        if name and module != "__main__" and _find(module, name) is self:
            return name
        import cloudpickle

        kept = {key: value for key, value in vars(self).items() if key not in _OF_THE_FUNCTION}
        kept.update({key: None for key in _LAST if key in kept})
        return _rebuilt, (type(self), cloudpickle.dumps(kept, protocol=5))


def _find(module: str, name: str) -> Any:
    """What a module that is loaded holds under a dotted name."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _rebuilt(kind: Any, state: bytes) -> Any:
    import cloudpickle

    made = kind.__new__(kind)
    vars(made).update(cloudpickle.loads(state))
    made._wear(made.fn)
    return made
