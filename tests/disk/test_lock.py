"""The lock of a data file: one holder, taken over from the dead and from nobody else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from steps import Gate, python, start, tree

import cropfit as cf
from cropfit.disk.lock import locked

COUNT = """
import sys
from cropfit.disk.lock import locked
for _ in range(int(sys.argv[2])):
    with locked(sys.argv[1]):
        number = int(open(sys.argv[1]).read())
        open(sys.argv[1], "w").write(str(number + 1))
"""
HOLD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from steps import Gate
from cropfit.disk.lock import locked
gate = Gate.__new__(Gate)
gate.folder = sys.argv[2]
with locked(sys.argv[1]):
    gate.stop_here()
"""


def test_processes_that_count_in_one_file_lose_nothing(here: Path) -> None:
    Path("data").write_text("0")
    processes = [start(COUNT, "data", "40") for _ in range(4)]
    for process in processes:
        assert process.communicate(timeout=200)[0] == ""

    assert Path("data").read_text() == "160"
    assert tree(here) == ["data"]


def test_a_lock_is_taken_over_from_a_process_that_was_killed(here: Path) -> None:
    gate = Gate(here / "gate")
    holder = start(HOLD, "data", gate.folder)
    gate.wait_for_arrival()
    holder.kill()
    holder.wait()
    with locked("data", patience=60):
        held = [name for name in os.listdir(here) if name.startswith(".data")]

    assert held == [".data.lock"]
    assert [name for name in os.listdir(here) if name.startswith(".data")] == []


def test_who_waits_too_long_is_told_who_holds_it(here: Path) -> None:
    gate = Gate(here / "gate")
    holder = start(HOLD, "data", gate.folder)
    gate.wait_for_arrival()
    with (
        pytest.raises(cf.CropError, match=rf"written by process {holder.pid} on .*rm -r"),
        locked("data", patience=0.2),
    ):
        pass
    gate.let_go()
    assert holder.wait(timeout=200) == 0
    assert [name for name in os.listdir(here) if name.startswith(".data")] == []


def test_a_holder_that_hangs_on_this_host_is_not_robbed(here: Path) -> None:
    gate = Gate(here / "gate")
    holder = start(HOLD, "data", gate.folder)
    gate.wait_for_arrival()
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(cf.CropError, match="being written"), locked("data", 0.5, lease=0.1):
        pass
    holder.send_signal(signal.SIGCONT)
    gate.let_go()
    assert holder.wait(timeout=200) == 0


def test_a_holder_of_another_host_is_dead_after_a_lease_of_silence_and_not_before(
    here: Path,
) -> None:
    other = here / ".data.lock" / "elsewhere.7.00000000-1-00000000"
    other.mkdir(parents=True)
    with pytest.raises(cf.CropError, match="elsewhere"), locked("data", 0.2, lease=3600):
        pass
    os.utime(other, (time.time() - 7200, time.time() - 7200))
    with locked("data", 30, lease=3600):
        assert len(os.listdir(here / ".data.lock")) == 1
        assert not other.exists()

    assert tree(here) == []


def test_the_lock_goes_when_its_block_raises(here: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked("data"):
        _ = 1 / 0

    assert tree(here) == []


def test_a_folder_that_is_missing_is_told_and_not_made(here: Path) -> None:
    with pytest.raises(OSError, match="nowhere"), locked("nowhere/data"):
        pass

    assert tree(here) == []


def test_a_process_may_lock_again_after_it_was_interrupted(here: Path) -> None:
    code = (
        "import os, signal\nfrom cropfit.disk.lock import locked\n"
        "try:\n with locked('data'): os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt: pass\n"
        "with locked('data', 5): print('again')"
    )
    assert python(code) == "again\n"
