"""``crop.json``: what was sown, readable by a person and by another program.

Short axes stand in it in full. Long ones, tables of cases, shuffled orders and
the places of objects stand in ``cases-<sowing>.npz`` beside it, under names that
``crop.json`` gives as ``{"array": name}``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.attributes import from_plain, to_plain
from cropfit.batching import Batches, Sown
from cropfit.disk.layout import CROP_JSON, Layout, name_of
from cropfit.disk.objects import ObjectReader
from cropfit.disk.publish import write_whole
from cropfit.errors import DamagedError, NotFoundError
from cropfit.grid import Axis, Block, Grid
from cropfit.outputs import Coordinate, Outputs

FORMAT = 1
ENDS = "/ends"  # of the names of arrays that tell where objects stand
INLINE = 1000  # longer axes go to the .npz file

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Manifest:
    """A crop as sown.

    Parameters
    ----------
    layout : Layout
        Where it stands.
    data : dict
        The content of ``crop.json``.
    sowings : tuple of Sown
        Cases and batches of each sowing; more than one after an append.
    ends : tuple of dict
        For each sowing: object axis → where its objects stand in the file.
    outputs : Outputs
        What the function is declared to return.
    """

    layout: Layout
    data: dict[str, Any]
    sowings: tuple[Sown, ...]
    ends: tuple[Mapping[str, NDArray[np.int64]], ...] = field(repr=False)
    outputs: Outputs

    @property
    def name(self) -> str:
        """The crop's name, which is its folder's: crops may be moved and renamed by hand."""
        return name_of(self.layout.root)

    @property
    def num_batches(self) -> int:
        """Batches of all sowings."""
        return sum(sown.batches.num_batches for sown in self.sowings)

    @property
    def num_cases(self) -> int:
        """Cases of all sowings."""
        return sum(sown.batches.num_cases for sown in self.sowings)

    def sowing_of(self, batch: int) -> int:
        """Index in `sowings` of the one that has `batch`.

        Raises
        ------
        NotFoundError
            There is no such batch.
        """
        for index, sown in enumerate(self.sowings):
            if sown.first_batch <= batch < sown.first_batch + sown.batches.num_batches:
                return index
        raise NotFoundError(
            f"{self.layout.root} has no batch {batch}: its {self.num_batches} batches are "
            f"numbered 1 to {self.num_batches}."
        )

    def design(self, batch: int) -> str:
        """Design hash that results of `batch` must carry."""
        return str(self.data["sowings"][self.sowing_of(batch)]["design"])

    def cases_of(self, batch: int) -> tuple[Sown, NDArray[np.intp]]:
        """The sowing of `batch` and the flat indices of its cases in the sowing's grid."""
        sown = self.sowings[self.sowing_of(batch)]
        return sown, sown.batches.cases_of(batch - sown.first_batch + 1)

    def size_of(self, batch: int) -> int:
        """Number of cases in `batch`."""
        sown = self.sowings[self.sowing_of(batch)]
        return sown.batches.size_of(batch - sown.first_batch + 1)

    def readers(self, sowing: int) -> dict[str, ObjectReader]:
        """How the objects of each object axis of a sowing are loaded."""
        path = self.layout.objects(sowing + 1)
        return {name: ObjectReader(path, name, at) for name, at in self.ends[sowing].items()}


# -- writing ---------------------------------------------------------------------------


def write_manifest(layout: Layout, data: Mapping[str, Any], owner: str) -> None:
    """Publish ``crop.json``."""
    marked = {**data, "checksum": _checksum(data)}
    try:
        text = json.dumps(marked, indent=1, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a label that is no text, such as a file's name of another system
        text = json.dumps(marked, indent=1).encode()
    write_whole(layout.crop_json, text + b"\n", owner)


def _checksum(data: Mapping[str, Any]) -> str:
    """CRC-32 of the content, however it is laid out."""
    return f"{zlib.crc32(json.dumps(data, sort_keys=True).encode()):08x}"


def write_arrays(path: str, arrays: Arrays) -> None:
    """Write the arrays of a sowing, if there are any; no pickles."""
    if arrays:
        with open(path, "xb") as file:
            np.savez(file, allow_pickle=False, **arrays)


def coords_to_json(outputs: Outputs, arrays: Arrays) -> dict[str, Any]:
    """Describe the coordinates of inner dimensions; their values go into `arrays`."""
    return {
        name: {
            "values": _store(f"coords/{name}", coordinate.values, arrays),
            "attrs": to_plain(dict(coordinate.attrs)),
        }
        for name, coordinate in outputs.var_coords.items()
    }


def sown_to_json(sown: Sown, arrays: Arrays) -> dict[str, Any]:
    """Describe a sowing; what is long goes into `arrays`."""
    batches = sown.batches
    return {
        "first_case": sown.first_case,
        "first_batch": sown.first_batch,
        "num_cases": batches.num_cases,
        "num_batches": batches.num_batches,
        "batchsize": batches.batchsize,
        "sizes": _store("sizes", batches.sizes, arrays),
        "order": _store("order", batches.order, arrays),
        "blocks": [_block_to_json(block, arrays) for block in sown.grid.blocks],
    }


def axis_to_json(axis: Axis, arrays: Arrays | None = None) -> dict[str, Any]:
    """Describe an axis; without `arrays` its labels stand in full."""
    labels: Any
    if arrays is not None and (len(axis.labels) > INLINE or axis.labels.dtype.kind in "cV"):
        labels = _store(f"{axis.name}/labels", axis.labels, arrays)
    elif axis.labels.dtype.kind in "mM":
        labels = axis.labels.astype(np.int64).tolist()
    else:
        labels = axis.labels.tolist()
    described = {
        "name": axis.name,
        "kind": axis.kind,
        "scalar": axis.scalar,
        "dtype": axis.labels.dtype.str,
        "labels": labels,
        "attrs": to_plain(dict(axis.attrs)),
    }
    if axis.kind == "plain" and axis.values is not None:
        described["values"] = list(axis.values)
    return described


def _block_to_json(block: Block, arrays: Arrays) -> dict[str, Any]:
    key = f"{block.dim}/codes"
    return {
        "dim": block.dim,
        "codes": _store(key, block.codes, arrays),
        "axes": [axis_to_json(axis, arrays) for axis in block.axes],
    }


def _store(key: str, array: NDArray[Any] | None, arrays: Arrays) -> dict[str, str] | None:
    if array is None:
        return None
    arrays[key] = array
    return {"array": key}


# -- reading ---------------------------------------------------------------------------


def read_json(root: str) -> dict[str, Any]:
    """The content of ``crop.json`` in folder `root`, checked, without the arrays beside it.

    Raises
    ------
    NotFoundError
        There is none.
    DamagedError
        It is torn, altered, or of a format that this version does not know.
    """
    path = f"{root}/{CROP_JSON}"
    try:
        with open(path, "rb") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"There is no crop in {root}: {path} is missing.") from None
    return parse_json(text, path)


def parse_json(text: bytes, path: str) -> dict[str, Any]:
    """The content of a ``crop.json`` that was read from `path`, checked.

    Raises
    ------
    DamagedError
        As `read_json`.
    """
    try:
        data = json.loads(text)
        checksum = data.pop("checksum", None)
    except (ValueError, AttributeError, TypeError) as error:
        raise DamagedError(f"{path} is torn or altered: {error}.") from error
    if data.get("format") != FORMAT:
        raise DamagedError(
            f"{path} is of format {data.get('format')}; this cropfit reads format {FORMAT}. "
            f"It was sown with cropfit {data.get('provenance', {}).get('cropfit')}."
        )
    if checksum != _checksum(data):
        raise DamagedError(
            f"{path} is altered: its checksum is {_checksum(data)}, not {checksum}. "
            "Sow again with exists='replace'."
        )
    return dict(data)


def read_manifest(root: str) -> Manifest:
    """Read the crop in folder `root`.

    Raises
    ------
    NotFoundError
        There is none.
    DamagedError
        A file of it is torn, or of a format that this version does not know.
    """
    data = read_json(root)
    layout = Layout(root, sharded=data["sharded"])
    read = [_read_whole(layout, k, entry) for k, entry in enumerate(data["sowings"], start=1)]
    coords = {
        name: Coordinate(_fetch(stored["values"], read[0][1]), from_plain(stored["attrs"]))
        for name, stored in data["var_coords"].items()
    }
    outputs = Outputs.from_json(data["outputs"], coords)
    ends = tuple(
        {key[: -len(ENDS)]: array for key, array in arrays.items() if key.endswith(ENDS)}
        for _, arrays in read
    )
    return Manifest(layout, data, tuple(sown for sown, _ in read), ends, outputs)


def _read_whole(layout: Layout, number: int, entry: dict[str, Any]) -> tuple[Sown, Arrays]:
    try:
        return _read_sowing(layout, number, entry)
    except Exception as error:  # zipfile, zlib and numpy each have their own for torn files
        path = layout.cases(number) if entry["arrays"] else layout.crop_json
        raise DamagedError(
            f"{path} is torn or altered ({type(error).__name__}: {error}). "
            "Sow the same again: that mends it, and results that are there are kept."
        ) from error


def _read_sowing(layout: Layout, number: int, entry: dict[str, Any]) -> tuple[Sown, Arrays]:
    arrays: Arrays = {}
    if entry["arrays"]:
        with np.load(layout.cases(number), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    batches = Batches(
        entry["num_cases"],
        entry["num_batches"],
        entry["batchsize"],
        _fetch(entry["sizes"], arrays),
        _fetch(entry["order"], arrays),
    )
    blocks = tuple(_block_from_json(block, arrays) for block in entry["blocks"])
    return Sown(Grid(blocks), batches, entry["first_case"], entry["first_batch"]), arrays


def _fetch(stored: Any, arrays: Arrays) -> Any:
    return None if stored is None else arrays[stored["array"]]


def _block_from_json(block: dict[str, Any], arrays: Arrays) -> Block:
    axes = tuple(axis_from_json(axis, arrays) for axis in block["axes"])
    return Block(axes, _fetch(block["codes"], arrays), block["dim"])


def axis_from_json(stored: dict[str, Any], arrays: Arrays | None = None) -> Axis:
    """An axis as `axis_to_json` described it; objects stay on disk."""
    labels, dtype = stored["labels"], np.dtype(stored["dtype"])
    if isinstance(labels, dict):
        array = (arrays or {})[labels["array"]]
    elif dtype.kind in "mM":
        array = np.array(labels, np.int64).view(dtype)
    else:
        array = np.array(labels, dtype)
    values = tuple(stored["values"]) if "values" in stored else None
    return Axis(
        stored["name"],
        array,
        values,
        from_plain(stored["attrs"]),
        scalar=stored["scalar"],
        kind=stored["kind"],
    )
