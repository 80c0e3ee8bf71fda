"""Read the results of a crop by its documented format alone, without cropfit.

>>> for arguments, result in read_crop(".crop-grid"):     # doctest: +SKIP
...     print(arguments, result["energy"])
"""

import json
import math
import os
import struct
import sys
import zlib
from itertools import pairwise

import numpy as np


def read_crop(root):
    """Yield the arguments and the results of every case that is grown."""
    with open(f"{root}/crop.json", encoding="utf-8") as file:
        crop = json.load(file)
    for k, sowing in enumerate(crop["sowings"], start=1):
        arrays = np.load(f"{root}/cases-{k}.npz") if sowing["arrays"] else {}
        for batch, cases in enumerate(batches_of(sowing, arrays), start=sowing["first_batch"]):
            folder = f"{root}/grown/{shard(crop, batch)}{batch:06d}"
            if os.path.isdir(folder):
                for offset, result in read_batch(folder, batch, sowing["design"]):
                    yield arguments_of(sowing, arrays, cases[offset]), result


def shard(crop, batch):
    """The folder of a thousand batches that this one stands in, where there are very many."""
    return f"{batch // 1000:03d}/" if crop["sharded"] else ""


def stored(value, arrays):
    """A value of ``crop.json``, or the array that it points to."""
    return arrays[value["array"]] if isinstance(value, dict) else value


def batches_of(sowing, arrays):
    """The flat indices of the cases of each batch."""
    n, number = sowing["num_cases"], sowing["num_batches"]
    order = stored(sowing["order"], arrays)
    order = np.arange(n) if order is None else order
    sizes = stored(sowing["sizes"], arrays)
    if sizes is None and sowing["batchsize"]:
        sizes = [sowing["batchsize"]] * (number - 1)
    elif sizes is None:
        sizes = [n // number + (k < n % number) for k in range(number)]
    ends = [0, *np.cumsum(sizes)[: number - 1], n]
    return [order[begin:end] for begin, end in pairwise(ends)]


def arguments_of(sowing, arrays, flat):
    """Labels of one case."""
    lengths = []
    for block in sowing["blocks"]:
        codes = stored(block["codes"], arrays)
        labels = stored(block["axes"][0]["labels"], arrays)
        lengths.append(len(labels) if codes is None else len(codes))
    found = {}
    for block, row in zip(sowing["blocks"], np.unravel_index(flat, lengths), strict=True):
        codes = stored(block["codes"], arrays)
        for k, axis in enumerate(block["axes"]):
            labels = np.asarray(stored(axis["labels"], arrays))
            found[axis["name"]] = labels[row if codes is None else codes[row][k]].item()
    return found


def read_batch(folder, batch, design):
    """Offsets and results of the whole file of a batch."""
    for name in os.listdir(folder):
        if not name.startswith("results."):
            continue
        with open(f"{folder}/{name}", "rb") as file:
            frames = list(frames_of(file.read()))
        header = json.loads(frames[0][1])
        if frames[-1][0] == 4 and (header["design"], header["batch"]) == (design, batch):
            return [case for kind, payload in frames if kind == 2 for case in cases_of(payload)]
    return []


def frames_of(data):
    """Kind and payload of every whole frame."""
    at = 0
    while data[at : at + 4] == b"CRF1":
        kind, checksum, length = struct.unpack_from("<4xB3xIQ", data, at)
        payload = data[at + 20 : at + 20 + length]
        if zlib.crc32(payload, zlib.crc32(struct.pack("<BQ", kind, length))) == checksum:
            yield kind, payload
        at += 20 + length + -(20 + length) % 16


def cases_of(payload):
    """Offset and results of every case of a results frame."""
    n, first, length = struct.unpack_from("<III", payload)
    described = json.loads(payload[len(payload) - length :])
    offsets = range(first, first + n)
    if first == 2**32 - 1:
        offsets = np.frombuffer(payload, "<u4", n, len(payload) - length - 4 * n).tolist()
    at, columns = 12, {}
    for name, kind, dtype, shape, _ in described["columns"]:
        columns[name], at = column_of(payload, at, n, kind, dtype, shape)
    return [
        (k, {name: values[i] for name, values in columns.items()}) for i, k in enumerate(offsets)
    ]


def column_of(payload, at, n, kind, dtype, shape):
    """The values of one column, and where the next one begins."""
    if kind == "array":
        return take(payload, at, dtype, (n, *shape))
    if kind == "ragged":
        shapes, at = take(payload, at, "<u8", (n, *shape))
        ends = np.cumsum([0, *(math.prod(each) for each in shapes.tolist())])
        flat, at = take(payload, at, dtype, (ends[-1],))
        return [flat[a:b].reshape(s) for (a, b), s in zip(pairwise(ends), shapes, strict=True)], at
    ends, at = take(payload, at, "<u8", (n,))
    data, at = take(payload, at, "u1", (int(ends[-1]),))
    pieces = [data[a:b].tobytes() for a, b in pairwise([0, *ends.tolist()])]
    return [piece.decode() if kind == "text" else piece for piece in pieces], at


def take(payload, at, dtype, shape):
    """An array, and where the next one begins."""
    count = math.prod(map(int, shape))
    data = np.frombuffer(payload, dtype, count, at).reshape([int(n) for n in shape])
    return data, at + data.nbytes + -data.nbytes % 16


if __name__ == "__main__":
    for arguments, result in read_crop(sys.argv[1]):
        print(arguments, result)
