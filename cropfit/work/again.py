"""One case once more, outside of any crop: with the same arguments and the same seed."""

from __future__ import annotations

import os
import pprint
from typing import Any

import cloudpickle

from cropfit.disk.functions import find_modules, name_of, read_work
from cropfit.disk.manifest import Manifest
from cropfit.disk.publish import check_own
from cropfit.errors import NotFoundError
from cropfit.work import context

_SCRIPT = '''"""Case {index} of the crop {name} once more: same arguments, same seed.

{function} with

{arguments}

Everything that it needs is in {pickle}, beside this script.
"""

import pathlib

from cropfit.work.again import replay

if __name__ == "__main__":
    # breakpoint=True starts the debugger at the first line of the function.
    print(replay(pathlib.Path(__file__).with_name({pickle!r}), breakpoint=False))
'''


def write_script(manifest: Manifest, batch: int, offset: int, path: str) -> None:
    """Write a script that computes one case, and a pickle beside it with all that it needs.

    Parameters
    ----------
    manifest : Manifest
        The crop.
    batch : int
        Number of the batch, from 1.
    offset : int
        Place of the case in it, from 0.
    path : str
        The script; ``.pkl`` in place of its ending is the pickle.

    Raises
    ------
    NotFoundError
        There is no such case.
    """
    sown, flat = manifest.cases_of(batch)
    if not 0 <= offset < len(flat):
        raise NotFoundError(
            f"{manifest.layout.root}: batch {batch} has {len(flat)} cases, numbered from 0; "
            f"there is no case {offset}."
        )
    work = read_work(manifest.layout.function, manifest.data["provenance"])
    readers = manifest.readers(manifest.sowing_of(batch))
    (row,) = sown.grid.rows(flat[offset : offset + 1], readers)
    for reader in readers.values():
        reader.close()
    index = sown.first_case + int(flat[offset])
    arguments = {**work.constants, **work.resources, **row}
    told = (work.function, arguments, int(manifest.data["seed"]), index, batch)
    pickle = f"{os.path.splitext(path)[0]}.pkl"
    folders = manifest.data["provenance"]["search_path"]
    with open(pickle, "wb", opener=_private) as file:
        file.write(cloudpickle.dumps((folders, cloudpickle.dumps(told))))
    labels = pprint.pformat(sown.grid.labels_of(int(flat[offset])), width=88)
    text = _SCRIPT.format(
        index=index,
        name=_in_docstring(repr(manifest.name)),
        function=_in_docstring(name_of(work.function)),
        arguments=_in_docstring(labels),
        pickle=os.path.basename(pickle),
    )
    with open(path, "w", encoding="utf-8", opener=_private) as file:
        file.write(text)


def _in_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def replay(path: str | os.PathLike[str], breakpoint: bool = False) -> Any:
    """Call the function that `write_script` kept, as a worker would, and return its result.

    What the function raises is raised.
    """
    check_own(os.fspath(path))
    with open(path, "rb") as file:
        folders, told = cloudpickle.load(file)
    find_modules(folders)
    function, arguments, seed, index, batch = cloudpickle.loads(told)
    case = context.Case(seed)
    case.index, case.batch = index, batch
    with context.entered(case):
        if breakpoint:
            import pdb

            return pdb.runcall(function, **arguments)
        return function(**arguments)
