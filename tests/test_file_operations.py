"""How often cropfit asks the file system for anything: by the batch, never by the case.

On a network file system a call takes a millisecond, and its server serves everybody. What
is counted are all system calls of a process on the crop's folder; what differs between a
crop and one of more batches, divided by the difference, is the price of a batch.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import cropfit as cf

pytestmark = pytest.mark.needs("strace")

SOW = """
import sys, cropfit as cf
folder, name = sys.argv[1].split("/.crop-")
crop = cf.Crop(lambda x: x, name, parent_dir=folder, batchsize=1000, verbosity=0)
crop.sow_combos({"x": range(int(name[1:]) * 1000)})
"""
GROW = """
import sys, cropfit as cf
crop = cf.Crop.load(sys.argv[1], verbosity=0)
assert crop.grow().exit_code == 0
"""
REAP = """
import sys, cropfit as cf
cf.Crop.load(sys.argv[1], verbosity=0).reap(to=False)
"""
LOOK = """
import sys, cropfit as cf
crop = cf.Crop.load(sys.argv[1], verbosity=0)
str(crop.status()), crop.missing_results(), crop.completed_results(), crop.is_ready_to_reap()
"""


def identity(x: int) -> int:
    return x


def sow(folder: Path, batches: int, batchsize: int) -> cf.Crop:
    crop = cf.Crop(identity, f"c{batches}", parent_dir=folder, batchsize=batchsize, verbosity=0)
    crop.sow_combos({"x": range(batches * batchsize)})
    return crop


def calls(location: str, code: str, trace: Path) -> Counter[str]:
    """System call → how often a process that runs `code` made it on the crop's folder."""
    # Not of its children: the heart beats by the second, not by the batch.
    strace = ["strace", "-y", "-e", "trace=%file,%desc", "-o", str(trace)]
    subprocess.run([*strace, sys.executable, "-c", code, location], check=True)
    with open(trace, encoding="utf-8", errors="replace") as file:
        found = [re.match(r"(\w+)\(", line) for line in file if location in line]
    return Counter(match[1] for match in found if match)


def price(
    folder: Path, code: str, batchsize: int, few: int, many: int, grown: bool = False
) -> dict[str, float]:
    """Calls that each further batch costs."""
    found = []
    folder.mkdir(exist_ok=True)
    for batches in (few, many):
        crop = sow(folder, batches, batchsize)
        if grown:
            assert crop.grow().exit_code == 0
        found.append(calls(crop.location, code, folder / "trace"))
    return each_of(*found, many - few)


def each_of(few: Counter[str], many: Counter[str], more: int) -> dict[str, float]:
    return {name: count / more for name, count in (many - few).items()}


def test_sowing_a_batch_costs_the_making_of_its_folder(tmp_path):
    """What is in it follows from the crop's own file and from its number."""
    found = [calls(f"{tmp_path}/.crop-c{n}", SOW, tmp_path / "trace") for n in (10, 60)]

    assert each_of(*found, 50) == {"mkdir": 1.0}


def test_growing_a_batch_costs_twelve_calls(tmp_path):
    """Touch it, claim it, see what others left (5), write results and footer (4), publish it."""
    each = price(tmp_path, GROW, 1, 10, 60)

    assert sum(each.values()) <= 12, each
    assert each["rename"] == 2
    assert each["utimensat"] == 1
    assert each["writev"] <= 2
    assert each["openat"] <= 2
    assert each.get("mkdir", 0) == each.get("unlink", 0) == each.get("fsync", 0) == 0


def test_growing_a_thousand_cases_costs_hardly_more_than_growing_one(tmp_path):
    """What is computed is written once a millisecond; a slow machine may need a few writes."""
    each = price(tmp_path, GROW, 1000, 3, 13)

    writes = each.pop("writev")
    assert writes < 7, "more, and the file would be rewritten as one"
    assert sum(each.values()) <= 10, each


@pytest.mark.parametrize("grown", [False, True])
def test_looking_at_a_crop_costs_nothing_by_the_batch(tmp_path, grown):
    """A folder is read in pieces of some hundred names, and nothing is asked of any of them."""
    each = price(tmp_path, LOOK, 1, 50, 100, grown)

    assert sum(each.values()) * 50 <= 2, each


def test_reaping_a_batch_costs_a_listing_and_the_reading_of_one_file(tmp_path):
    """List it (5), open its file, ask for its size and owner, read it, close it (4)."""
    one, thousand = (price(tmp_path / size, REAP, int(size), 5, 25, True) for size in ("1", "1000"))

    assert sum(one.values()) <= 9, one
    assert one["openat"] == 2
    assert sum(thousand.values()) <= 9, thousand
