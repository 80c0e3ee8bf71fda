"""What holds for all commands: which crop is meant, messages, exit codes, JSON."""

from __future__ import annotations

import json
import os

import pytest
from queues.kinds import Slurm
from shell import COMMANDS, cropfit, shell, started

import cropfit as cf
from cropfit.cli.common import read_batches, write_batches

REPORT = {"grown", "failed", "cases", "failures", "reason", "notes", "location", "exit_code"}
KEYS = {
    "status": {"crops", "broken"},
    "grow": REPORT,
    "rehearse": REPORT,
    "script": {"location", "scheduler", "texts", "output_dir"},
    "submit": {"location", "jobs"},
    "jobs": {"name", "jobs", "tasks", "counts", "left_over"},
    "cancel": {"location", "cancelled"},
    "errors": {"location", "errors"},
    "log": {"location", "batch", "log"},
    "missing": {"location", "missing"},
    "pack": {"path"},
    "unpack": REPORT - {"exit_code"},
    "retry": {"moved"},
    "ignore": {"moved"},
    "clean": {"dead", "torn", "lost", "leftovers"},
    "stop": {"location", "workers"},
    "doctor": {"folder", "crop", "problems", "warnings", "findings"},
    "repro": {"script"},
    "reap": {"saved", "location", "deleted", "sizes", "variables"},
}


def test_ranges_come_back_as_they_were_written():
    numbers = [1, 2, 3, 7, 9, 10]
    assert write_batches(numbers) == "1-3 7 9-10"
    assert read_batches(write_batches(numbers).split()) == numbers
    assert read_batches([]) is None


@pytest.mark.parametrize("word", ["x", "1-", "-", "1.5", "3-1", "1,2"])
def test_what_is_no_batch_is_refused(plain, word):
    done = cropfit("grow", "grid", "--", word)
    assert (done.exit_code, done.stdout) == (2, "")
    assert repr(word) in done.stderr


def test_a_name_is_not_needed_where_one_crop_stands(plain, monkeypatch):
    assert cropfit("grow", "1").exit_code == 0
    monkeypatch.chdir(plain.location)
    assert cropfit("grow", "2").exit_code == 0
    monkeypatch.chdir("/")
    assert cropfit("grow", plain.location, "3").exit_code == 0
    assert cropfit("missing", "--parent-dir", os.path.dirname(plain.location)).stdout == "\n"


def test_where_several_stand_one_must_be_named(plain, sow):
    sow(lambda x: x, name="2")
    refused = cropfit("grow")
    assert refused.exit_code == 2
    assert "2 crops (2, grid)" in refused.stderr
    assert cropfit("grow", "2").exit_code == 0  # a crop is called so
    assert cropfit("missing", "2").stdout == "\n"
    assert cropfit("missing", "grid").stdout == "1-3\n"


def test_a_crop_is_found_through_a_link(plain):
    os.symlink(plain.location, "link")
    assert cropfit("grow", "link").exit_code == 0
    assert cropfit("status", "link").exit_code == 0


OF_NO_CROP = {"auto-grow", "doctor", "run", "serve", "unpack"}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in OF_NO_CROP])
def test_a_crop_that_does_not_exist_is_a_message_and_exit_code_2(here, command):
    words = ["nowhere", "1", "0"] if command == "repro" else ["nowhere"]
    done = cropfit(command, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: No crop 'nowhere'")
    assert os.listdir(here) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_tells_its_exit_codes(command):
    shown = cropfit(command, "--help").stdout
    codes = shown.partition("Exit codes:\n")[2].split("\n  ")
    assert {"0", "2"} <= {line.split()[0] for line in codes}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name in KEYS])
def test_json_is_all_that_is_printed_and_its_keys_are_stable(plain, command, here, monkeypatch):
    programs = Slurm(here / "queue").install()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    if command == "reap":
        cropfit("grow")
    if command == "log":
        cropfit("grow", "grid", "1", "--log")
    if command == "unpack":
        cropfit("pack", "grid", "-o", "grid")
    words = ["grid", *{"repro": ["1", "0"], "log": ["1"]}.get(command, [])]
    code, out, err = shell(command, *words, "--json")
    assert (code, err) == (0, "")
    assert set(json.loads(out)) == KEYS[command]


def test_commands_without_json_are_those_that_have_no_data_to_print():
    of_catalogues_alone = {"merge"}  # tested with them
    shows = {"auto-grow", "run", "serve", "watch"}
    assert set(COMMANDS) - set(KEYS) - of_catalogues_alone == {"delete", *shows}


def test_a_reader_that_has_seen_enough_is_no_error(plain):
    worker = started("status", "--json")
    worker.stdout.close()
    err = worker.stderr.read()
    worker.wait(timeout=60)
    assert "Traceback" not in err


def test_the_version_is_told():
    assert cropfit("--version").stdout == f"cropfit {cf.__version__}\n"
