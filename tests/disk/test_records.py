"""Record files: whatever happens to one, what is read of it is what was written."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cropfit.disk import frames, records
from cropfit.disk.codec import encode_results
from cropfit.disk.records import RecordFile, Records, read_records, read_summary
from cropfit.errors import ForeignFileError

HEADER = {"format": 1, "design": "d1", "batch": 3, "token": "t1"}


def payload(offset: int, value: Any, name: str = "y") -> list[frames.Part]:
    (found,), _ = encode_results([offset], [0.1], [value], (name,))
    return found


def write(path: Path, values: list[Any], *, sealed: bool = True) -> dict[int, Any]:
    """Record one value a frame, with one failure among them; what a reader may find."""
    file = RecordFile(str(path), HEADER)
    for offset, value in enumerate(values):
        file.append(frames.RESULTS, *payload(offset, value))
    file.append(frames.ERROR, frames.json_bytes({"offset": 99, "type": "ValueError"}))
    if sealed:
        file.seal({"cases": len(values), "seconds": 1.0}, sync=False)
    file.close()
    return dict(enumerate(values))


def values_of(found: Records) -> dict[int, Any]:
    pairs = {}
    for chunk in found.chunks:
        for offset, value in zip(chunk.offsets.tolist(), chunk.columns["y"].values(), strict=True):
            assert offset not in pairs
            pairs[offset] = value
    return pairs


def assert_subset(found: Records, expected: dict[int, Any]) -> None:
    """Everything that was found is exactly what was written."""
    assert found.header in ({}, HEADER)
    for offset, value in values_of(found).items():
        assert type(value) is type(expected[offset])
        assert np.array_equal(value, expected[offset])
    assert found.errors in ([], [{"offset": 99, "type": "ValueError"}])
    assert found.sealed <= (found.damage is None and found.footer is not None)


# -- the whole file -------------------------------------------------------------------


def test_what_was_appended_is_read_in_order(tmp_path):
    """Header, results, failures, footer."""
    expected = write(tmp_path / "r", [0.5, 1.5, 2.5])

    found = read_records(str(tmp_path / "r"))

    assert found.sealed
    assert found.damage is None
    assert found.header == HEADER
    assert values_of(found) == expected
    assert found.errors == [{"offset": 99, "type": "ValueError"}]
    assert found.footer == {"cases": 3, "seconds": 1.0}
    assert read_summary(str(tmp_path / "r")) == (found.header, found.footer)


def test_a_file_that_is_not_sealed_gives_what_it_has(tmp_path):
    """As a worker left it that was killed between two cases."""
    expected = write(tmp_path / "r", [0.5, 1.5], sealed=False)

    found = read_records(str(tmp_path / "r"))

    assert (found.sealed, found.damage, found.footer) == (False, None, None)
    assert values_of(found) == expected
    assert read_summary(str(tmp_path / "r")) == (HEADER, None)


def test_the_file_appears_with_its_first_frame_and_is_private(tmp_path):
    """A worker that did nothing leaves nothing."""
    file = RecordFile(str(tmp_path / "r"), HEADER)
    assert list(tmp_path.iterdir()) == []
    file.append(frames.RESULTS, *payload(0, 1.0))
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600
    file.close()
    file.close()


def test_an_empty_batch_is_sealed_in_one_write(tmp_path, monkeypatch):
    """Header, footer and trailer."""
    calls = count_writes(monkeypatch)
    RecordFile(str(tmp_path / "r"), HEADER).seal({"cases": 0}, sync=True)
    found = read_records(str(tmp_path / "r"))
    assert (found.sealed, found.chunks, found.footer) == (True, [], {"cases": 0})
    assert len(calls) == 1


def test_a_second_writer_of_the_same_name_is_refused(tmp_path):
    """One writer a file; the first one's records stay."""
    expected = write(tmp_path / "r", [0.5])
    with pytest.raises(FileExistsError):
        RecordFile(str(tmp_path / "r"), HEADER).append(frames.RESULTS, *payload(0, 9.0))
    assert values_of(read_records(str(tmp_path / "r"))) == expected


def test_a_file_that_is_not_there_raises(tmp_path):
    """That is for the caller to judge."""
    for read in (read_records, read_summary):
        with pytest.raises(FileNotFoundError):
            read(str(tmp_path / "r"))


def test_header_and_footer_may_be_long(tmp_path):
    """A summary reads them whole, with as few bytes as it takes."""
    header, footer = {**HEADER, "host": "h" * 9000}, {"cases": 0, "more": "f" * 9000}
    RecordFile(str(tmp_path / "r"), header).seal(footer, sync=False)
    assert read_summary(str(tmp_path / "r")) == (header, footer)


def test_which_cases_are_there_is_read_without_their_values(tmp_path):
    """And checked all the same."""
    write(tmp_path / "r", [0.5, 1.5])
    found = read_records(str(tmp_path / "r"), data=False)
    assert found.sealed
    assert [chunk.offsets.tolist() for chunk in found.chunks] == [[0], [1]]
    assert [chunk.columns for chunk in found.chunks] == [{}, {}]


def test_more_parts_than_one_call_takes_are_written_in_turn(tmp_path):
    """3000 big arrays are 3000 buffers."""
    rows = [np.full(600, float(n)) for n in range(3000)]
    (parts,), _ = encode_results(range(3000), [0.0] * 3000, rows, ("y",))
    assert len(parts) > 3000
    file = RecordFile(str(tmp_path / "r"), HEADER)
    file.append(frames.RESULTS, *parts)
    file.seal({"cases": 3000}, sync=False)

    found = read_records(str(tmp_path / "r"))

    assert found.sealed
    assert np.array_equal(found.chunks[0].columns["y"].data, np.stack(rows))


# -- damage ---------------------------------------------------------------------------


VALUES: list[Any] = [0.5, 7, "text", True, None, np.array([1.0, 2.0]), 2**70]


def test_a_file_cut_at_any_byte_gives_its_first_frames(tmp_path):
    """Never a wrong value, never an exception, and sealed only if it is whole."""
    expected = write(tmp_path / "r", VALUES)
    whole = (tmp_path / "r").read_bytes()
    counts = []

    for cut in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:cut])
        found = read_records(str(tmp_path / "cut"))
        assert_subset(found, expected)
        assert not found.sealed
        assert read_summary(str(tmp_path / "cut"))[1] is None
        counts.append(len(found.chunks))

    assert counts == sorted(counts)
    assert counts[-1] == len(VALUES)


def test_a_bit_flipped_in_any_byte_costs_one_frame_at_most(tmp_path):
    """Every other frame is read as it was, before the damage and after it."""
    expected = write(tmp_path / "r", VALUES)
    whole = (tmp_path / "r").read_bytes()

    for position in range(len(whole)):
        for bit in (position % 8, (position + 5) % 8):
            altered = bytearray(whole)
            altered[position] ^= 1 << bit
            (tmp_path / "bad").write_bytes(altered)
            found = read_records(str(tmp_path / "bad"))
            assert_subset(found, expected)
            assert not found.sealed
            assert found.damage
            assert len(found.chunks) + len(found.errors) >= len(VALUES)
            assert read_summary(str(tmp_path / "bad"))[0] in (None, HEADER)


def test_a_file_with_a_frame_taken_out_is_not_sealed(tmp_path):
    """The trailer tells where the footer stood."""
    write(tmp_path / "r", [0.5, 1.5, 2.5])
    whole = (tmp_path / "r").read_bytes()
    starts = [at for at in range(0, len(whole), 16) if whole.startswith(b"CRF1", at)]
    (tmp_path / "r").write_bytes(whole[: starts[2]] + whole[starts[3] :])

    found = read_records(str(tmp_path / "r"))

    assert sorted(values_of(found)) == [0, 2]
    assert not found.sealed
    assert "the trailer points elsewhere" in str(found.damage)


def test_a_footer_that_counts_other_cases_is_damage(tmp_path):
    """A case that was written twice counts once."""
    for cases, sealed in ((2, True), (4, False), (1, False)):
        file = RecordFile(str(tmp_path / f"r{cases}"), HEADER)
        for offset in (0, 1, 1):
            file.append(frames.RESULTS, *payload(offset, 0.5))
        file.seal({"cases": cases}, sync=False)
        assert read_records(str(tmp_path / f"r{cases}")).sealed == sealed


@pytest.mark.parametrize("size", [0, 1, 19, 20, 64, 5000])
def test_zeros_are_an_empty_or_damaged_file(tmp_path, size):
    """As some file systems leave behind after a power cut."""
    (tmp_path / "r").write_bytes(bytes(size))
    found = read_records(str(tmp_path / "r"))
    assert (found.header, found.chunks, found.sealed) == ({}, [], False)
    assert found.damage
    assert read_summary(str(tmp_path / "r")) == (None, None)


def test_a_tail_of_zeros_costs_nothing_that_was_written(tmp_path):
    """The size of a file may survive a power cut where its last bytes do not."""
    expected = write(tmp_path / "r", [0.5, 1.5], sealed=False)
    with (tmp_path / "r").open("ab") as file:
        file.write(bytes(4096))
    found = read_records(str(tmp_path / "r"))
    assert values_of(found) == expected
    assert found.damage
    assert not found.sealed


def test_another_format_version_is_named(tmp_path):
    """And nothing of it is read."""
    write(tmp_path / "r", [0.5])
    content = (tmp_path / "r").read_bytes().replace(b"CRF1", b"CRF2")
    (tmp_path / "r").write_bytes(content)
    found = read_records(str(tmp_path / "r"))
    assert found.chunks == []
    assert "format version '2'; this cropfit reads version 1" in str(found.damage)


@pytest.mark.parametrize("kind", [frames.HEADER, 77])
def test_a_frame_that_does_not_belong_there_is_damage(tmp_path, kind):
    """A second header, or a kind that is not known; the rest is read."""
    file = RecordFile(str(tmp_path / "r"), HEADER)
    file.append(frames.RESULTS, *payload(0, 0.5))
    file.append(kind, b'{"design": "other"}')
    file.seal({}, sync=False)
    found = read_records(str(tmp_path / "r"))
    assert found.header == HEADER
    assert values_of(found) == {0: 0.5}
    assert f"kind {kind} does not belong there" in str(found.damage)


def test_frames_behind_the_footer_unseal_the_file(tmp_path):
    """The footer is the last frame or none."""
    write(tmp_path / "r", [0.5])
    with (tmp_path / "r").open("ab") as file:
        file.writelines(frames.write_frame(frames.RESULTS, *payload(1, 1.5)))
    assert not read_records(str(tmp_path / "r")).sealed


def test_a_result_that_is_a_record_file_is_not_read_as_one(tmp_path):
    """Damage to any byte of the head before it does not let its records out."""
    write(tmp_path / "inner", [123.0, 456.0], sealed=False)
    inner = (tmp_path / "inner").read_bytes()
    for value in (inner, np.frombuffer(inner, np.uint8)):
        path = tmp_path / "outer"
        path.unlink(missing_ok=True)
        expected = write(path, [0.5, value, 2.5])
        whole = path.read_bytes()
        start = whole.index(b"CRF1", whole.index(b"CRF1", 1) + 1)
        for position in range(start, start + 20):
            altered = bytearray(whole)
            altered[position] ^= 1 << position % 8
            (tmp_path / "bad").write_bytes(altered)
            found = read_records(str(tmp_path / "bad"))
            assert_subset(found, expected)
            assert sorted(values_of(found)) == [0, 2]
        for cut in range(start, len(whole), 4):
            (tmp_path / "bad").write_bytes(whole[:cut])
            assert_subset(read_records(str(tmp_path / "bad")), expected)


def test_pickles_that_anybody_may_have_written_are_not_loaded(tmp_path):
    """Numbers of the same file are."""
    file = RecordFile(str(tmp_path / "r"), HEADER)
    (parts,), _ = encode_results([0], [0.0], [(1.5, None)], ("y", "z"))
    file.append(frames.RESULTS, *parts)
    file.seal({"cases": 1}, sync=False)
    (tmp_path / "r").chmod(0o666)

    (chunk,) = read_records(str(tmp_path / "r")).chunks

    assert chunk.columns["y"].values() == [1.5]
    with pytest.raises(ForeignFileError, match="anybody may write"):
        chunk.columns["z"].values()


# -- the disk fails -------------------------------------------------------------------


def count_writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each call to write took."""
    calls: list[int] = []
    real = os.writev

    def writev(handle: int, parts: Any) -> int:
        calls.append(real(handle, parts))
        return calls[-1]

    monkeypatch.setattr(records.os, "writev", writev)
    return calls


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes: the kernel writes a part, then EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def size_with(tmp_path: Path, cases: int) -> int:
    path = tmp_path / "measure"
    path.unlink(missing_ok=True)
    file = RecordFile(str(path), HEADER)
    for offset in range(cases):
        file.append(frames.RESULTS, *payload(offset, float(offset)))
    file.close()
    return path.stat().st_size if cases else 0


@pytest.mark.parametrize("into", [0, 1, 19, 20, 60, -1])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_disk_that_fills_leaves_whole_frames_and_the_case_can_be_written_again(
    tmp_path, before, into
):
    """At the first frame, where the header goes along, and at later ones."""
    low, high = size_with(tmp_path, before), size_with(tmp_path, before + 1)
    path = tmp_path / "r"
    file = RecordFile(str(path), HEADER)
    for offset in range(before):
        file.append(frames.RESULTS, *payload(offset, float(offset)))

    with files_end_at(low + into if into >= 0 else high + into):
        with pytest.raises(OSError, match="File too large") as raised:
            file.append(frames.RESULTS, *payload(before, float(before)))
        assert raised.value.errno == errno.EFBIG
        assert path.stat().st_size == low
        if before:
            found = read_records(str(path))
            assert (len(found.chunks), found.damage) == (before, None)

    file.append(frames.RESULTS, *payload(before, float(before)))
    file.seal({"cases": before + 1}, sync=True)
    found = read_records(str(path))
    assert found.sealed
    assert values_of(found) == {n: float(n) for n in range(before + 1)}


def test_a_disk_that_fills_at_the_footer_leaves_the_results_and_sealing_can_be_repeated(tmp_path):
    """The results are worth more than the footer."""
    path = tmp_path / "r"
    low = size_with(tmp_path, 2)
    file = RecordFile(str(path), HEADER)
    for offset in range(2):
        file.append(frames.RESULTS, *payload(offset, float(offset)))
    with files_end_at(low + 30), pytest.raises(OSError, match="File too large"):
        file.seal({"cases": 2}, sync=True)
    assert path.stat().st_size == low
    file.seal({"cases": 2}, sync=True)
    assert read_records(str(path)).sealed


def test_short_writes_are_carried_on(tmp_path, monkeypatch):
    """The system may take fewer bytes than it was given, at any place."""
    real = os.writev
    monkeypatch.setattr(records.os, "writev", lambda h, parts: real(h, [b"".join(parts)[:7]]))
    expected = write(tmp_path / "r", VALUES)
    found = read_records(str(tmp_path / "r"))
    assert found.sealed
    assert_subset(found, expected)
    assert len(found.chunks) == len(VALUES)


def test_a_write_that_takes_nothing_is_an_error_and_no_endless_loop(tmp_path, monkeypatch):
    """No system should do that; one that does must not hang a worker."""
    monkeypatch.setattr(records.os, "writev", lambda *a: 0)
    file = RecordFile(str(tmp_path / "r"), HEADER)
    with pytest.raises(OSError, match="nothing was written"):
        file.append(frames.RESULTS, *payload(0, 0.5))
    file.close()


def test_a_torn_frame_that_could_not_be_cut_off_is_cut_before_the_next(tmp_path, monkeypatch):
    """Nothing is appended behind a torn frame, and the error told is the write's."""
    real = os.writev
    file = RecordFile(str(tmp_path / "r"), HEADER)
    file.append(frames.RESULTS, *payload(0, 0.5))

    def torn(handle: int, parts: Any) -> int:
        real(handle, [b"".join(parts)[:30]])
        raise OSError(errno.ENOSPC, "No space left on device")

    def fails(*args: Any) -> None:
        raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as broken:
        broken.setattr(records.os, "writev", torn)
        broken.setattr(records.os, "ftruncate", fails)
        with pytest.raises(OSError, match="No space left"):
            file.append(frames.RESULTS, *payload(1, 1.5))
        with pytest.raises(OSError, match="gone"):
            file.append(frames.RESULTS, *payload(1, 1.5))
    assert values_of(read_records(str(tmp_path / "r"))) == {0: 0.5}

    file.append(frames.RESULTS, *payload(1, 1.5))
    file.seal({"cases": 2}, sync=False)
    found = read_records(str(tmp_path / "r"))
    assert found.sealed
    assert values_of(found) == {0: 0.5, 1: 1.5}


def test_ctrl_c_between_two_writes_of_a_frame_leaves_whole_frames(tmp_path, monkeypatch):
    """What was half written is cut off again."""
    real = os.writev
    file = RecordFile(str(tmp_path / "r"), HEADER)
    file.append(frames.RESULTS, *payload(0, 0.5))

    def interrupted(handle: int, parts: Any) -> int:
        real(handle, [b"".join(parts)[:30]])
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(records.os, "writev", interrupted)
        with pytest.raises(KeyboardInterrupt):
            file.append(frames.RESULTS, *payload(1, 1.5))

    file.seal({"cases": 1}, sync=False)
    assert read_records(str(tmp_path / "r")).sealed


@pytest.mark.parametrize("call", ["fsync", "close"])
def test_an_error_of_syncing_or_closing_is_raised_and_the_file_is_closed(
    tmp_path, monkeypatch, call
):
    """Some network disks tell only there that they are full."""
    real_close, closed = os.close, []

    def fails(handle: int) -> None:
        if call == "close":
            closed.append(handle)
            real_close(handle)
        raise OSError(errno.ENOSPC, "No space left on device")

    file = RecordFile(str(tmp_path / "r"), HEADER)
    file.append(frames.RESULTS, *payload(0, 0.5))
    with monkeypatch.context() as broken:
        broken.setattr(records.os, call, fails)
        if call == "fsync":
            broken.setattr(records.os, "close", lambda h: (closed.append(h), real_close(h)))
        with pytest.raises(OSError, match="No space left"):
            file.seal({"cases": 1}, sync=True)
    assert len(closed) == 1
    file.close()


def test_a_file_that_is_read_in_pieces_is_whole(tmp_path, monkeypatch):
    """One call gives two GiB at most, and some file systems less."""
    expected = write(tmp_path / "r", VALUES)
    read, readv = os.read, os.readv
    monkeypatch.setattr(records.os, "read", lambda h, n: read(h, min(n, 11)))
    monkeypatch.setattr(records.os, "readv", lambda h, views: readv(h, [views[0][:13]]))
    found = read_records(str(tmp_path / "r"))
    assert found.sealed
    assert_subset(found, expected)
    assert len(found.chunks) == len(VALUES)


def test_frames_cost_one_write_each(tmp_path, monkeypatch):
    """The header and the footer go along with others."""
    calls = count_writes(monkeypatch)
    write(tmp_path / "r", [0.5, 1.5])
    assert len(calls) == 4  # two results, one failure, the footer
