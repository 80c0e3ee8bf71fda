"""A Sampler: seeded draws, and a table that is whole whatever happens to who adds to it."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from faults.harness import UNHARMED, Injector, forked
from hypothesis import given
from hypothesis import strategies as st
from steps import start, tree

import cropfit as cf
from cropfit.farming.draw import draw

NORMAL = scipy.stats.norm(10, 2)
SPREAD = {"x": NORMAL, "n": [1, 2, 3, 4], "word": ["a", "b"], "fixed": 7}
ENGINES = ["parquet", "csv", "pickle"]


def shot(x: float, n: int = 1, word: str = "a", fixed: int = 0) -> tuple[float, int]:
    return x * n, len(word) + fixed


def make_sampler(path: Any = None, **options: Any) -> cf.Sampler:
    return cf.Sampler(cf.Runner(shot, ["y", "m"]), path, SPREAD, **options)


# -- draws -----------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(0, 2**40), st.sampled_from(["random", "latin"]))
def test_the_same_seed_draws_the_same_whatever_else_is_drawn(
    n: int, seed: int, method: Any
) -> None:
    one = draw(n, {"n": [1, 2, 3], "w": ["a", "b"]}, "random", seed)
    other = draw(n, {"w": ["a", "b"], "z": NORMAL, "n": [1, 2, 3]}, "random", seed)
    assert list(one["n"]) == list(other["n"])
    assert list(one["w"]) == list(other["w"])
    again = [draw(n, SPREAD, method, seed) for _ in range(2)]
    for name in SPREAD:
        assert list(again[0][name]) == list(again[1][name])


def test_pairs_are_as_good_as_a_mapping() -> None:
    pairs = [("x", [1.0, 2.0]), ("n", [3])]
    runner = cf.Runner(shot, ["y", "m"])
    told = cf.Sampler(runner, None, pairs[:1]).draw(4, pairs[1:], seed=1)
    same = cf.Sampler(runner).draw(4, dict(pairs), seed=1)
    assert list(told.grid.rows(np.arange(4))) == list(same.grid.rows(np.arange(4)))


def test_more_samples_begin_with_the_same() -> None:
    few, many = (draw(n, SPREAD, "random", 5) for n in (10, 100))
    assert all(list(many[name][:10]) == list(few[name]) for name in SPREAD)


@pytest.mark.parametrize("method", ["latin", "sobol"])
def test_sequences_fill_every_parameter_evenly(method: Any) -> None:
    found = draw(64, {"x": NORMAL, "n": [1, 2, 3, 4]}, method, 1)
    quantiles = np.sort(NORMAL.cdf(found["x"]))
    assert np.abs(quantiles - (np.arange(64) + 0.5) / 64).max() < 1 / 64
    assert np.bincount(found["n"]).tolist() == [0, 16, 16, 16, 16]


def test_callables_take_a_generator_if_they_take_anything() -> None:
    found = draw(5, {"a": lambda rng: rng.integers(10), "b": lambda: 3}, "latin", 1)
    assert found["b"] == [3] * 5
    assert found["a"] == draw(5, {"a": lambda rng: rng.integers(10)}, "random", 1)["a"]


@pytest.mark.parametrize(
    ("combos", "why"),
    [
        ({}, "nothing to draw"),
        ({"x": []}, "no values"),
        ({"x": {1, 2}}, "set"),
        ({"x": {}}, "dict"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(combos: Any, why: str) -> None:
    with pytest.raises(cf.DesignError, match=why):
        draw(3, combos, "random", 1)
    for wrong in (0, 1.5, True):
        with pytest.raises(cf.DesignError, match="number of samples"):
            draw(wrong, SPREAD, "random", 1)  # type: ignore[arg-type]


# -- the table -------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_samples_of_all_calls_are_in_the_file(here: Path, engine: str) -> None:
    sampler = make_sampler("table", engine=engine)

    first = sampler.sample_combos(6, seed=1, method="latin")
    second = sampler.sample_combos(3, {"n": [5]}, seed=2)

    assert first.columns.tolist() == [*SPREAD, "y", "m", "cropfit_run", "cropfit_seed"]
    assert (first.y == first.x * first.n).all()
    assert second.n.tolist() == [5, 5, 5]
    read = make_sampler("table", engine=engine).full_df
    pd.testing.assert_frame_equal(read, pd.concat([first, second], ignore_index=True))
    pd.testing.assert_frame_equal(sampler.full_df, read)
    assert sampler.last_df is second
    assert read.cropfit_seed.tolist() == [1] * 6 + [2] * 3
    assert tree(here) == ["table"]


@pytest.mark.parametrize(
    ("name", "engine"), [("t.csv", "csv"), ("t.pkl", "pickle"), ("t.parquet", "parquet")]
)
def test_the_ending_tells_the_engine(name: str, engine: str) -> None:
    assert make_sampler(name).engine == engine
    assert make_sampler("t").engine == "parquet"
    with pytest.raises(cf.DesignError, match="engine"):
        make_sampler("t", engine="hdf")


def test_the_seed_is_drawn_and_recorded_where_none_is_given() -> None:
    sampler = make_sampler()
    first = sampler.sample_combos(5)
    again = sampler.sample_combos(5, seed=int(first.cropfit_seed[0]))
    assert again.x.tolist() == first.x.tolist()
    assert len(sampler.full_df) == 10


def test_arrays_stand_in_their_cells(here: Path) -> None:
    runner = cf.Runner(lambda x: (np.arange(x), np.eye(2)), ["v", "m"], var_dims={"m": ["i", "j"]})
    for name in ("t.parquet", "t.pkl"):
        cf.Sampler(runner, name).sample_combos(4, {"x": [1, 2, 3]}, seed=1)
        again = cf.Sampler(runner, name).full_df
        assert [len(v) for v in again.v] != []
        assert np.asarray([*again.m[0]]).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(cf.ResultError, match="holds arrays"):
        cf.Sampler(runner, "t.csv").sample_combos(4, {"x": [1, 2, 3]})
    assert tree(here) == ["t.parquet", "t.pkl"]


def test_ints_stay_ints_where_another_run_lacks_them(here: Path) -> None:
    sampler = cf.Sampler(cf.Runner(lambda **given: 1, "y"), "t.parquet")
    sampler.sample_combos(2, {"big": [2**60 + 1]})
    sampler.sample_combos(2, {"other": [1.5]})
    big = cf.Sampler(sampler.runner, "t.parquet").full_df.big
    assert big[0] == 2**60 + 1
    assert big.isna().tolist() == [False, False, True, True]


def test_failed_samples_make_no_row(here: Path) -> None:
    def fn(x: int) -> int:
        return 1 // (x - 2)

    sampler = cf.Sampler(cf.Runner(fn, "y"), "t.pkl")
    with pytest.raises(cf.CaseError, match="ZeroDivisionError"):
        sampler.sample_combos(20, {"x": [1, 2, 3]}, seed=1)
    assert tree(here) == []

    df = sampler.sample_combos(20, {"x": [1, 2, 3]}, seed=1, on_error="record")
    assert set(df.x) == {1, 3}
    assert len(df) + len(sampler.last_failures) == 20


def test_unsaved_rows_go_with_the_next_that_are_saved(here: Path) -> None:
    sampler = make_sampler("t.csv")
    sampler.sample_combos(2, seed=1, sync=False)
    assert tree(here) == []
    assert len(sampler.full_df) == 2
    sampler.sample_combos(3, seed=2)
    assert len(make_sampler("t.csv").full_df) == 5
    sampler.sample_combos(1, seed=3, sync=False)
    sampler.save_full_df()
    assert len(make_sampler("t.csv").full_df) == 6
    sampler.save_full_df(sampler.full_df[:4])
    assert len(sampler.load_full_df()) == 4
    sampler.delete_df(backup=True)
    assert tree(here) == ["t.csv.bak"]
    assert len(sampler.full_df) == 0


def test_a_pickle_that_anybody_may_write_is_not_read(here: Path) -> None:
    make_sampler("t.pkl").sample_combos(2)
    os.chmod("t.pkl", 0o666)
    with pytest.raises(cf.ForeignFileError):
        make_sampler("t.pkl").load_full_df()


def test_a_file_of_another_format_is_named_and_left(here: Path) -> None:
    (here / "t.parquet").write_text("x,y\n1,2\n")
    with pytest.raises(cf.DamagedError, match=r"t.parquet cannot be read as parquet"):
        make_sampler("t.parquet").sample_combos(2)
    assert (here / "t.parquet").read_text() == "x,y\n1,2\n"


# -- crops -----------------------------------------------------------------------------


def test_a_crop_of_samples_is_reaped_to_the_table(here: Path) -> None:
    sampler = make_sampler("t.parquet")
    crop = sampler.Crop("it", batchsize=4, verbosity=0)
    crop.sow_samples(10, {"word": "abc"}, method="latin", seed=3)
    assert crop.location in repr(crop)
    crop.sow_samples(10, {"word": "abc"}, method="latin")
    crop.grow()

    df = crop.reap()

    direct = make_sampler().sample_combos(10, {"word": "abc"}, method="latin", seed=3)
    names = [*SPREAD, "y", "m", "cropfit_seed"]
    pd.testing.assert_frame_equal(df[names], direct[names])
    pd.testing.assert_frame_equal(sampler.full_df, df)
    assert tree(here) == ["t.parquet"]


def test_samples_may_repeat(here: Path) -> None:
    sampler = cf.Sampler(cf.Runner(lambda x: cf.current_case().rng.random(), "y"), "t.pkl")
    crop = sampler.Crop("it", verbosity=0)
    crop.sow_samples(50, {"x": ["heads", "tails"]}, seed=1)
    crop.grow()
    df = crop.reap()
    assert len(df) == 50
    assert df.y.nunique() == 50


def test_a_million_samples_that_are_close_by_chance_are_sown(here: Path) -> None:
    values = np.concatenate([np.linspace(0.1, 1, 1000), np.linspace(0.1, 1, 1000) + 1e-16])
    sampler = cf.Sampler(cf.Runner(lambda x: x, "y"))
    crop = sampler.Crop("it", num_batches=2, verbosity=0)
    crop.sow_samples(3000, {"x": values}, seed=1)
    crop.grow()
    df = crop.reap(to=False, clean_up=True)
    assert (df.x == df.y).all()
    assert len(df) == 3000


def test_only_a_sampler_sows_samples(here: Path) -> None:
    with pytest.raises(cf.DesignError, match=r"sampler.Crop"):
        cf.Runner(shot, ["y", "m"]).Crop("it").sow_samples(3)


def test_what_is_not_grown_makes_no_row_and_comes_later(here: Path) -> None:
    sampler = make_sampler("t.csv")
    crop = sampler.Crop("it", batchsize=5, verbosity=0)
    crop.sow_samples(10, seed=1)
    crop.grow(1)

    assert len(crop.reap(allow_incomplete=True)) == 5
    assert len(crop.peek().case) == 10
    crop.grow()
    assert len(crop.reap()) == 10

    assert len(sampler.load_full_df()) == 10
    assert tree(here) == ["t.csv"]


def test_a_reap_that_is_done_twice_adds_its_rows_once(here: Path) -> None:
    sampler = make_sampler("t.parquet")
    sampler.sample_combos(3, seed=9)
    crop = sampler.Crop("it", verbosity=0)
    crop.sow_samples(7, seed=1)
    crop.grow()
    crop.reap(clean_up=False)
    cf.Crop.load("it", verbosity=0).reap()
    assert len(sampler.load_full_df()) == 10
    assert tree(here) == ["t.parquet"]


# -- accidents -------------------------------------------------------------------------


def harm_at_every_operation(
    top: Path, act: Callable[[], Any], check: Callable[[str], Any], harm: str
) -> int:
    """Harm the n-th file operation of `act` below `top`, for every n; `check` after each."""
    saved = top.with_name(f"{top.name}.saved")
    shutil.copytree(top, saved)
    at = 0
    while True:
        at += 1
        shutil.rmtree(top)
        shutil.copytree(saved, top)

        def harmed(at: int = at) -> None:
            with Injector(top, at, harm) as injector:
                act()
                if injector.count < at:
                    os._exit(UNHARMED)

        ended = forked(harmed, top.with_name("child"))
        if ended.code == UNHARMED:
            return at - 1
        done = forked(partial(check, f"operation {at}: {ended}"), top.with_name("check"))
        assert done.code == 0, f"operation {at}: {ended}; then {done.said}"


@pytest.mark.parametrize("harm", ["kill", "torn", "full"])
@pytest.mark.parametrize("engine", ENGINES)
def test_harm_at_every_operation_of_a_save_leaves_all_rows_or_the_former(
    tmp_path: Path, engine: str, harm: str
) -> None:
    field = tmp_path / "field"
    field.mkdir()
    path = str(field / "t")
    make_sampler(path, engine=engine).sample_combos(4, seed=1)
    rows = make_sampler().sample_combos(3, seed=2)

    def check(where: str) -> None:
        assert len(make_sampler(path, engine=engine).full_df) in (4, 7), where
        sampler = make_sampler(path, engine=engine)
        sampler.add_df(rows)
        assert len(sampler.load_full_df()) == 7, where
        assert tree(field) == ["t"], where

    points = harm_at_every_operation(
        field, lambda: make_sampler(path, engine=engine).add_df(rows), check, harm
    )
    assert points >= (1 if harm != "kill" else 5)


def test_a_kill_at_every_operation_of_a_reap_adds_the_rows_once(tmp_path: Path) -> None:
    """Between the adding and the deletion, too: the next reap finds its rows there."""
    field = tmp_path / "field"
    field.mkdir()
    path = str(field / "t.pkl")
    sampler = make_sampler(path)
    sampler.sample_combos(2, seed=5)
    crop = sampler.Crop("it", parent_dir=field, num_batches=2, verbosity=0)
    crop.sow_samples(6, seed=1)
    crop.grow()

    def reap() -> None:
        cf.Crop.load(field / ".crop-it", verbosity=0).reap()

    def check(where: str) -> None:
        if (field / ".crop-it").exists():
            reap()
        table = make_sampler(path).full_df
        assert len(table) == 8, where
        make_sampler(path).add_df(table[:0])  # sweeps what the killed one left
        assert [name for name in tree(field) if not name.endswith(".trash")] == ["t.pkl"], where

    assert harm_at_every_operation(field, reap, check, "kill") > 10


SAMPLE = """
import sys, cropfit as cf
sampler = cf.Sampler(cf.Runner(lambda x: 2 * x, "y"), sys.argv[1])
for number in range(8):
    sampler.sample_combos(5, {"x": range(10)}, seed=number)
"""


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_processes_that_add_at_once_all_end_up_in_the_table(here: Path, name: str) -> None:
    started = [start(SAMPLE, name, cwd=here) for _ in range(3)]
    said = [process.communicate(timeout=100)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    table = make_sampler(name).full_df
    assert len(table) == 3 * 8 * 5
    assert table.cropfit_run.nunique() == 24
    assert tree(here) == [name]


def test_it_is_pickled_with_its_place_and_without_its_rows(here: Path) -> None:
    sampler = make_sampler("t.csv")
    sampler.sample_combos(3, seed=1)
    again = pickle.loads(pickle.dumps(sampler))
    assert (again.data_name, again.last_df) == (sampler.data_name, None)
    assert len(again.full_df) == 3
    assert again(2.0, 3)[0] == 6.0
