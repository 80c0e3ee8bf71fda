"""Commands that put right and remove."""

from __future__ import annotations

import json
import os

from shell import cropfit, folders, shell, started


def test_a_killed_worker_is_seen_and_its_batch_given_back(in_case_3):
    crop, gate, _ = in_case_3
    worker = started("grow", "grid")
    gate.wait_for_arrival()
    assert json.loads(cropfit("status", "--json").stdout)["crops"][0]["dead"] == []

    worker.kill()
    worker.communicate()

    assert json.loads(cropfit("status", "--json").stdout)["crops"][0]["dead"] == [1]
    assert json.loads(cropfit("clean", "--json").stdout) == {
        "dead": 1,
        "torn": 0,
        "lost": 0,
        "leftovers": 0,
    }
    assert folders(crop)["sown"] == ["000001"]


def test_a_crop_that_is_growing_is_deleted_by_force_alone(in_case_3, here):
    crop, gate, _ = in_case_3
    worker = started("grow", "grid")
    gate.wait_for_arrival()

    refused = cropfit("delete", "grid", "--yes")
    assert refused.exit_code == 2
    assert "still growing it" in refused.stderr
    assert cropfit("delete", "grid", "--yes", "--force").exit_code == 0

    assert not os.path.exists(crop.location)
    worker.kill()
    worker.communicate()


def test_nothing_is_deleted_without_a_yes(plain):
    code, out, err = shell("delete", "grid")
    assert (code, out) == (2, "")
    assert "--yes" in err
    assert os.path.isdir(plain.location)


def test_failed_batches_are_set_aside_taken_back_and_tried_again(odd_fails):
    cropfit("grow")

    assert cropfit("ignore").stdout == "1 batch set aside: 2\n"
    assert cropfit("ignore", "2", "--undo").stdout == "1 batch sown again: 2\n"
    cropfit("grow")
    assert json.loads(cropfit("retry", "--json").stdout) == {"moved": [2]}
    assert cropfit("retry").stdout == "0 batches sown again\n"
    assert cropfit("retry", "grid", "1").exit_code == 2
    assert folders(odd_fails)["sown"] == ["000002"]
