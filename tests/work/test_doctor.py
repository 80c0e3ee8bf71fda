"""The doctor: what it finds in healthy and in sick places, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from steps import Gate, python, tree

import cropfit as cf
from cropfit.disk.owner import Owner
from cropfit.disk.probe import Mount, Race, Room, mount_of
from cropfit.work import doctor

Findings = dict[str, dict[str, str]]
DOCTOR = [sys.executable, "-m", "cropfit", "doctor", "--json"]


def ask(place: str | Path, *before: str, code: int | None = None) -> Findings:
    """Ask the doctor, in a process of its own; its findings by check."""
    done = subprocess.run(
        [*before, *DOCTOR, os.fspath(place)], capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout)
    levels = [finding["level"] for finding in told["findings"]]
    assert (told["problems"], told["warnings"]) == (
        levels.count("problem"),
        levels.count("warning"),
    )
    assert done.returncode == (told["problems"] > 0 if code is None else code), done.stderr
    return {finding["check"]: finding for finding in told["findings"]}


def problems(findings: Findings) -> set[str]:
    return {check for check, finding in findings.items() if finding["level"] == "problem"}


@pytest.fixture
def crop(here: Path) -> cf.Crop:
    crop = cf.Crop(fn=lambda x: x, name="grid", var_names="y", batchsize=2, verbosity=0)
    crop.sow_combos({"x": range(6)})
    return crop


# -- file systems ----------------------------------------------------------------------


def test_a_healthy_folder_has_no_problem_and_nothing_is_left_in_it(tmp_path):
    found = ask(tmp_path, code=0)
    assert list(found) == [
        "kind",
        "room",
        "claims",
        "fencing",
        "heartbeat",
        "clock",
        "listing",
        "append",
        "fsync",
        "private",
    ]
    assert "200 have one winner" in found["claims"]["told"]
    assert os.listdir(tmp_path) == []


@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    ("fault", "check"),
    [("fsync:error=EIO", "fsync"), ("utimensat:error=EPERM", "heartbeat")],
)
def test_what_the_file_system_refuses_is_a_problem(tmp_path, fault, check):
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={fault}"]
    found = ask(tmp_path, *strace, code=1)
    assert check in problems(found)
    assert found[check]["advice"]
    assert os.listdir(tmp_path) == []


@pytest.mark.needs("strace")
def test_folders_that_nobody_can_claim_are_a_problem(tmp_path):
    """The racers' renames fail; those of the other trials too."""
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "inject=rename:error=EXDEV"]
    found = ask(tmp_path, *strace, code=1)
    assert {"claims", "listing"} <= problems(found)
    assert "200 have none" in found["claims"]["told"]


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize(
    ("options", "room", "bad"),
    [
        ("size=16m,nr_inodes=1000", "warning", set()),
        ("size=256k,nr_inodes=1000", "problem", {"room"}),
        ("size=1g,ro", "ok", {"kind", "write"}),
    ],
)
def test_a_mounted_file_system_is_named_and_measured(tmp_path, options, room, bad):
    place = tmp_path / "a disk"
    place.mkdir()
    mount = f"mount -t tmpfs -o {options} tmpfs {shlex.quote(str(place))}"
    found = ask(place, "unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh")

    assert found["kind"]["told"].startswith(f"tmpfs, mounted at {place}")
    assert found["room"]["level"] == room
    assert problems(found) == bad


def test_a_folder_that_does_not_exist_is_no_folder(tmp_path):
    done = subprocess.run([*DOCTOR, f"{tmp_path}/no"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No crop" in done.stderr


def test_a_doctor_that_is_killed_leaves_what_the_next_sowing_sweeps_away(here):
    """Its folder is marked as trash of a process that is gone."""
    python(
        "import os, sys\n"
        "from cropfit.disk.probe import workbench\n"
        "with workbench(sys.argv[1]) as place:\n"
        "    os.kill(os.getpid(), 9)",
        str(here),
        ok=False,
    )
    assert [name.startswith(".cropfit-doctor") for name in os.listdir(here)] == [True]

    crop = cf.Crop(fn=lambda x: x, name="next", verbosity=0)
    crop.sow_combos({"x": [1]})
    assert os.listdir(here) == [".crop-next"]


@pytest.mark.parametrize(
    ("mount", "level"),
    [
        (None, "ok"),
        (Mount("ext4", "/", "rw,relatime"), "ok"),
        (Mount("nfs4", "/home", "rw,vers=4.2"), "ok"),
        (Mount("nfs", "/home", "rw,vers=3,nolock"), "ok"),
        (Mount("lustre", "/scratch", "rw"), "ok"),
        (Mount("ext4", "/", "ro"), "problem"),
        (Mount("tmpfs", "/dev/shm", "rw"), "warning"),
        (Mount("overlay", "/", "rw"), "warning"),
        (Mount("fuse.sshfs", "/mnt", "rw"), "warning"),
        (Mount("cifs", "/mnt", "rw"), "warning"),
    ],
)
def test_each_kind_of_file_system_has_its_verdict(mount, level):
    assert doctor.judge_mount(mount).level == level


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (doctor.judge_room(Room(10**12, None)), "ok"),
        (doctor.judge_room(Room(10**12, 50)), "warning"),
        (doctor.judge_room(Room(10**7, 10**6)), "warning"),
        (doctor.judge_room(Room(10**12, 0)), "problem"),
        (doctor.judge_room(Room(0, 10**6)), "problem"),
        (doctor.judge_race(Race(200, 200, 0, 0)), "ok"),
        (doctor.judge_race(Race(200, 199, 1, 0)), "problem"),
        (doctor.judge_race(Race(200, 199, 0, 1)), "problem"),
        (doctor.judge_refusal(False), "problem"),
        (doctor.judge_touch(False), "problem"),
        (doctor.judge_skew(-1.9), "ok"),
        (doctor.judge_skew(-3600.0), "warning"),
        (doctor.judge_listing(False), "problem"),
        (doctor.judge_sync(0.01), "ok"),
        (doctor.judge_sync(0.5), "warning"),
        (doctor.judge_appending(False), "problem"),
        (doctor.judge_privacy(False), "problem"),
    ],
)
def test_each_measurement_has_its_verdict_and_what_is_not_well_its_advice(finding, level):
    assert finding.level == level
    assert bool(finding.advice) == (level != "ok")


def test_the_innermost_mount_counts():
    shm = mount_of("/dev/shm/any")
    proc = mount_of("/proc/self")
    assert proc is not None
    assert (proc.kind, proc.point) == ("proc", "/proc")
    assert shm is None or shm.point in ("/dev/shm", "/dev", "/")


# -- crops -----------------------------------------------------------------------------


def test_a_healthy_crop_has_no_problem_and_is_left_as_it_was(crop, here):
    crop.grow(1)
    before = tree(here)
    found = ask("grid", code=0)
    assert {check for check, finding in found.items() if finding["level"] == "ok"} >= {
        "versions",
        "function",
        "space",
        "workers",
        "results",
        "batches",
        "leftovers",
    }
    assert tree(here) == before


def test_torn_results_are_told_and_not_touched(crop):
    crop.grow()
    (path,) = Path(crop.location, "grown", "000002").iterdir()
    os.truncate(path, path.stat().st_size - 5)

    found = ask("grid", code=1)

    assert problems(found) == {"results"}
    assert "1 grown batches" in found["results"]["told"]
    assert "cropfit clean grid" in found["results"]["advice"]
    assert crop.completed_results() == [1, 2, 3]
    assert crop.clean()["torn"] == 1
    assert problems(ask("grid", code=0)) == set()


def test_a_batch_that_stands_nowhere_is_told(crop):
    os.rmdir(f"{crop.location}/sown/000003")
    found = ask("grid", code=1)
    assert problems(found) == {"batches"}
    assert "[3]" in found["batches"]["told"]
    assert crop.clean()["lost"] == 1
    assert problems(ask("grid", code=0)) == set()


def test_a_dead_worker_is_a_warning(here, tmp_path):
    gate = Gate(tmp_path / "gate")

    def stop(x):
        gate.stop_here()

    crop = cf.Crop(fn=stop, name="grid", verbosity=0)
    crop.sow_combos({"x": [1]})
    worker = subprocess.Popen([sys.executable, "-m", "cropfit", "grow", "grid"])
    gate.wait_for_arrival()
    assert ask("grid")["workers"]["told"] == "1 are alive, none is dead"

    worker.kill()
    worker.wait()

    found = ask("grid", code=0)
    assert found["workers"]["level"] == "warning"
    assert "1 died in their batch" in found["workers"]["told"]


def test_what_killed_processes_left_is_a_warning(crop, here):
    gone = python("from cropfit.disk.owner import Owner; print(Owner.here())").strip()
    (here / f".crop-other.{gone}.draft").mkdir()
    (here / f".crop-mine.{Owner.here()}.draft").mkdir()

    found = ask("grid", code=0)

    assert found["leftovers"]["level"] == "warning"
    assert found["leftovers"]["told"].startswith("1 of processes that were killed")
    assert crop.clean()["leftovers"] == 1


def test_a_function_that_cannot_be_loaded_here_is_a_problem(here):
    """Its module was beside the sower and is gone."""
    module = here / "gone_module.py"
    module.write_text("def function(x):\n    return x\n")
    python(
        "import cropfit, gone_module\n"
        "cropfit.Crop(fn=gone_module.function, name='grid').sow_combos({'x': [1]})",
        env={**os.environ, "PYTHONPATH": str(here)},
    )
    module.unlink()

    found = ask("grid", code=1)

    assert problems(found) == {"function"}
    assert "gone_module" in found["function"]["told"]


def test_a_torn_manifest_is_told_and_ends_the_examination(crop):
    Path(crop.location, "crop.json").write_text("{")
    found = ask("grid", code=1)
    assert problems(found) == {"manifest"}
    assert "function" not in found


@pytest.mark.parametrize(
    ("sower", "told"),
    [
        ({"python": "2.7.1"}, "Python 2.7.1 sowed"),
        ({"packages": {"cloudpickle": "0.1"}}, "cloudpickle 0.1 sowed"),
        ({"packages": {"numpy": "1.0"}}, "numpy 1.0 sowed"),
    ],
)
def test_versions_other_than_the_sowers_are_a_warning(sower: dict[str, Any], told):
    finding = doctor.judge_versions({**sower, "executable": "/there/python"})
    assert finding.level == "warning"
    assert told in finding.told
    assert "/there/python" in finding.advice


def test_findings_are_lines_for_people(crop):
    done = subprocess.run(
        [sys.executable, "-m", "cropfit", "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == [os.path.dirname(crop.location), crop.location]
    assert "ok       claims     two processes raced" in done.stdout
