"""Files appear whole or not at all; nothing is left where a disk refuses."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys

import pytest

from cropfit.disk import publish
from cropfit.errors import ForeignFileError

OWNER = "host.1.0-0-0"


def test_a_file_is_published_whole_and_private(tmp_path):
    path = tmp_path / "file"
    publish.write_whole(str(path), b"old", OWNER)

    publish.write_whole(str(path), b"new" * 100_000, OWNER, sync=True)

    assert path.read_bytes() == b"new" * 100_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_cannot_be_synced_among_many_is_told(tmp_path):
    paths = [str(tmp_path / str(k)) for k in range(20)]
    for path in paths:
        open(path, "wb").close()
    publish.sync_files(paths)
    os.unlink(paths[11])

    with pytest.raises(FileNotFoundError, match="/11'"):
        publish.sync_files(paths)


@pytest.mark.parametrize("step", ["open", "write", "fsync", "close", "replace"])
def test_whichever_step_fails_what_was_there_stays_and_nothing_is_left(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    real = getattr(os, step)

    def full(*args):
        if step == "close":
            real(*args)  # closed it is, even where this fails
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(publish.os, step, full)
        with pytest.raises(OSError, match="No space"):
            publish.write_whole(str(path), b"new", OWNER, sync=True)

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


LIMITED = """
import resource, signal, sys
from cropfit.disk.publish import write_whole

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(sys.argv[1], b"x" * 5000, "host.1.0-0-0")
except OSError as error:
    print(error.strerror)
"""


def test_a_file_that_grows_too_long_leaves_nothing(tmp_path):
    path = tmp_path / "file"

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )

    assert done.stdout == "File too large\n"
    assert os.listdir(tmp_path) == []


def test_a_short_write_is_gone_on_with(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(publish.os, "write", lambda handle, view: real(handle, view[:7]))

    publish.write_whole(str(tmp_path / "file"), bytes(range(100)), OWNER)

    assert (tmp_path / "file").read_bytes() == bytes(range(100))


def test_two_who_publish_the_same_file_do_not_share_a_draft(tmp_path, monkeypatch):
    """The second comes between the first one's writing and renaming."""
    path = str(tmp_path / "file")
    real = os.replace

    def meanwhile(draft, target):
        monkeypatch.setattr(publish.os, "replace", real)
        publish.write_whole(path, b"second", "host.2.0-0-0")
        real(draft, target)

    monkeypatch.setattr(publish.os, "replace", meanwhile)
    publish.write_whole(path, b"first", OWNER)

    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"first"


def test_the_clock_is_the_file_systems_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 0.0)
    os.utime(tmp_path, (1.0, 1.0))

    first = publish.clock(str(tmp_path))
    (tmp_path / "later").touch()
    written = (tmp_path / "later").stat().st_mtime

    assert 1e9 < first <= written <= publish.clock(str(tmp_path))
    assert os.listdir(tmp_path) == ["later"]


def test_a_folder_is_discarded_in_one_step(tmp_path, monkeypatch):
    """Killed behind it, one leaves a folder that says whose it was."""
    crop = tmp_path / ".crop-x"
    (crop / "sown").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
        publish.discard(str(crop), OWNER)
    assert os.listdir(tmp_path) == [f".crop-x.{OWNER}.trash"]
    assert publish.mark_of(f".crop-x.{OWNER}.trash") == f".crop-x.{OWNER}"

    crop.mkdir()
    publish.discard(str(crop), "host.2.0-0-0")

    assert os.listdir(tmp_path) == [f".crop-x.{OWNER}.trash"]


def test_only_what_names_an_owner_is_a_leftover_of_ours(tmp_path):
    ours = [f".crop-x.{OWNER}.draft", f".ds.nc.{OWNER}.draft", f".crop-y.{OWNER}.trash"]
    for name in [*ours, ".notes.draft", f"visible.{OWNER}.draft", f".crop-x.{OWNER}", "draft"]:
        (tmp_path / name).touch()

    found = sorted(path for path, _ in publish.leftovers(str(tmp_path)))

    assert found == sorted(str(tmp_path / name) for name in ours)


# -- whose files are read --------------------------------------------------------------


def test_ones_own_file_and_roots_are_read(tmp_path):
    (tmp_path / "mine").touch()

    publish.check_own(str(tmp_path / "mine"))
    publish.check_own("/etc/passwd")


@pytest.mark.parametrize("mode", [0o602, 0o777])
def test_a_file_that_anybody_may_write_is_not_read(tmp_path, monkeypatch, mode):
    path = tmp_path / "open"
    path.touch()
    path.chmod(mode)

    with pytest.raises(ForeignFileError, match="chmod o-w"):
        publish.check_own(str(path))
    monkeypatch.setenv("CROPFIT_TRUST", "1")
    publish.check_own(str(path))


@pytest.mark.needs("root")
def test_a_file_of_somebody_else_is_not_read(tmp_path):
    path = tmp_path / "theirs"
    path.touch()
    os.chown(path, 12345, 12345)

    with pytest.raises(ForeignFileError, match="belongs to user 12345"):
        publish.check_own(str(path))
