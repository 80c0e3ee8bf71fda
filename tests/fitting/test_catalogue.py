"""`fit_catalogue` keeps what is done, tells what is not, and holds ids as keys, never positions."""

from __future__ import annotations

import json
import os
import signal
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shell import cropfit
from steps import GROW, Gate, Tally, python, start, tree

import cropfit as cf
from cropfit.catalogue import Catalogue
from cropfit.disk import netcdf
from cropfit.errors import DesignError, ExistsError, NotFoundError, NotReadyError
from cropfit.fitting.samplers import keeper

X = np.linspace(0, 1, 10)
PRIORS = {"slope": cf.Uniform(-9, 9, unit="km/s"), "height": cf.Uniform(-9, 9)}


def data_of(key):
    rng = np.random.default_rng(sum(map(ord, str(key))))
    return {"x": X, "y": 2 * X + 1 + 0.1 * rng.normal(size=10), "yerr": np.full(10, 0.1)}


def load(key):
    if str(key).startswith("bad"):
        raise OSError(f"there is no file of {key}")
    return data_of(key)


def line(p, data):
    model = p.slope * data["x"] + p.height
    return -0.5 * np.sum(((data["y"] - model) / data["yerr"]) ** 2, axis=-1)


def curve(p, data):
    return p.slope * data["x"] + p.height


MODEL = cf.Model(line, PRIORS)


def catalogue(ids=("a", "b", "c"), model=MODEL, load_data=load, **options) -> Catalogue:
    terms = {"run": "gal", "seed": 1, "n_live": 20, "dlogz": 1.0, "verbosity": 0}
    return cf.fit_catalogue(ids, model, load_data, **{**terms, **options})


# -- merging -------------------------------------------------------------------------


def test_the_table_tells_the_state_of_every_object_at_any_time(here):
    gate = Gate(here / "gate")

    def stops(key):
        if key == "held":
            gate.stop_here()
        return load(key)

    cat = catalogue(["one", "bad", "away", "held", "later"], load_data=stops)
    assert set(cat.merge().status) == {"waiting"}
    cat.grow([1, 2])
    cat.ignore([3])
    worker = start(GROW, cat.location)
    gate.wait_for_arrival()

    table = Catalogue.load("gal").merge()

    states = ["done", "failed", "ignored", "fitting", "waiting"]
    assert dict(zip(table.index, table.status, strict=True)) == dict(
        zip(["one", "bad", "away", "held", "later"], states, strict=True)
    )
    assert table.error["bad"] == "OSError: there is no file of bad"
    assert table.slope_16["one"] < table.slope_50["one"] < table.slope_84["one"]
    assert table.attrs["units"]["slope_50"] == "km/s"
    assert "there is no file" in cat.errors()[0]["traceback"]
    gate.let_go()
    assert worker.wait(60) == 0
    table = cat.merge()
    assert table.status["later"] == table.status["held"] == "done"


def test_objects_of_one_batch_are_told_apart(here):
    cat = catalogue(["one", "bad", "two", "three"], batchsize=2)
    cat.grow([1])
    assert cat.merge().status.tolist() == ["done", "failed", "waiting", "waiting"]
    cat.clean()
    assert cat.merge().status.tolist() == ["done", "waiting", "waiting", "waiting"]


def test_a_merge_does_not_read_again_what_was_merged_before(here):
    cat = catalogue()
    cat.grow([1, 2])
    assert cat.backlog() == 2
    before = cat.merge()
    assert cat.backlog() == 0
    for path in Path(cat.location, "grown").rglob("results*"):
        path.write_bytes(b"")
    cat.grow([3])
    assert cat.backlog() == 1
    after = cat.merge()
    assert after.status.tolist() == ["done"] * 3
    pd.testing.assert_frame_equal(after.loc[["a", "b"]], before.loc[["a", "b"]], check_dtype=False)


def test_torn_notes_of_former_merges_are_read_anew(here):
    cat = catalogue()
    cat.grow()
    before = cat.merge()
    notes = Path(cat.location, "catalogue.jsonl")
    whole = notes.read_bytes()
    for cut in (len(whole) // 3, len(whole) // 2, len(whole) - 9):
        notes.write_bytes(whole[:cut])
        pd.testing.assert_frame_equal(cat.merge(), before)
        assert cat.backlog() == 0


def test_a_torn_batch_waits_in_the_table(here):
    cat = catalogue()
    cat.grow()
    (torn, *_) = sorted(Path(cat.location, "grown").rglob("results*"))
    torn.write_bytes(torn.read_bytes()[:40])
    table = cat.merge()
    assert len(table) == 3
    assert sorted(table.status) == ["done", "done", "waiting"]


def read(path: str) -> tuple[list, list, str | None]:
    """Ids, medians and the unit of the medians in a file."""
    if path.endswith(".csv"):
        exact = {"slope_50": lambda text: float(text or "nan")}  # what pandas 2 does not promise
        frame = pd.read_csv(path, index_col="id", converters=exact)
        return frame.index.tolist(), frame.slope_50.tolist(), None
    if path.endswith(".nc"):
        ds = cf.load_dataset(path)
        return ds.id.values.tolist(), ds.slope_50.values.tolist(), ds.slope_50.attrs["units"]
    if path.endswith(".parquet"):
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        frame = table.to_pandas()
        unit = table.schema.metadata[b"unit:slope_50"].decode()
        return frame.index.tolist(), frame.slope_50.tolist(), unit
    from astropy.table import Table

    table = Table.read(path)
    ids = [str(key) if table["id"].dtype.kind in "US" else key for key in table["id"]]
    return (
        ids,
        np.ma.filled(table["slope_50"].astype(float), np.nan).tolist(),
        str(table["slope_50"].unit),
    )


@pytest.mark.parametrize("ids", [["a", "bad\nü", "c"], [3, 1, 2**62]])
def test_every_kind_of_file_is_read_back_with_units(here, ids):
    cat = catalogue(ids, analysis=lambda fit: {"grade": "A", "chi2": -2 * fit.log_likelihood.max()})
    cat.grow([1, 3])
    wanted = cat.merge()
    for ending in ("csv", "ecsv", "fits", "parquet", "nc"):
        cat.merge(f"table.{ending}")
        keys, medians, unit = read(f"table.{ending}")
        if ending == "fits":
            ids = [str(key).encode("ascii", "backslashreplace").decode() for key in ids]
        assert list(map(str, keys)) == list(map(str, ids))
        np.testing.assert_array_equal(medians, wanted.slope_50)
        assert unit in ("km/s", "km / s") or ending == "csv"
        ids = wanted.index.tolist()
    with pytest.raises(DesignError, match=r"\.txt must end in \.csv"):
        cat.merge("table.txt")
    assert [path for path in tree(here) if "table" in path and path[0] == "."] == []


# -- settings ------------------------------------------------------------------------


def test_settings_hold_for_their_object_alone(here):
    def parabola(p, data):
        return -0.5 * np.sum(((data["y"] - p.c * data["x"] ** 2) / data["yerr"]) ** 2, axis=-1)

    settings = {
        "fixed": {"slope": 2.0},
        "near": {"slope": 5.0, "slope_sigma": 0.01},
        "prior": {"slope": cf.Uniform(3, 4)},
        "model": {"model": cf.Model(parabola, {"c": cf.Uniform(0, 9)})},
        "option": {"sampler": "maxlike"},
    }
    cat = catalogue(["free", *settings, "after"], settings=settings)
    cat.grow()
    table = cat.merge()

    assert set(table.status) == {"done"}
    assert table.slope["fixed"] == 2.0
    assert np.isnan(table.slope_50["fixed"])
    assert table.slope_50["near"] == pytest.approx(5, abs=0.04)
    assert 3 <= table.slope_16["prior"] < table.slope_84["prior"] <= 4
    assert table.c_50.notna().tolist() == [key == "model" for key in table.index]
    assert np.isnan(table.log_evidence["option"])
    for key in ("free", "after"):
        assert 1 < table.slope_50[key] < 3
        assert np.isfinite(table.log_evidence[key])


@pytest.mark.parametrize("kind", ["pandas", "a column", "astropy"])
def test_empty_cells_of_a_table_say_nothing(here, kind):
    table = pd.DataFrame({"slope": [np.nan, 5.0], "slope_sigma": [np.nan, 0.01]}, index=["b", "a"])
    if kind != "pandas":
        table = table.rename_axis("id").reset_index()
    if kind == "astropy":
        from astropy.table import Table

        table = Table.from_pandas(table)
    cat = catalogue(settings=table)
    cat.grow()
    merged = cat.merge()
    assert merged.slope_50["a"] == pytest.approx(5, abs=0.04)
    assert all(1 < merged.slope_50[key] < 3 for key in "bc")


@pytest.mark.parametrize(
    ("ids", "settings", "why"),
    [
        (["a", "b", "a"], None, r"1 ids come more than once: \['a'\]"),
        (["a", 1], None, "all text or all whole numbers"),
        (["a", 1.5], None, "text or whole numbers, not 1.5"),
        (["a"], {"z": {"slope": 1.0}}, r"not among the 1 ids: \['z'\]"),
        (["a"], {"a": {"slop": 1.0}}, "'a': .*slop"),
        (["a"], {"a": {"slope_sigma": 1.0}}, "slope_sigma is given without its value"),
        (["a"], {"a": {"model": "line"}}, "model must be a Model"),
    ],
)
def test_what_nobody_knows_is_refused_before_anything_is_written(here, ids, settings, why):
    with pytest.raises(DesignError, match=why):
        catalogue(ids, settings=settings)
    assert tree(here) == []


# -- the same call again -------------------------------------------------------------


def test_ids_in_another_order_are_the_same_catalogue(here):
    catalogue("abc", settings={"b": {"slope": 2.0}}).grow([1])
    again = catalogue("cba", settings={"b": {"slope": 2.0}})
    assert again.ids() == ["a", "b", "c"]
    assert again.merge().status.tolist() == ["done", "waiting", "waiting"]


def test_what_differs_is_refused_by_name(here):
    catalogue()
    narrow = cf.Model(line, {**PRIORS, "slope": cf.Uniform(0, 1)})
    with pytest.raises(ExistsError, match="the prior of 'slope'"):
        catalogue(model=narrow)
    with pytest.raises(ExistsError, match="n_live"):
        catalogue(n_live=30)
    with pytest.raises(ExistsError):
        catalogue(settings={"a": {"slope": 1.0}})
    with pytest.raises(ExistsError, match="the prior of 'slope'"):
        catalogue("abcd", model=narrow, exists="append")
    assert len(catalogue(model=narrow, exists="replace").ids()) == 3


SESSION = """
import sys
sys.path[:0] = {paths!r}
from test_catalogue import catalogue
import cropfit as cf
settings = {{"a": {{"slope": cf.Normal(2, 1)}}, "b": {{"height": 1.0}}}}
cat = catalogue(settings=settings)
cat.grow({batch})
print(cat.merge().status.tolist())
"""


def test_the_same_call_in_another_session_goes_on(here):
    paths = [str(Path(__file__).parent), *sys.path]
    assert "['done', 'waiting', 'waiting']" in python(SESSION.format(paths=paths, batch=1))
    assert "['done', 'done', 'waiting']" in python(SESSION.format(paths=paths, batch=2))


def test_objects_without_data_are_not_added_where_nothing_loads_them(here):
    cat = catalogue({"a": data_of("a")}, load_data=None)
    with pytest.raises(DesignError, match="ids as id → data"):
        cat.add(["b"])
    cat.add({"b": data_of("b")})
    assert cat.ids() == ["a", "b"]


def test_objects_are_added_to_a_catalogue_that_others_grow(here):
    gate = Gate(here / "gate")

    def stops(key):
        if key == "b":
            gate.stop_here()
        return load(key)

    cat = catalogue("ab", load_data=stops)
    worker = start(GROW, cat.location)
    gate.wait_for_arrival()
    Catalogue.load("gal", verbosity=0).add(["a", "x"], settings={"x": {"slope": 2.0}})
    gate.let_go()
    assert worker.wait(60) == 0
    cat.grow()
    table = cat.merge()
    assert table.index.tolist() == ["a", "b", "x"]
    assert set(table.status) == {"done"}
    assert table.slope["x"] == 2.0
    assert catalogue("abx", load_data=stops, settings={"x": {"slope": 2.0}}).ids() == [
        "a",
        "b",
        "x",
    ]


# -- fits ----------------------------------------------------------------------------


def test_an_object_that_is_fitted_by_hand_has_its_workers_numbers(here):
    cat = catalogue()
    cat.add(["d"])
    cat.grow()
    table = cat.merge()
    for key in ("b", "d"):
        fit = cat.fit(key)
        assert fit.log_evidence == table.log_evidence[key]
        assert fit.percentiles()["slope"][1] == table.slope_50[key]
    with pytest.raises(NotFoundError, match="'z'"):
        cat.fit("z")


@pytest.mark.filterwarnings("ignore:the pool makes this slower")
@pytest.mark.parametrize("options", [{}, {"executor": "processes", "num_workers": 1}])
def test_likelihoods_of_an_object_are_computed_by_many_processes(here, options):
    tally = Tally(here / "pids")

    def noted(p, data):
        tally.add(os.getpid())
        return line(p, data)

    cat = catalogue(["a"], model=cf.Model(noted, PRIORS), n_live=10)
    cat.grow(n_pool=2, **options)
    assert cat.merge().status.tolist() == ["done"]
    assert len({*tally.all()} - {str(os.getpid())}) == (3 if options else 2)


STOP = 2500  # points; of some 4000


def test_a_killed_worker_costs_only_what_came_since_the_samplers_last_state(here):
    gate, tally = Gate(here / "gate"), Tally(here / "points")
    points = [0]

    def load_to_save_soon_before(key):
        if not (here / "stopped").exists():
            keeper.Keeper.due = lambda self: points[0] > STOP - 300
        return load(key)

    def stops(p, data):
        tally.add(np.size(p.slope))
        points[0] += np.size(p.slope)
        if points[0] > STOP and not (here / "stopped").exists():
            (here / "stopped").touch()
            gate.stop_here()
        return line(p, data)

    model = cf.Model(stops, PRIORS)
    cat = catalogue(["a"], model, load_to_save_soon_before)
    worker = start(GROW, cat.location)
    gate.wait_for_arrival()
    before = len(tally.all())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert cat.merge().status.tolist() == ["waiting"]
    assert cat.clean()["dead"] == 1
    cat.grow()

    resumed = [int(line) for line in tally.all()[before:]]
    table = cat.merge()
    assert table.status.tolist() == ["done"]
    assert sum(resumed) < table.calls["a"] - STOP + 500
    assert table.log_evidence["a"] == cat.fit("a").log_evidence


def test_clean_gives_failed_objects_back_and_disturbs_nobody(here):
    gate = Gate(here / "gate")

    def stops(key):
        if key == "held":
            gate.stop_here()
        if key == "bad" and not (here / "mended").exists():
            raise OSError("not yet there")
        return data_of(key)

    cat = catalogue(["bad", "held"], load_data=stops)
    worker = start(GROW, cat.location)
    gate.wait_for_arrival()
    (here / "mended").touch()
    assert cat.clean()["failed"] == 1
    assert cat.merge().status.tolist() == ["waiting", "fitting"]
    gate.let_go()
    worker.wait(60)
    cat.grow()
    assert cat.merge().status.tolist() == ["done", "done"]


def test_the_command_clean_gives_failed_objects_back_too(here):
    def stops(key):
        raise OSError("never there")

    cat = catalogue(["bad"], load_data=stops)
    cat.grow()
    assert cat.merge().status.tolist() == ["failed"]
    told = cropfit("clean", cat.location, "--json")
    assert json.loads(told.stdout)["failed"] == 1
    assert cat.merge().status.tolist() == ["waiting"]


@pytest.mark.parametrize("way", ["watch", "serve"])
def test_the_key_and_the_button_for_clean_give_failed_objects_back_too(here, way):
    def stops(key):
        raise OSError("never there")

    cat = catalogue(["bad"], load_data=stops)
    cat.grow()
    if way == "watch":
        from cropfit.views.terminal import Screen

        screen = Screen(lambda: [cat.location])
        screen.look()
        screen.press("c")
        said = screen.note
    else:
        from cropfit.views.server.feed import Feed

        said = Feed(cat.location).act("clean")

    assert "1 failed" in said
    assert cat.merge().status.tolist() == ["waiting"]


# -- analysis and pictures -----------------------------------------------------------


def test_an_analysis_gives_columns_and_its_errors_are_its_objects(here):
    def analysis(fit):
        return {"peak": np.max(fit.log_likelihood), "kind": "line", "n": 3}

    cat = catalogue("ab", analysis=analysis)
    cat.grow()
    table = cat.merge()
    assert table.kind.tolist() == ["line", "line"]
    np.testing.assert_array_equal(table.peak, table.max_log_likelihood)
    for wrong in ({"ess": 1.0}, {"slope_50": 1.0}, {"x": [1, 2]}, {"a/b": 1.0}):
        cat = catalogue("a", analysis=lambda fit, wrong=wrong: wrong, exists="replace")
        cat.grow()
        assert "analysis" in cat.merge().error["a"]


def test_pictures_are_named_by_id_and_their_errors_cost_no_fit(here):
    def breaks(p, data):
        raise RuntimeError("no curve")

    ids = {"NGC/1 ü": data_of("a"), "broken": data_of("b")}
    cat = catalogue(ids, model=cf.Model(line, PRIORS, predict=curve), load_data=None, plots=True)
    cat.grow()
    assert set(cat.merge().notes) == {""}
    pictures = sorted(os.listdir("gal-plots"))
    assert len(pictures) == 4
    assert "NGC%2F1 %C3%BC-corner.png" in pictures
    model = cf.Model(line, PRIORS, predict=breaks)
    cat = catalogue(ids, model=model, load_data=None, plots=True, exists="replace")
    cat.grow()
    table = cat.merge()
    assert set(table.status) == {"done"}
    assert table.notes["broken"].startswith("no fit picture: ")


# -- reaping -------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["Catalogue", "Crop", "cropfit"])
@pytest.mark.parametrize("to", [None, "other.nc"])
def test_whoever_reaps_writes_the_same_dataset_and_then_deletes_the_crop(here, by, to):
    cat = catalogue(n_posterior=7)
    cat.grow()
    table = cat.merge("so-far.csv")
    if by == "cropfit":
        assert cropfit("reap", "gal", *(["--to", to] if to else [])).exit_code == 0
    else:
        (Catalogue if by == "Catalogue" else cf.Crop).load("gal", verbosity=0).reap(to)

    assert sorted(os.listdir(here)) == sorted([to or "gal.nc", "so-far.csv"])
    ds = cf.load_dataset(to or "gal.nc")
    assert dict(ds.sizes) == {"object": 3, "quantile": 3, "sample": 7}
    assert ds.slope.sel(object="b", quantile=0.5) == table.slope_50["b"]
    assert ds.slope.attrs["units"] == ds.slope_sample.attrs["units"] == "km/s"
    assert ds.status.values.tolist() == ["done"] * 3
    assert ds.slope_sample.notnull().all()
    np.testing.assert_array_equal(ds.ess, table.ess)
    assert (ds.attrs["sampler"], ds.attrs["n_live"]) == ("dynesty", 20)


@pytest.mark.parametrize(
    "to", [None, "other.nc", pytest.param("other.zarr", marks=pytest.mark.needs("zarr"))]
)
def test_a_catalogue_reaped_without_loading_has_the_same_file(here, to):
    other = cf.Model(lambda p, _: -((p.c - 1) ** 2), {"c": cf.Uniform(0, 9)})
    settings = {"b": {"slope": 2.0}, "c": {"model": other, "sampler": "maxlike"}}
    cat = catalogue(n_posterior=50, settings=settings)
    cat.grow()
    with pytest.raises(DesignError, match="load=False"):
        cat.reap(to=False, load=False)
    there = cat.reap(clean_up=False)
    assert there.equals(cat.peek())
    assert there.c_sample.notnull().sum("sample").values.tolist() == [0, 0, 50]
    assert there.slope_sample.notnull().sum("sample").values.tolist() == [50, 0, 0]

    with cat.reap(to, load=False) as ds:
        assert ds.identical(there)
    assert sorted(os.listdir(here)) == sorted({"gal.nc", to or "gal.nc"})


def test_draws_of_a_whole_catalogue_are_never_in_memory_at_once(here, monkeypatch):
    monkeypatch.setattr(netcdf, "SLAB", 1 << 18)
    draws = 20_000

    def peak_of(objects: int) -> int:
        options = {"sampler": "maxlike", "n_live": 1, "draws": draws, "num_batches": objects}
        names = [f"o{i}" for i in range(objects)]
        cat = catalogue(names, n_posterior=draws, run=f"of{objects}", **options)
        cat.grow()
        tracemalloc.start()
        try:
            cat.reap(load=False).close()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_of(1)  # imports
    few, many = peak_of(16), peak_of(40)
    assert many - few < 24 * draws * 2 * 8 / 4
    assert cf.load_dataset("of40.nc").height_sample.notnull().all()


def test_posteriors_are_kept_only_if_asked_for(here):
    cat = catalogue("a", n_posterior=0)
    cat.grow()
    ds = cat.reap(to=False)
    assert "sample" not in ds.dims
    assert os.listdir(here) == [".crop-gal"]


def test_an_incomplete_catalogue_is_reaped_only_if_asked_for(here):
    cat = catalogue(["a", "bad", "c", "d"])
    cat.grow([1, 2])
    cat.ignore([4])
    with pytest.raises(NotReadyError):
        cat.reap()
    states = ["done", "failed", "waiting", "ignored"]
    assert cat.peek().status.values.tolist() == states
    ds = cat.reap(allow_incomplete=True)
    assert ds.status.values.tolist() == states
    assert np.isnan(ds.slope.sel(object="c")).all()
    cat.ignore([2])
    cat.grow([3])
    cat.reap()  # replaces what was reaped of this very catalogue
    states = cf.load_dataset("gal.nc").status.values.tolist()
    assert states == ["done", "ignored", "done", "ignored"]
    assert os.listdir(here) == ["gal.nc"]


def test_a_reap_that_is_killed_before_the_crop_is_deleted_is_done_again(here, monkeypatch):
    cat = catalogue("ab")
    cat.grow()
    wanted = cat.reap(clean_up=False)  # saved, and not deleted: what such a kill leaves
    assert sorted(os.listdir(here)) == [".crop-gal", "gal.nc"]
    Catalogue.load("gal", verbosity=0).reap()
    assert os.listdir(here) == ["gal.nc"]
    assert cf.load_dataset("gal.nc").slope.equals(wanted.slope)


def test_a_file_of_another_catalogue_is_never_replaced(here):
    for key in "ab":
        cat = catalogue(key)
        cat.grow()
        if key == "a":
            cat.reap()
    with pytest.raises(ExistsError, match=r"gal\.nc"):
        cat.reap()
    assert cf.load_dataset("gal.nc").object.values.tolist() == ["a"]
    with pytest.raises(DesignError, match=r"\.nc or \.zarr"):
        cat.reap("gal.pkl")
    assert cat.is_ready_to_reap()
    cat.reap("b.nc")
    assert sorted(os.listdir(here)) == ["b.nc", "gal.nc"]


def test_the_command_merges_and_refuses_other_crops(here):
    catalogue(table="ecsv").grow([1])
    done = cropfit("merge", "gal")
    assert done.output == f"{here}/gal.ecsv: 2 waiting, 1 done\n"
    told = json.loads(cropfit("merge", "gal", "--to", "x.fits", "--json").stdout)
    wanted = {"location": f"{here}/.crop-gal", "table": f"{here}/x.fits"}
    assert told == {**wanted, "objects": {"waiting": 2, "done": 1}}
    assert sorted(os.listdir(here)) == [".crop-gal", "gal.ecsv", "x.fits"]
    cf.Crop(fn=load, name="plain", verbosity=0).sow_combos({"key": [1]})
    refused = cropfit("merge", "plain")
    assert refused.exit_code == 2
    assert "is no catalogue" in refused.stderr
