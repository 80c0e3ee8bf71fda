"""Commands that look."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from shell import cropfit
from steps import python


def test_errors_tell_the_case_where_it_ran_and_how_to_repeat_it(odd_fails):
    cropfit("grow")

    listed = cropfit("errors", "grid", "--traceback")
    told = json.loads(cropfit("errors", "--json").stdout)["errors"]
    elsewhere = cropfit("errors", "grid", "1", "3")
    script = cropfit("repro", "grid", "2", "1").stdout.strip()

    assert listed.stdout.startswith("batch 2 case 1 (x=3) ValueError: not three  [")
    assert 'raise ValueError("not three\\nreally not")' in listed.stdout
    assert listed.stderr == "grid: 1 failed case: 1 ValueError\n"
    assert [(f["batch"], f["offset"], f["arguments"]) for f in told] == [(2, 1, {"x": 3})]
    assert (elsewhere.exit_code, elsewhere.stdout) == (0, "")
    assert "ValueError: not three" in python(
        f"import runpy; runpy.run_path({script!r}, run_name='__main__')", ok=False
    )


@pytest.mark.parametrize("words", [["grid", "1"], ["grid", "1", "2", "3"], ["grid", "1", "x"]])
def test_a_script_is_made_of_one_batch_and_one_case(plain, words):
    assert cropfit("repro", *words).exit_code == 2
    assert cropfit("repro", "grid", "1", "9").exit_code == 2
    assert os.listdir() == [".crop-grid"]


def test_the_status_of_many_crops_is_shown_and_a_broken_one_told(plain, sow, here):
    (here / "below" / "deeper").mkdir(parents=True)
    sow(lambda x: x, name="other", parent_dir=here / "below" / "deeper")
    sow(lambda x: x, name="torn")
    Path(".crop-torn/crop.json").write_text("{")

    def names(*args: str) -> list[str]:
        return [
            crop["name"] for crop in json.loads(cropfit("status", "--json", *args).stdout)["crops"]
        ]

    assert names() == ["grid"]
    assert names("--all") == ["grid", "other"]
    assert names("below/deeper") == ["other"]
    assert names("grid", "below/deeper/.crop-other") == ["grid", "other"]
    shown = cropfit("status")
    assert shown.exit_code == 2
    assert "grid: 6 cases in 3 batches" in shown.stdout
    assert ".crop-torn" in shown.stderr
    assert cropfit("status", "below").exit_code == 2
