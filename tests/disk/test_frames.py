"""Frames: what is whole is returned as it was written, the rest is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropfit.disk import frames
from cropfit.errors import DamagedError

payloads = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=6)


def packed(*items: tuple[int, bytes]) -> bytes:
    return b"".join(part for kind, data in items for part in frames.write_frame(kind, data))


def finished(*items: tuple[int, bytes]) -> bytes:
    """The same with a footer and a trailer."""
    body = packed(*items)
    return body + packed((frames.FOOTER, b"{}")) + frames.pack_trailer(len(body))


def unpacked(buffer: bytes) -> tuple[list[tuple[int, bytes]], list[str]]:
    damage: list[str] = []
    return [(kind, bytes(data)) for kind, data in frames.iter_frames(buffer, damage)], damage


@given(payloads)
def test_frames_come_back_as_they_were_written(items):
    """With and without a trailer, and nothing is told to be damaged."""
    assert unpacked(packed(*items)) == (items, [])
    assert unpacked(finished(*items)) == ([*items, (frames.FOOTER, b"{}")], [])


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_payload_in_pieces_is_one_payload(pieces):
    """Nothing is joined on writing; the frame is a multiple of 16 bytes long."""
    parts = frames.write_frame(7, *pieces)

    assert parts[1:-1] == pieces
    assert sum(map(len, parts)) % frames.ALIGN == 0
    assert unpacked(b"".join(parts)) == ([(7, b"".join(pieces))], [])


@given(payloads, st.data())
def test_a_file_cut_anywhere_gives_its_first_frames(items, data):
    """Everything before the cut, nothing else; a cut inside a frame is told."""
    whole = finished(*items)
    cut = data.draw(st.integers(0, len(whole) - 1))

    found, damage = unpacked(whole[:cut])

    written = [*items, (frames.FOOTER, b"{}")]
    ends = [len(packed(*written[:n])) for n in range(len(written) + 1)]
    assert found == written[: len(found)]
    assert bool(damage) == (cut not in ends)
    assert len(found) >= sum(end <= cut for end in ends) - 1


@given(payloads, st.data())
def test_a_flipped_bit_costs_the_frame_that_it_is_in(items, data):
    """All others come back, wherever the bit: also in a length or in a magic number."""
    whole = finished(*items)
    position = data.draw(st.integers(0, len(whole) - 1))
    altered = bytearray(whole)
    altered[position] ^= 1 << data.draw(st.integers(0, 7))

    found, damage = unpacked(bytes(altered))

    written = [*items, (frames.FOOTER, b"{}")]
    assert damage
    kept = iter(written)
    assert all(frame in kept for frame in found)
    assert len(found) >= len(written) - 1


def test_two_damaged_frames_cost_two_frames():
    """The frame between them is reached by the length of the first, with a trailer or without."""
    items = [(2, bytes([n]) * 40) for n in range(5)]
    whole = bytearray(finished(*items))
    for n in (1, 3):
        whole[64 * n + 30] ^= 1

    found, damage = unpacked(bytes(whole))

    assert found == [items[0], items[2], items[4], (frames.FOOTER, b"{}")]
    assert len(damage) == 2


def test_bytes_that_look_like_a_frame_are_not_taken_for_one():
    """A result may hold a whole record file; a damaged length must not lead into it."""
    inner = bytes(12) + finished((frames.HEADER, b'{"batch": 7}'), (frames.RESULTS, b"wrong"))
    whole = finished((frames.RESULTS, inner + b"tail of the payload"), (frames.RESULTS, b"right"))

    for position in range(frames.HEAD_SIZE):
        for bit in range(8):
            altered = bytearray(whole)
            altered[position] ^= 1 << bit
            found, damage = unpacked(bytes(altered))
            assert found == [(frames.RESULTS, b"right"), (frames.FOOTER, b"{}")]
            assert len(damage) == 1
    for cut in range(len(whole) - 1):
        assert (frames.RESULTS, b"wrong") not in unpacked(whole[:cut])[0]


def test_another_format_version_is_named():
    """Instead of being read as something that it is not."""
    found, damage = unpacked(packed((1, b"{}")).replace(b"CRF1", b"CRF2"))

    assert found == []
    assert "format version '2'; this cropfit reads version 1" in damage[0]


@given(st.binary(max_size=200))
def test_any_bytes_at_all_raise_nothing(content):
    """What is no frame is damage."""
    found, damage = unpacked(content)
    assert found == []
    assert bool(damage) == bool(content)


@given(
    st.dictionaries(
        st.text(),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        max_size=5,
    )
)
def test_a_record_comes_back_from_json(record):
    """Numbers and text exactly."""
    assert frames.parse_json(frames.json_bytes(record)) == record


def test_a_record_with_odd_values_is_written_all_the_same():
    """numpy's numbers as numbers, anything else as its repr: no error report is lost."""
    record = {"x": np.float32(0.5), "n": np.arange(2), "o": {1, 2}}
    expected = {"x": 0.5, "n": [0, 1], "o": "{1, 2}"}
    assert frames.parse_json(frames.json_bytes(record)) == expected


@pytest.mark.parametrize("payload", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_payload_that_is_no_json_object_is_damage(payload):
    """Whatever json itself would raise."""
    with pytest.raises(DamagedError):
        frames.parse_json(payload)


@given(st.binary(max_size=40))
def test_a_summary_learns_a_frames_size_from_its_head(payload):
    """Padding aside; bytes that begin no frame have none."""
    frame = packed((1, payload))
    assert frames.frame_size(frame[:20]) == frames.HEAD_SIZE + len(payload)
    assert frames.frame_size(frame[:19]) == 0
    assert frames.frame_size(bytes(20)) == 0
