"""Open files: none is left behind by a batch, and many that others hold are no hindrance."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

import cropfit as cf


def crop_in(folder: Path) -> cf.Crop:
    crop = cf.Crop(lambda x: 1.0 * len(x), "it", parent_dir=folder, var_names=["z"], verbosity=0)
    crop.sow_combos({"x": {f"{n}": [n] * n for n in range(40)}})
    return crop


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_growing_objects_leaves_no_file_open(tmp_path: Path) -> None:
    """Each batch reads its objects from the crop's file; a worker grows thousands of batches."""
    crop = crop_in(tmp_path)
    before = open_files()
    assert len(crop.grow().grown) == 40
    crop_in(tmp_path)  # sown again: every object is looked at
    crop.repro(1, 0, tmp_path / "repro.py")
    crop.peek()
    assert open_files() == before
    assert crop.reap(to=False)["z"].values.tolist() == [*range(40)]
    assert open_files() == before


def test_a_supervisor_works_in_a_process_with_a_thousand_open_files(tmp_path: Path) -> None:
    """A notebook may have them; select() takes no descriptor beyond 1023."""
    crop = crop_in(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip(f"no more than {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    held = []
    try:
        held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        assert len(crop.grow(num_workers=2).grown) == 40
    finally:
        for handle in held:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
