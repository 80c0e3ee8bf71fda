"""What is tried on a file system is true of the one that tests run on, and leaves nothing."""

from __future__ import annotations

import os
import time

import pytest

from cropfit.disk import probe


@pytest.fixture
def place(tmp_path):
    with probe.workbench(str(tmp_path)) as place:
        yield place
    assert os.listdir(tmp_path) == []


def test_of_two_processes_one_wins_each_folder(place):
    assert probe.race(place) == probe.Race(probe.FOLDERS, probe.FOLDERS, 0, 0)
    assert os.listdir(f"{place}/sown") == []


@pytest.mark.parametrize(
    "fact",
    [probe.refuses_full, probe.touch_moves, probe.lists_fresh, probe.appends, probe.is_private],
)
def test_a_local_file_system_does_what_crops_need(place, fact):
    assert fact(place) is True


def test_clock_and_sync_are_measured_in_seconds(place):
    begun = time.perf_counter()
    assert abs(probe.skew(place)) < 60
    assert 0 <= probe.sync_seconds(place) < time.perf_counter() - begun


def test_the_workbench_is_gone_however_the_work_ends(tmp_path):
    def fail():
        with probe.workbench(str(tmp_path)) as place:
            os.mkdir(f"{place}/something")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == []


def test_room_is_what_the_user_may_have(tmp_path):
    told = os.statvfs(tmp_path)
    room = probe.room(str(tmp_path))
    assert 0 <= room.bytes <= told.f_blocks * told.f_frsize
    assert room.files is None or 0 <= room.files <= told.f_files
