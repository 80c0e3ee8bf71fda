"""Batches that travel in a tar file: nothing is lost, nothing foreign gets in."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from faults.harness import Injector, forked
from shell import cropfit, folders, shell, started
from steps import Tally, tree

import cropfit as cf


def sow(folder, fn, values=None, **options):
    options = {"batchsize": 2, **options}
    crop = cf.Crop(fn, "far", parent_dir=folder, var_names=["z"], verbosity=0)
    crop.sow_combos(values or {"x": range(10)}, seed=1, **options)
    return crop


def counts(crop):
    return {state: len(names) for state, names in folders(crop).items() if names}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def away(tmp_path):
    """Another machine: what is carried there is all that it has."""
    (tmp_path / "away").mkdir()
    return tmp_path / "away"


def carry(path, folder):
    return shutil.copy2(path, folder)


# -- there and back --------------------------------------------------------------------


def test_a_packed_crop_is_grown_elsewhere_and_comes_home(tmp_path, home, away):
    tally = Tally(tmp_path / "tally")

    def work(x):
        tally.add(x)
        if x == 7:
            raise ValueError("no seven")
        return cf.current_case().rng.normal()

    crop = sow(home, work)
    crop.grow([1, 2])
    there = carry(crop.pack(path=home / "it.tar"), away)
    assert counts(crop) == {"sown": 3, "grown": 2}

    code, _, err = shell("grow", "it.tar", cwd=away)
    assert code == 1, err
    assert "failed: batch 4 case 1 (x=7) ValueError: no seven" in err
    assert os.listdir(away) == ["it.tar"]
    back = carry(there, home)
    report = crop.unpack(back)

    assert (sorted(report.grown), report.failed) == ([3, 5], [4])
    assert "no seven" in crop.errors()[0]["traceback"]
    assert tally.sorted() == list(range(10))
    assert crop.unpack(back).grown == []
    assert counts(crop) == {"grown": 4, "failed": 1}
    assert crop.clean() == {"dead": 0, "torn": 0, "lost": 0, "leftovers": 0}
    ds = crop.reap(allow_incomplete=True)
    for x in set(range(10)) - {7}:
        rng = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(x,)))
        assert ds["z"].sel(x=x) == rng.normal()


def test_a_tar_holds_the_objects_of_its_own_batches_alone(home, away):
    maps = {f"map{k}": np.full(50_000, float(k)) for k in range(10)}
    labels = {f"n{k}": np.arange(k) for k in range(3)}
    crop = sow(home, lambda m, n: m[-1] + len(n), {"m": maps, "n": labels}, batchsize=3)
    path = crop.pack([4, 9], path=away / "some.tar")

    assert os.path.getsize(path) < 1_000_000  # two of ten maps of 400 kB
    assert shell("grow", "some.tar", cwd=away)[0] == 0
    crop.unpack(path)
    assert crop.completed_results() == [4, 9]
    crop.grow()
    assert crop.reap()["z"].values.tolist() == [[k + n for n in range(3)] for k in range(10)]


def test_a_half_grown_batch_goes_on_where_it_was(tmp_path, home, away):
    """Results and checkpoints travel out, and those of a second stop travel back."""
    tally = Tally(tmp_path / "tally")
    stop = tmp_path / "stop"

    def work(x):
        tally.add(x)
        case = cf.current_case()
        saved = Path(case.checkpoint_dir) / "state"
        if stop.read_text() == str(x):
            saved.write_text((saved.read_text() if saved.exists() else "") + "#")
            case.leave()
        return float(x) + 100 * (len(saved.read_text()) if saved.exists() else 0)

    stop.write_text("1")
    crop = sow(home, work, {"x": range(4)}, batchsize=4)
    crop.grow()
    path = crop.pack(path=away / "it.tar")
    assert shell("grow", "it.tar", cwd=away)[0] == 75
    crop.unpack(path)
    stop.write_text("")
    crop.grow()

    assert crop.reap()["z"].values.tolist() == [0.0, 201.0, 2.0, 3.0]
    assert tally.all() == ["0", "1", "1", "1", "2", "3"]


def test_what_is_held_waits_for_the_tar_or_is_taken_back_by_hand(home, away):
    crop = sow(home, lambda x: x)
    path = crop.pack([2, 3], path=away / "it.tar", hold=True)
    assert counts(crop) == {"sown": 3, "ignored": 2}
    crop.grow()
    assert counts(crop) == {"grown": 3, "ignored": 2}
    crop.unpack(path)  # nobody grew it
    assert counts(crop) == {"grown": 3, "sown": 2}

    path = crop.pack(path=away / "again.tar", hold=True)
    assert cropfit("grow", path).exit_code == 0
    assert crop.unpack(path).grown == [2, 3]
    assert crop.reap()["z"].values.tolist() == list(range(10))


def test_what_was_grown_at_home_meanwhile_stays(home, away):
    crop = sow(home, lambda x: os.environ.get("WHERE", "home"), {"x": range(4)})
    path = crop.pack(path=away / "it.tar")
    assert shell("grow", "it.tar", cwd=away, env={**os.environ, "WHERE": "away"})[0] == 0
    crop.grow([1])
    assert crop.unpack(path).grown == [2]
    assert crop.reap()["z"].values.tolist() == ["home", "home", "away", "away"]


def test_a_failed_batch_can_be_packed_and_only_its_failed_cases_run_again(tmp_path, home, away):
    tally, mended = Tally(tmp_path / "tally"), tmp_path / "mended"

    def work(x):
        tally.add(x)
        if x == 1 and not mended.exists():
            raise ValueError("one")
        return x

    crop = sow(home, work, {"x": range(4)}, batchsize=4)
    crop.grow()
    mended.touch()
    path = crop.pack([1], path=away / "it.tar")
    assert shell("grow", "it.tar", cwd=away)[0] == 0
    crop.unpack(path)
    assert tally.sorted() == [0, 1, 1, 2, 3]
    assert crop.reap()["z"].values.tolist() == [0, 1, 2, 3]


def test_a_part_is_laid_out_grown_by_hand_and_packed_again(home, away, monkeypatch):
    crop = sow(home, lambda x: x)
    path = carry(crop.pack([1, 2, 3], path=home / "it.tar"), away)
    monkeypatch.chdir(away)
    assert "laid out" in cropfit("unpack", "it.tar").output
    part = cf.Crop.load("far", verbosity=0)
    assert part.clean() == {"dead": 0, "torn": 0, "lost": 0, "leftovers": 0}
    part.grow([2])
    with pytest.raises(cf.ExistsError, match="is there already"):
        part.pack(path=path)
    with pytest.raises(cf.NotReadyError):
        part.reap()
    os.unlink(path)
    assert cropfit("pack", "far", "-o", "it.tar").exit_code == 0
    told = cropfit("unpack", "it.tar", "--parent-dir", str(home))
    assert told.output == "1 grown and 0 failed batches unpacked\n"
    assert counts(crop) == {"sown": 4, "grown": 1}


def test_a_tar_by_hand_is_a_crop(home, away):
    crop = sow(home, lambda x: x)
    path = crop.pack(path=home / "it.tar")
    subprocess.run(["tar", "xf", path], cwd=away, check=True)
    assert shell("grow", "far", cwd=away)[0] == 0
    assert tree(away / ".crop-far" / "grown")


def test_a_crop_of_shards_can_be_packed(home, away, monkeypatch):
    monkeypatch.setattr("cropfit.work.sow.SHARDED_FROM", 4)
    crop = sow(home, lambda x: x)
    path = crop.pack([2], path=away / "it.tar")
    assert shell("grow", "it.tar", cwd=away)[0] == 0
    assert crop.unpack(path).grown == [2]


def test_what_cannot_be_packed_is_told(home):
    crop = sow(home, lambda x: x)
    crop.grow([1])
    with pytest.raises(cf.NotFoundError, match=r"first: \[1\]"):
        crop.pack([1, 2], path=home / "it.tar")
    with pytest.raises(cf.NotFoundError, match="99"):
        crop.pack([99], path=home / "it.tar")
    crop.grow()
    with pytest.raises(cf.NotFoundError, match="No batch is left"):
        crop.pack(path=home / "it.tar")
    assert tree(home)[-1] != "it.tar"


# -- what is refused -------------------------------------------------------------------


def rewritten(path, change):
    """The same tar with its members passed through `change`: (member, data) or more, or none."""
    with tarfile.open(path) as tar:
        old = [(each, tar.extractfile(each).read() if each.isfile() else b"") for each in tar]
    with tarfile.open(path, "w") as tar:
        for member, data in change(old):
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


HOSTILE = {
    "a path that leads out": member(".crop-far/../evil"),
    "an absolute path": member("/tmp/cropfit-evil"),
    "a way out of a checkpoint": member(".crop-far/sown/000001/checkpoint/0/../../../../evil"),
    "a symbolic link": member(
        ".crop-far/sown/000001/results.a-b-c", tarfile.SYMTYPE, "/etc/passwd"
    ),
    "a hard link": member(".crop-far/sown/000001/errors.jsonl", tarfile.LNKTYPE, "/etc/passwd"),
    "a linked folder": member(".crop-far/grown/000001", tarfile.SYMTYPE, "/tmp"),
    "a device": member(".crop-far/sown/000001/log.txt", tarfile.CHRTYPE),
    "a pipe": member(".crop-far/sown/000001/log.txt", tarfile.FIFOTYPE),
    "a program": member(".crop-far/sown/000001/run.py"),
    "another crop": member(".crop-other/crop.json"),
    "a file twice": member(".crop-far/crop.json"),
    "a batch twice": member(".crop-far/failed/000001/errors.jsonl"),
    "a batch that is misplaced": member(".crop-far/grown/000/000900/errors.jsonl"),
    "no crop at all": member("evil"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_tar_with_something_else_in_it_is_refused_whole(home, away, what):
    crop = sow(home, lambda x: x)
    path = crop.pack(path=away / "it.tar")
    cropfit("grow", path)
    rewritten(path, lambda old: [*old, (HOSTILE[what], b"")])
    before = tree(home)

    with pytest.raises(cf.DamagedError, match="Nothing was written"):
        crop.unpack(path)
    code, _, err = shell("grow", "it.tar", cwd=away)
    assert (code, "Nothing was written" in err) == (2, True)
    assert tree(home) == before
    assert tree(away) == ["it.tar"]


def test_a_tar_of_another_crop_or_design_is_refused(home, away):
    crop = sow(home, lambda x: x)
    path = crop.pack(path=away / "it.tar")
    assert cropfit("grow", path).exit_code == 0
    other = cf.Crop(lambda x: x, "far", parent_dir=home, var_names=["z"], verbosity=0)
    other.sow_combos({"x": range(100, 110)}, batchsize=2, exists="replace")
    with pytest.raises(cf.DamagedError, match="another crop or design"):
        crop.unpack(path)
    assert counts(crop) == {"sown": 5}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_a_torn_tar_is_refused(home, away, share):
    crop = sow(home, lambda x: x)
    path = crop.pack(path=away / "it.tar")
    cropfit("grow", path)
    with tarfile.open(path) as tar:
        last = max(each.offset_data + each.size for each in tar)
    os.truncate(path, int(share * last))
    with pytest.raises(cf.DamagedError):
        crop.unpack(path)
    assert counts(crop) == {"sown": 5}


def test_a_result_that_was_altered_is_left_out_and_the_others_come_home(home, away):
    crop = sow(home, lambda x: x)
    path = crop.pack(path=away / "it.tar")
    cropfit("grow", path)

    def spoil(old):
        for each, data in old:
            broken = "000003/results" in each.name
            yield each, data[:-40] + bytes(1) + data[-39:] if broken else data

    rewritten(path, spoil)
    report = crop.unpack(path)
    assert report.grown == [1, 2, 4, 5]
    assert "Batch 3 of the tar is left out" in report.notes[0]
    assert counts(crop) == {"grown": 4, "sown": 1}


@pytest.mark.needs("root")
@pytest.mark.parametrize("harm", ["owner", "mode"])
def test_a_tar_that_somebody_else_may_have_written_is_not_read(home, away, harm):
    crop = sow(home, lambda x: x)
    path = crop.pack(path=away / "it.tar")
    assert os.stat(path).st_mode & 0o777 == 0o600
    if harm == "owner":
        os.chown(path, 12345, 12345)
    else:
        os.chmod(path, 0o666)
    with pytest.raises(cf.ForeignFileError, match="CROPFIT_TRUST"):
        crop.unpack(path)
    assert shell("grow", "it.tar", cwd=away)[0] == 2


# -- kills -----------------------------------------------------------------------------


def test_a_kill_at_any_file_operation_of_packing_leaves_crop_and_tar_sound(tmp_path, home, away):
    crop = sow(home, lambda x: x, {"x": range(4)})
    log = tmp_path / "log"
    for at in range(1, 200):
        path = away / f"{at}.tar"

        def work(at=at, path=path):
            with Injector(tmp_path, at, "kill"):
                crop.pack(path=path, hold=True)

        ended = forked(work, log)
        assert ended.killed or ended.code == 0, ended.said
        crop.ignore(undo=True)
        assert counts(crop) == {"sown": 2}
        if path.exists():
            with tarfile.open(path) as tar:
                assert ".crop-far/parcel.json" in tar.getnames()
        if not ended.killed:
            break
    assert at > 8


def test_a_kill_at_any_file_operation_of_unpacking_loses_nothing(tmp_path, home, away):
    def work(x):
        if x == 1:
            raise ValueError("one")
        return x

    path = sow(home, work, {"x": range(4)}).pack(path=away / "it.tar")
    cropfit("grow", path)
    log, kept = tmp_path / "log", tmp_path / "kept"
    shutil.copytree(home, kept)
    for at in range(1, 300):
        shutil.rmtree(home)
        shutil.copytree(kept, home)
        crop = cf.Crop(name="far", parent_dir=home, verbosity=0)

        def unpack(at=at, crop=crop):
            with Injector(tmp_path, at, "kill"):
                crop.unpack(path)

        ended = forked(unpack, log)
        assert ended.killed or ended.code == 0, ended.said
        crop.unpack(path)
        assert counts(crop) == {"grown": 1, "failed": 1}, at
        assert len(crop.errors()) == 1
        assert crop.peek(fill_value=-1)["z"].values.tolist() == [0, -1, 2, 3]
        if not ended.killed:
            break
    assert at > 20


def test_a_killed_grower_of_a_tar_costs_the_case_in_hand(tmp_path, home, away):
    tally, killed = Tally(tmp_path / "tally"), tmp_path / "killed"

    def work(x):
        tally.add(x)
        if x == 5 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sow(home, work, batchsize=1)
    path = crop.pack(path=away / "it.tar")
    assert shell("grow", "it.tar", cwd=away)[0] == -signal.SIGKILL
    assert crop.unpack(path).grown == []  # the tar is as it was
    assert shell("grow", "it.tar", cwd=away)[0] == 0
    assert crop.unpack(path).grown == list(range(1, 11))
    assert tally.sorted() == sorted([*range(10), 5])
    assert os.listdir(away) == ["it.tar"]


def test_several_may_grow_one_tar_at_once(tmp_path, home, away):
    tally = Tally(tmp_path / "tally")

    def work(x):
        tally.add(x)
        return x

    crop = sow(home, work, {"x": range(60)}, batchsize=1)
    path = crop.pack(path=away / "it.tar")
    growers = [started("grow", "it.tar", cwd=away) for _ in range(3)]
    told = [grower.communicate(timeout=200) for grower in growers]
    assert [grower.returncode for grower in growers] == [0, 0, 0], told
    assert len(crop.unpack(path).grown) == 60
    assert set(tally.sorted()) == set(range(60))
    assert os.listdir(away) == ["it.tar"]
