"""The ledger on this machine's own disk: what is promised, and what sharding changes."""

from __future__ import annotations

import errno
import os

import pytest
from contracts.actor import Host
from contracts.ledger import LedgerContract

from cropfit.disk import ledger as module
from cropfit.disk.layout import STATES, Layout
from cropfit.disk.ledger import Ledger
from cropfit.disk.owner import Owner


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Two that differ in their names alone."""
    folder = str(tmp_path_factory.mktemp("shared"))
    with Host("node-a", folder) as a, Host("node-b", folder) as b:
        yield a, b


class TestLedgerOnThisDisk(LedgerContract):
    """One folder holds all batches of a state."""


class TestLedgerOfACropInShards(LedgerContract):
    sharded = True
    first = 11_960
    """So that its batches stand in two shards."""


@pytest.fixture
def ledger(tmp_path):
    layout = Layout(str(tmp_path))
    for state in STATES:
        os.mkdir(layout.state(state))
    os.mkdir(layout.batch("sown", 1))
    return Ledger(layout, Owner.here(), 60.0)


def test_a_claim_outlives_a_disk_that_is_too_full_for_the_mark_of_a_death(ledger, monkeypatch):
    other = Ledger(ledger.layout, Owner("node-b", 1, "0-0-0"), 60.0)
    other.claim(1)
    (claim,) = ledger.claims()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "open", full)
    mine = ledger.take_over(claim)

    assert mine is not None
    assert os.listdir(ledger.layout.state("growing")) == [f"000001@{ledger.owner}"]
    assert ledger.release(mine) is True


def test_a_stale_handle_means_that_the_batch_moved_on(ledger, monkeypatch):
    """NFS says so where another disk would say that there is no such file."""

    def stale(*args, **kwargs):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(module.os, "utime", stale)

    assert ledger.claim(1) is None


def test_a_disk_that_is_gone_is_an_error_and_no_lost_race(ledger, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.os, "utime", broken)

    with pytest.raises(OSError, match="Input/output"):
        ledger.claim(1)


def test_a_batch_whose_number_begins_another_is_not_taken_for_it(ledger):
    os.mkdir(ledger.layout.batch("ignored", 1_000_000))

    assert ledger.shift(100_000, "sown", "ignored") is False
