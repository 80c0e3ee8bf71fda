"""Names of crops and places of batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropfit.disk.layout import STATES, Layout, check_name, folder_of, name_of
from cropfit.errors import DesignError


@pytest.mark.parametrize("name", ["a", "two words", "äöü", ".hidden", "x" * 200, "a@b.c-1"])
def test_a_name_becomes_a_folder_and_comes_back(name):
    assert check_name(name) == name
    assert folder_of("/home/me/", name) == f"/home/me/.crop-{name}"
    assert name_of(f"/home/me/.crop-{name}/") == name


@pytest.mark.parametrize("name", ["", "a/b", "a\n", "\0", " a", "a ", "x" * 201, 3, None])
def test_a_name_that_can_be_no_folder_is_refused(name):
    with pytest.raises(DesignError, match="cannot name a crop"):
        check_name(name)


def test_a_folder_that_is_named_otherwise_names_the_crop_itself():
    """Someone renamed it; its name is what the folder says."""
    assert name_of("/data/moved") == "moved"


@given(
    batches=st.lists(st.integers(1, 10_000_000), min_size=2, unique=True),
    sharded=st.booleans(),
    state=st.sampled_from([state for state in STATES if state != "growing"]),
)
def test_every_batch_has_a_place_of_its_own(batches, sharded, state):
    layout = Layout("/root", sharded)
    paths = {layout.batch(state, batch) for batch in batches}

    assert len(paths) == len(batches)
    assert all(path.startswith(f"/root/{state}/") for path in paths)


def test_shards_hold_a_thousand_batches_and_claims_stand_together():
    """So that `ls growing` tells who works, however many batches there are."""
    layout = Layout("/root", sharded=True)

    assert layout.batch("sown", 7) == "/root/sown/000/000007"
    assert layout.batch("sown", 999) == "/root/sown/000/000999"
    assert layout.batch("grown", 12_345) == "/root/grown/012/012345"
    assert layout.batch("grown", 1_234_567) == "/root/grown/1234/1234567"
    assert layout.claim(12_345, "host.1.t") == "/root/growing/012345@host.1.t"
    assert Layout("/root").batch("sown", 12_345) == "/root/sown/012345"
