"""The command that reaps."""

from __future__ import annotations

import json
import os

import xarray as xr
from shell import cropfit


def test_what_is_not_grown_ends_a_reap_with_75_and_what_has_failed_with_1(odd_fails, here):
    assert cropfit("reap").exit_code == 75
    cropfit("grow")
    refused = cropfit("reap")
    assert refused.exit_code == 1
    assert "cropfit errors grid" in refused.stderr
    assert cropfit("reap", "--wait").exit_code == 1
    assert os.listdir(here) == [".crop-grid"]


def test_an_incomplete_reap_is_saved_and_keeps_the_crop(odd_fails):
    cropfit("grow")
    done = cropfit("reap", "--allow-incomplete", "--diagnostics", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["deleted"]) == (0, False)
    assert os.path.isdir(odd_fails.location)
    with xr.open_dataset(told["saved"]) as ds:
        assert list(ds.y.isnull().values) == [False, False, False, True, False, False]
        assert "case_status" in ds


def test_results_go_where_they_were_asked_to(plain, here):
    cropfit("grow")
    assert cropfit("reap", "--no-load").exit_code == 2
    assert cropfit("reap", "--to", "there.txt").exit_code == 2
    assert cropfit("reap", "--to", "there.nc", "--keep").exit_code == 0
    assert cropfit("reap", "--to", "there.nc", "--no-load", "--overwrite").exit_code == 0
    assert os.listdir(here) == ["there.nc"]
