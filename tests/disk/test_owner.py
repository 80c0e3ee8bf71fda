"""Whose a claim is, and when its process is known to be dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropfit.disk import owner as module
from cropfit.disk.owner import Owner

HERE = "from cropfit.disk.owner import Owner; print(Owner.here(), flush=True); input()"


@pytest.fixture
def other():
    """A process that lives until its standard input is closed, and its owner."""
    process = subprocess.Popen(
        [sys.executable, "-c", HERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    owner = Owner.parse(process.stdout.readline().strip())
    yield process, owner
    process.stdin.close()
    process.stdout.close()
    process.wait()


def test_what_was_written_is_parsed():
    owner = Owner.here()

    assert Owner.parse(str(owner)) == owner
    assert owner.pid == os.getpid()
    assert Owner.here() != owner


@given(
    host=st.from_regex(r"[A-Za-z0-9.-]{1,30}", fullmatch=True),
    pid=st.integers(1, 2**40),
    token=st.from_regex(r"[0-9a-f]{8}-[0-9a-f]+-[0-9a-f]{8}", fullmatch=True),
)
def test_hosts_with_dots_are_parsed_too(host, pid, token):
    owner = Owner(host, pid, token)

    assert Owner.parse(str(owner)) == owner


@pytest.mark.parametrize(
    "text",
    ["", "host", "host.1", "host.x.0-0-0", "host.².0-0-0", "host.1.0-0", "host.1.0-0-0-0", "..--"],
)
def test_what_is_no_owner_is_none(text):
    assert Owner.parse(text) is None


@pytest.mark.parametrize(
    ("name", "host"), [("a b/c@d", "a-b-c-d"), ("", "localhost"), ("knöt", "kn-t")]
)
def test_a_host_name_is_made_fit_for_a_folders_name(monkeypatch, name, host):
    monkeypatch.setattr(socket, "gethostname", lambda: name)

    owner = Owner.here()

    assert owner.host == host
    assert Owner.parse(str(owner)) == owner
    assert owner.is_alive() is True


def test_a_process_is_alive_until_it_is_killed(other):
    process, owner = other
    assert owner.is_alive() is True

    process.kill()
    process.wait()

    assert owner.is_alive() is False


def test_a_zombie_is_dead(other):
    """Its parent has not looked yet, and it will compute nothing more."""
    process, owner = other
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert owner.is_alive() is False


def test_a_process_that_is_stopped_is_alive(other):
    process, owner = other
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    alive = owner.is_alive()
    process.send_signal(signal.SIGCONT)

    assert alive is True


def test_a_pid_that_was_given_away_again_is_another_process(other):
    _, owner = other
    machine, _, rest = owner.token.split("-")

    assert replace(owner, token=f"{machine}-1-{rest}").is_alive() is False


def test_of_another_host_boot_or_namespace_nothing_is_known():
    owner = Owner.here()
    _, started, rest = owner.token.split("-")

    assert replace(owner, host="elsewhere").is_alive() is None
    assert replace(owner, token=f"00000000-{started}-{rest}").is_alive() is None


@pytest.mark.needs("root")
def test_another_process_namespace_is_not_taken_for_this_one():
    """Two containers may have one host name and the same pids."""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", HERE],
        input="\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no new process namespace: {done.stderr}")
    inside = Owner.parse(done.stdout.strip())

    assert inside
    assert inside.host == Owner.here().host
    assert inside.is_alive() is None


def test_only_this_very_process_is_me(other):
    _, owner = other

    assert Owner.here().is_me() is True
    assert owner.is_me() is False
    assert replace(Owner.here(), host="elsewhere").is_me() is False


def test_without_proc_a_pid_tells(other, monkeypatch):
    """As on macOS: whether it lives, not since when."""
    process, _ = other
    monkeypatch.setattr(module, "_read", lambda path: b"")
    monkeypatch.setattr(module.os.path, "isdir", lambda path: False)
    owner = replace(Owner.here(), pid=process.pid)
    assert owner.is_alive() is True

    process.kill()
    process.wait()

    assert owner.is_alive() is False
