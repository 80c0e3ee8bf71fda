"""A quick look shows every value where it belongs, and what has none; or asks which was meant."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

import cropfit as cf
import cropfit.farming.accessor  # registers Dataset.cropfit

DONE, FAILED, MISSING, IGNORED = range(4)


@pytest.fixture(autouse=True)
def headless() -> None:
    mpl.use("Agg")


def grid(**sizes: int) -> xr.Dataset:
    """z counts the cells of a grid whose labels are 1, 2, 3, ..."""
    values = np.arange(np.prod(list(sizes.values())), dtype=float).reshape(*sizes.values())
    ds = xr.Dataset({"z": (tuple(sizes), values, {"units": "J", "long_name": "energy"})})
    return ds.assign_coords({name: np.arange(1, size + 1) for name, size in sizes.items()})


def meshes(figure: Figure) -> list[QuadMesh]:
    return [
        each
        for axes in figure.axes
        for each in axes.collections
        if each.get_label() != "<colorbar>"
        if isinstance(each, QuadMesh) and axes.get_label() != "<colorbar>"
    ]


def panels(figure: Figure) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>" and axes.axison]


def lines(axes: Any) -> list[Any]:
    return [each for each in axes.lines if each.get_label() != "failed"]


def crosses(axes: Any) -> list[tuple[float, float]]:
    marked = [each for each in axes.lines if each.get_label() == "failed"]
    return [tuple(point) for each in marked for point in each.get_xydata().tolist()]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# -- what is drawn -------------------------------------------------------------------


def test_one_parameter_makes_a_line_with_names_and_units() -> None:
    (axes,) = grid(a=5).cropfit.plot().axes

    (line,) = axes.lines
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert line.get_ydata().tolist() == [0, 1, 2, 3, 4]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "energy [J]")


def test_a_second_parameter_of_few_labels_makes_lines() -> None:
    figure = grid(a=12, b=3).cropfit.plot()

    (axes,) = figure.axes
    assert [line.get_ydata()[0] for line in axes.lines] == [0, 1, 2]
    assert len({tuple(line.get_color()) for line in axes.lines}) == 3
    assert figure.legends[0].get_title().get_text() == "b"
    assert words(figure) == ["1", "2", "3"]


def test_a_second_parameter_of_many_labels_makes_a_map() -> None:
    ds = grid(a=12, b=11)
    figure = ds.cropfit.plot()

    (mesh,) = meshes(figure)
    assert np.array_equal(mesh.get_array(), ds.z.transpose("b", "a"))
    assert [axes.get_xlabel() for axes in figure.axes] == ["a", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["b", "energy [J]"]


def test_a_third_and_fourth_parameter_make_panels() -> None:
    ds = grid(a=6, b=4, c=3, d=2)
    figure = ds.cropfit.plot()

    drawn = panels(figure)
    assert [axes.get_title() for axes in drawn] == [
        f"d = {d}\nc = {c}" for d in (1, 2) for c in (1, 2, 3)
    ]
    assert [len(axes.lines) for axes in drawn] == [4] * 6
    last = drawn[-1].lines[-1]
    assert last.get_ydata().tolist() == ds.z.sel(b=4, c=3, d=2).values.tolist()
    assert [axes.get_xlabel() for axes in drawn] == [""] * 3 + ["a"] * 3
    assert [axes.get_ylabel() for axes in drawn] == ["energy [J]", "", ""] * 2


def test_panels_of_one_parameter_go_on_in_the_next_line() -> None:
    figure = grid(a=12, b=7).cropfit.plot(col="b")

    drawn = panels(figure)
    assert len(drawn) == 7
    assert figure.axes[0].get_gridspec().ncols == 4
    assert [axes.get_xlabel() for axes in drawn] == [""] * 3 + ["a"] * 4


def test_maps_in_panels_share_their_colours() -> None:
    drawn = meshes(grid(a=12, b=11, c=2).cropfit.plot())

    assert len(drawn) == 2
    assert {mesh.get_clim() for mesh in drawn} == {(0.0, 263.0)}


def test_what_is_named_stands_where_it_was_named() -> None:
    ds = grid(a=12, b=3, c=2)
    figure = ds.cropfit.plot("z", x="b", y="c", col="a", sel={"a": [1, 2]})

    assert [mesh.get_array().tolist() for mesh in meshes(figure)] == [
        ds.z.isel(a=k).transpose("c", "b").values.tolist() for k in (0, 1)
    ]
    assert figure.axes[0].get_ylabel() == "c"


def test_an_output_at_y_is_what_is_drawn() -> None:
    ds = grid(a=3).assign(w=("a", [5.0, 6.0, 7.0]))

    (axes,) = ds.cropfit.plot(x="a", y="w").axes
    assert axes.lines[0].get_ydata().tolist() == [5, 6, 7]


def test_the_nearest_label_is_taken_and_told() -> None:
    figure = grid(a=5, b=3).cropfit.plot(sel={"b": 2.2})

    assert figure.axes[0].lines[0].get_ydata().tolist() == [1, 4, 7, 10, 13]
    assert figure.get_suptitle() == "b = 2"


def test_arrays_lie_along_x() -> None:
    ds = grid(a=3, t=20).assign(case_status=("a", np.zeros(3, np.int8)))
    (axes,) = ds.transpose("t", "a").cropfit.plot().axes

    assert axes.get_xlabel() == "t"
    assert len(axes.lines) == 3


def test_labels_that_rise_by_factors_stand_on_a_logarithmic_axis() -> None:
    ds = grid(a=12, b=11).assign_coords(a=np.geomspace(1e-3, 10, 12))
    figure = ds.cropfit.plot(x="a")

    assert figure.axes[0].get_xscale() == "log"
    edges = meshes(figure)[0].get_coordinates()[0, :, 0]
    assert np.allclose(edges[1:] / edges[:-1], edges[1] / edges[0])
    assert (ds.isel(b=0).cropfit.plot().axes[0]).get_xscale() == "log"
    assert grid(a=12).cropfit.plot().axes[0].get_xscale() == "linear"


def test_words_dates_and_numbers_out_of_order_are_axes_too() -> None:
    ds = grid(a=3)
    (by_word,) = ds.assign_coords(a=["low", "high", "mean"]).cropfit.plot().axes
    assert [tick.get_text() for tick in by_word.get_xticklabels()] == ["low", "high", "mean"]
    assert by_word.lines[0].get_linestyle() == "None"

    dates = np.array(["2026-01-01", "2026-01-02", "2026-01-05"], "datetime64[ns]")
    (by_date,) = ds.assign_coords(a=dates).cropfit.plot().axes
    assert np.diff(by_date.lines[0].get_xdata()).tolist() == [1, 3]

    (by_size,) = ds.assign_coords(a=[3, 1, 2]).cropfit.plot().axes
    assert by_size.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert by_size.lines[0].get_ydata().tolist() == [1, 2, 0]


def test_few_uneven_labels_make_cells_of_one_size() -> None:
    ds = grid(a=12, b=3).assign_coords(b=[1, 2, 20])
    figure = ds.cropfit.plot(x="a", y="b")

    heights = np.diff(meshes(figure)[0].get_coordinates()[:, 0, 1])
    assert heights.tolist() == [1, 1, 1]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["1", "2", "20"]


def test_cases_on_no_grid_are_points() -> None:
    ds = xr.Dataset(
        {"z": ("case", [1.0, 2.0, np.nan, 4.0]), "case_status": ("case", [0, 0, 1, 0])},
        {"a": ("case", [0.5, 0.1, 0.9, 0.3]), "b": ("case", [5, 6, 7, 8])},
    )
    figure = ds.cropfit.plot()

    (points,) = figure.axes[0].collections
    assert points.get_offsets().tolist() == [[0.5, 5], [0.1, 6], [0.3, 8]]
    assert crosses(figure.axes[0]) == [(0.9, 7)]
    assert words(figure)[-1] == "1 failed"
    (axes,) = ds.cropfit.plot(x="b").axes
    assert axes.collections[0].get_offsets().tolist() == [[5, 1], [6, 2], [8, 4]]


def test_one_output_against_another_is_a_point_a_case() -> None:
    ds = grid(a=3, b=2)
    ds["w"] = ("a", "b"), -ds.z.values
    (axes,) = ds.cropfit.plot(x="z", y="w", hue="b").axes

    assert axes.collections[0].get_offsets().tolist() == [[k, -k] for k in range(6)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("energy [J]", "w")


def test_an_output_alone_at_x_is_a_histogram() -> None:
    ds = grid(a=10, b=10)
    (axes,) = ds.cropfit.plot(x="z", bins=4).axes

    assert [bar.get_height() for bar in axes.patches] == [25, 25, 25, 25]
    assert axes.get_ylabel() == "number of cases"


def test_a_single_number_is_a_histogram_of_one() -> None:
    (axes,) = grid(a=1).cropfit.plot().axes

    assert sum(bar.get_height() for bar in axes.patches) == 1


def test_many_labels_of_hue_have_a_bar_of_colours() -> None:
    figure = grid(a=4, b=30).cropfit.plot(x="a", hue="b")

    assert len(figure.axes[0].lines) == 30
    assert figure.axes[1].get_ylabel() == "b"
    assert figure.legends == []


def test_long_names_go_on_in_the_next_line() -> None:
    ds = grid(a=3)
    ds.z.attrs["long_name"] = "free energy of the reference configuration after relaxation"
    (axes,) = ds.cropfit.plot().axes

    assert axes.get_ylabel().count("\n") == 1
    assert axes.get_ylabel().endswith("[J]")


def test_zipped_parameters_are_one_axis_by_either_name() -> None:
    ds = xr.Dataset(
        {"z": (("a_b", "c"), np.arange(6.0).reshape(3, 2))},
        {"a": ("a_b", [1, 2, 3]), "b": ("a_b", [10, 30, 20]), "c": [0, 1]},
    )
    (axes,) = ds.cropfit.plot(x="b", hue="c").axes

    assert axes.get_xlabel() == "b"
    assert axes.lines[0].get_xdata().tolist() == [10, 20, 30]
    assert axes.lines[0].get_ydata().tolist() == [0, 4, 2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_pictures_take_on_the_style_and_are_kept_by_nobody(style: str, tmp_path: Path) -> None:
    before = pyplot.get_fignums()
    with pyplot.style.context(style):
        ds = with_gaps()
        figures = [grid(a=12, b=3, c=2).cropfit.plot(), grid(a=12, b=12).cropfit.plot()]
        figures += [ds.cropfit.plot(x="a", y="b"), ds.cropfit.plot(), ds.cropfit.plot(x="z")]
        figures += [ds.cropfit.plot_seconds(), ds.cropfit.plot_failures()]
        none = ds.where(ds.a != 3)
        figures += [none.cropfit.plot_seconds(x="a"), none.cropfit.plot_failures(x="a")]
        for number, figure in enumerate(figures):
            figure.savefig(tmp_path / f"{number}.png")
            assert figure.get_facecolor() == mpl.colors.to_rgba(mpl.rcParams["figure.facecolor"])
            assert (tmp_path / f"{number}.png").stat().st_size > 5000
    assert pyplot.get_fignums() == before


# -- what cannot be drawn ------------------------------------------------------------


def refused(ds: xr.Dataset, *args: Any, **options: Any) -> str:
    with pytest.raises(cf.DesignError) as caught:
        ds.cropfit.plot(*args, **options)
    return str(caught.value)


def test_of_several_outputs_one_is_asked_for() -> None:
    ds = grid(a=3).assign(w=("a", [1, 2, 3]), name=("a", ["x", "y", "z"]))

    assert refused(ds) == "Which output? plot('z'), or one of 'w'."


def test_a_name_that_is_not_there_is_answered_with_those_that_are() -> None:
    ds = grid(a=3, b=2)
    text = "There is no 'q' for {}. Outputs: 'z'; parameters and other axes: 'a', 'b'."

    assert refused(ds, "q") == text.format("the output")
    assert refused(ds, col="q") == text.format("col")
    assert refused(ds, sel={"q": 1}) == "sel: there is no 'q'; there are 'a', 'b'."


def test_more_parameters_than_places_are_listed_with_a_way_out() -> None:
    text = refused(grid(a=2, b=2, c=2, d=2, e=3))

    assert "no place is left for 'd'" in text
    assert "sel={'d': 1}" in text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"x": "a", "hue": "a"}, "'a' cannot stand in two places"),
        ({"x": "a", "y": "b", "hue": "c"}, "hue= has no place"),
        ({"col": "z"}, "col= takes a parameter: 'a', 'b', 'c'"),
        ({"x": "b", "col": "a", "row": "c", "sel": {}}, "150 panels are more than 48"),
        ({"sel": {"word": "c"}}, "'word' has no 'c'; it has 'p', 'q'"),
    ],
)
def test_what_cannot_be_is_told(options: dict[str, Any], told: str) -> None:
    ds = grid(a=75, b=3, c=2)
    if "word" in options.get("sel", {}):
        ds = ds.rename(c="word").assign_coords(word=["p", "q"])
    assert told in refused(ds, **options)


def test_outputs_that_are_no_plain_numbers_are_told() -> None:
    ds = grid(a=2).assign(c=("a", [1j, 2]), name=("a", ["x", "y"]))

    assert "'c' is complex: assign what to draw" in refused(ds, "c")
    assert "'name' is no number (<U1); numbers are 'z', 'c'." in refused(ds, "name")
    assert "no output that is a number; there are 'name'" in refused(ds[["name"]])
    assert "'b' has no part in 'z'" in refused(ds.assign(w=("b", [1, 2])), "z", x="a", col="b")


def test_without_matplotlib_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(cf.MissingDependencyError, match=r"pip install 'cropfit\[plot\]'"):
        grid(a=2).cropfit.plot()


# -- cases without a value -----------------------------------------------------------


def with_gaps() -> xr.Dataset:
    """4 × 11 cells: one failed, three not grown, one set aside, one that gave NaN."""
    ds = grid(a=11, b=4)
    status = np.zeros((11, 4), np.int8)
    status[0, 0], status[8:, 1], status[10, 3] = FAILED, MISSING, IGNORED
    ds["z"] = ds.z.where(status == DONE)
    ds.z[5, 2] = np.nan
    seconds = np.where(status == MISSING, np.nan, np.arange(44.0).reshape(11, 4) + 1)
    return ds.assign(case_status=(("a", "b"), status), case_seconds=(("a", "b"), seconds))


def test_failed_cells_are_crossed_out_and_blank_ones_hatched_and_counted() -> None:
    figure = with_gaps().cropfit.plot(x="a", y="b")

    assert crosses(figure.axes[0]) == [(1, 1)]
    assert figure.axes[0].patch.get_hatch()
    assert meshes(figure)[0].get_array().mask.sum() == 6
    assert words(figure) == ["1 failed", "3 not grown, 1 set aside, 1 not a number"]


def test_failed_cases_of_lines_are_crossed_at_the_foot() -> None:
    figure = with_gaps().cropfit.plot()

    assert len(lines(figure.axes[0])) == 4
    assert [x for x, _ in crosses(figure.axes[0])] == [1]
    assert "1 failed" in words(figure)


def test_without_diagnostics_blank_cells_are_counted_all_the_same() -> None:
    figure = with_gaps().drop_vars("case_status").cropfit.plot(x="a", y="b")

    assert words(figure) == ["6 without a value"]


def test_complete_results_have_no_legend() -> None:
    assert grid(a=12, b=12).cropfit.plot().legends == []


# -- where the time went, and what failed --------------------------------------------


def test_seconds_are_a_map_and_failed_cells_have_theirs() -> None:
    figure = with_gaps().cropfit.plot_seconds()

    (mesh,) = meshes(figure)
    assert mesh.get_array().shape == (4, 11)
    assert mesh.get_array()[0, 0] == 1
    assert crosses(figure.axes[0]) == [(1, 1)]


def test_seconds_over_many_scales_are_coloured_by_factors() -> None:
    ds = with_gaps()
    ds["case_seconds"] = 10.0**ds.case_seconds
    (mesh,) = meshes(ds.cropfit.plot_seconds())

    assert isinstance(mesh.norm, mpl.colors.LogNorm)


def test_seconds_over_one_parameter_are_the_mean_over_the_rest() -> None:
    ds = with_gaps()
    (axes,) = ds.cropfit.plot_seconds(x="a").axes

    assert axes.lines[0].get_ydata().tolist() == ds.case_seconds.mean("b").values.tolist()
    assert axes.get_ylabel().replace("\n", " ") == "case_seconds, mean over b"


def test_failures_have_the_colour_of_what_became_of_the_case() -> None:
    ds = with_gaps()
    ds["case_error"] = xr.where(ds.case_status == FAILED, "ValueError", "")
    figure = ds.cropfit.plot_failures()

    assert words(figure) == ["done (39)", "ValueError (1)", "set aside (1)", "not grown (3)"]
    cells = meshes(figure)[0].get_array()
    assert (cells[0, 0], cells[3, 10], cells[0, 1]) == (1, 2, 0)
    assert cells.mask.sum() == 3


def test_the_share_of_failures_is_drawn_over_what_is_named() -> None:
    (axes,) = with_gaps().cropfit.plot_failures(x="b").axes

    assert axes.lines[0].get_ydata().tolist() == [1 / 11, 0, 0, 0]


def test_rare_errors_share_a_colour() -> None:
    kinds = [f"Error{k}" for k in range(9) for _ in range(10 - k)]
    ds = xr.Dataset(
        {
            "case_status": ("a", np.full(len(kinds), FAILED)),
            "case_seconds": ("a", np.ones(len(kinds))),
            "case_error": ("a", kinds),
        },
        {"a": range(len(kinds))},
    )
    told = words(ds.cropfit.plot_failures())

    assert told[0] == "Error0 (10)"
    assert told[-1] == "other errors (14)"
    assert len(told) == 6


def test_five_parameters_are_drawn_over_the_longest_two() -> None:
    ds = grid(a=2, b=3, c=2, d=4, e=2)
    ds = ds.assign(case_status=xr.zeros_like(ds.z, np.int8), case_seconds=ds.z + 1)

    for figure in (ds.cropfit.plot_seconds(), ds.cropfit.plot_failures()):
        assert meshes(figure)[0].get_array().shape == (3, 4)


def test_a_dataset_without_diagnostics_is_told_how_to_have_them() -> None:
    for draw in (grid(a=2).cropfit.plot_seconds, grid(a=2).cropfit.plot_failures):
        with pytest.raises(cf.DesignError, match="reap it with diagnostics=True"):
            draw()


# -- crops ---------------------------------------------------------------------------


def work(a: int, b: int) -> tuple[float, Any]:
    if a == 2 and b == 1:
        raise ValueError("never")
    return 10.0 * a + b, np.arange(3) * a


@pytest.fixture
def crop(here: Path) -> cf.Crop:
    """12 cases of which 8 are tried, one in vain."""
    crop = cf.Crop(
        work,
        "grid",
        var_names=["z", "y"],
        var_dims={"y": ["t"]},
        verbosity=0,
        var_attrs={"z": {"units": "m"}},
    )
    crop.sow_combos({"a": [1, 2, 3], "b": [1, 2, 3, 4]}, batchsize=1)
    crop.grow(range(1, 9))
    return crop


def test_a_growing_crop_shows_what_is_there_and_is_left_as_it_is(crop: cf.Crop) -> None:
    before = sorted(str(path) for path in Path(crop.location).rglob("*"))
    figure = crop.plot("z", hue="a")

    first, second, third = lines(figure.axes[0])
    assert first.get_ydata().tolist() == [11, 12, 13, 14]
    assert np.isnan(second.get_ydata()).tolist() == [True, False, False, False]
    assert np.isnan(third.get_ydata()).all()
    assert figure.axes[0].get_ylabel() == "z [m]"
    assert words(figure)[-2:] == ["1 failed", "4 not grown"]
    assert sorted(str(path) for path in Path(crop.location).rglob("*")) == before


def test_a_crop_tells_which_error_ended_which_case(crop: cf.Crop) -> None:
    crop.ignore([12])
    figure = crop.plot_failures(x="a", y="b")

    told = ["done (7)", "ValueError (1)", "set aside (1)", "not grown (3)"]
    assert words(figure) == told
    assert meshes(figure)[0].get_array()[0, 1] == 1
    seconds = meshes(crop.plot_seconds(x="a", y="b"))[0].get_array()
    assert seconds.mask.sum() == 4
    assert (seconds.compressed() > 0).all()


def test_a_batch_in_the_making_is_seen(here: Path) -> None:
    seen = here / "seen"

    def looks(x: int) -> int:
        time.sleep(0.005)  # long enough to be written at once
        if x == 3 and not seen.exists():
            seen.touch()
            told = words(cf.Crop.load("grid", verbosity=0).plot_failures())
            seen.write_text(" ".join(told))
        return x

    crop = cf.Crop(looks, "grid", var_names="z", batchsize=4, verbosity=0)
    crop.sow_combos({"x": [1, 2, 3, 4, 5]})
    crop.grow()

    assert crop.errors() == []
    assert seen.read_text() == "done (2) not grown (3)"


def test_results_without_names_have_seconds_and_failures_alone(here: Path) -> None:
    crop = cf.Crop(lambda x: object, "things", verbosity=0)
    crop.sow_combos({"x": [1, 2]})
    with pytest.raises(cf.NotReadyError, match="nothing is grown yet"):
        crop.plot()
    assert words(crop.plot_failures()) == ["not grown (2)"]
    crop.grow()

    with pytest.raises(cf.DesignError, match="sow with var_names="):
        crop.plot()
    assert words(crop.plot_failures()) == ["done (2)"]
    assert len(crop.plot_seconds().axes[0].lines[0].get_xdata()) == 2


def test_the_diagnostics_of_a_reap_are_enough(crop: cf.Crop) -> None:
    ds = crop.reap(to="some.nc", allow_incomplete=True, diagnostics=True)
    ds = cf.load_dataset("some.nc")

    told = ["done (7)", "failed (1)", "not grown (4)"]
    assert words(ds.cropfit.plot_failures()) == told
    assert ds.cropfit.plot("z").axes
    assert ds.cropfit.plot_seconds().axes


def test_crops_of_farmers_are_drawn_too(here: Path) -> None:
    sampler = cf.Sampler(cf.Runner(lambda a, b: a * b, "z"), "z.csv")
    crop = sampler.Crop("drawn", verbosity=0)
    crop.sow_samples(20, {"a": lambda rng: rng.uniform(), "b": lambda rng: rng.uniform()}, seed=1)
    crop.grow()

    (points,) = crop.plot().axes[0].collections
    assert len(points.get_offsets()) == 20
