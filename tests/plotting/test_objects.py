"""A catalogue at a glance: every object with its bars, and those that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import cropfit as cf
from cropfit.plotting.objects import plot_objects, to_table

KEYS = [f"NGC{k}" for k in range(6)]


@pytest.fixture(autouse=True)
def headless() -> None:
    mpl.use("Agg")


def table(**more: Any) -> pd.DataFrame:
    """Five objects that are done, and one that failed."""
    number = np.array([1.0, 2, 3, 4, 5, np.nan])
    frame = pd.DataFrame(
        {
            "status": ["done"] * 5 + ["failed"],
            "age_16": number - 0.5,
            "age_50": number,
            "age_84": number + 1,
            "age_best": number,
            "mass_16": 2 * number - 0.1,
            "mass_50": 2 * number,
            "mass_84": 2 * number + 0.2,
            "log_evidence": -number,
            "log_evidence_err": 0.1 * number,
            "max_log_likelihood": number,
            "kind": ["spiral", "early", "spiral", "early", "spiral", None],
            "error": [""] * 6,
            **more,
        },
        index=pd.Index(KEYS, name="id"),
    )
    frame.attrs["units"] = {"age_50": "Gyr"}
    return frame


def points(axes: Any) -> list[list[float]]:
    """Where the markers stand; bars are collections of lines."""
    (drawn,) = [each for each in axes.collections if hasattr(each, "get_sizes")]
    found: list[list[float]] = drawn.get_offsets().tolist()
    return found


def bars(axes: Any) -> list[list[list[float]]]:
    return [
        [segment.tolist() for segment in each.get_segments()]
        for each in axes.collections
        if hasattr(each, "get_segments")
    ]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_the_overview_has_evidence_and_every_parameter_over_the_objects() -> None:
    figure = plot_objects(table())

    assert [axes.get_ylabel() for axes in figure.axes] == ["log evidence", "age [Gyr]", "mass"]
    assert points(figure.axes[1]) == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    assert bars(figure.axes[1])[0][0] == [[0, 0.5], [0, 2]]
    assert bars(figure.axes[0])[0][4] == [[4, -5.5], [4, -4.5]]
    assert [tick.get_text() for tick in figure.axes[2].get_xticklabels()] == KEYS


def test_objects_that_failed_are_crossed_and_counted() -> None:
    figure = plot_objects(table(), "age")

    (cross,) = figure.axes[0].lines
    assert cross.get_xdata().tolist() == [5]
    assert words(figure) == ["1 failed"]


def test_any_column_stands_against_any_with_the_bars_of_both() -> None:
    (axes,) = plot_objects(table(), "age", x="mass").axes

    assert (axes.get_xlabel(), axes.get_ylabel()) == ("mass", "age [Gyr]")
    assert points(axes)[0] == [2, 1]
    across, up = sorted((each[0] for each in bars(axes)), key=lambda bar: bar[0][0])
    assert np.allclose(across, [[1.9, 1], [2.2, 1]])
    assert np.allclose(up, [[2, 0.5], [2, 2]])


def test_a_third_column_gives_the_colour() -> None:
    many = {"chi2": [1.0, 2, 3, 4, 5, np.nan]}
    by_number = plot_objects(table(**many), "age", x="mass", hue="chi2")
    by_word = plot_objects(table(), "age", x="mass", hue="kind")

    assert words(by_number)[:5] == ["1", "2", "3", "4", "5"]
    assert words(by_word)[:2] == ["early", "spiral"]
    assert len(points(by_word.axes[0])) == 5


def test_a_column_of_words_is_an_axis_or_counted() -> None:
    (axes,) = plot_objects(table(), "age", x="kind").axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["early", "spiral"]
    assert points(axes) == [[1, 1], [0, 2], [1, 3], [0, 4], [1, 5]]

    (axes,) = plot_objects(table(), "status").axes
    assert [bar.get_width() for bar in axes.patches] == [5, 1]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["done", "failed"]


def test_without_evidence_the_likelihood_is_drawn() -> None:
    figure = plot_objects(table(log_evidence=np.nan))

    assert figure.axes[0].get_ylabel() == "largest log likelihood"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1, 5, 6])
def test_the_parts_of_a_figure_find_room(size: int, tmp_path: Path) -> None:
    some = table().iloc[:size]
    for what, options in ((None, {}), ("age", {"x": "mass", "hue": "kind"}), ("status", {})):
        plot_objects(some, what, **options).savefig(tmp_path / "some.png")


def test_very_many_objects_go_by_number() -> None:
    many = pd.concat([table()] * 20)
    many.attrs = table().attrs
    (axes,) = plot_objects(many, "age").axes

    assert axes.get_xlabel() == "number of the object"
    assert len(points(axes)) == 100


def test_a_column_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(cf.DesignError, match="no column 'size'; it has 'age', 'mass', 'log_evi"):
        plot_objects(table(), "size")


# -- of a catalogue ----------------------------------------------------------------------

X = np.linspace(0, 1, 10)


def load(key: int) -> Any:
    if key == 3:
        raise OSError("no file")
    return 2 * X + key + np.random.default_rng(key).normal(0, 0.1, 10)


def line(p: Any, data: Any) -> Any:
    return -0.5 * np.sum(((data - p.slope * X - p.height) / 0.1) ** 2, axis=-1)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> cf.Catalogue:
    """Four objects: two fitted, one that cannot be loaded, one that waits."""
    priors = {"slope": cf.Uniform(-9, 9, unit="km/s"), "height": cf.Uniform(-9, 9)}
    made = cf.fit_catalogue(
        [1, 2, 3, 4],
        cf.Model(line, priors),
        load,
        run="lines",
        parent_dir=tmp_path_factory.mktemp("catalogue"),
        seed=1,
        n_live=20,
        dlogz=1.0,
        verbosity=0,
    )
    made.grow([1, 2, 3])
    return made


def test_a_catalogue_draws_what_there_is_by_now_and_writes_no_table(
    catalogue: cf.Catalogue,
) -> None:
    figure = catalogue.plot()

    assert [axes.get_ylabel() for axes in figure.axes] == ["log evidence", "slope [km/s]", "height"]
    assert [x for x, _ in points(figure.axes[0])] == [0, 1]
    assert sorted(words(figure)) == ["1 failed", "1 waiting"]
    assert not Path(catalogue.table).exists()


def test_its_dataset_is_drawn_in_the_same_way(catalogue: cf.Catalogue) -> None:
    ds = catalogue.peek()
    mine, its = catalogue.plot("slope", x="height"), ds.cropfit.plot(y="slope", x="height")

    assert points(mine.axes[0]) == points(its.axes[0])
    assert mine.axes[0].get_ylabel() == its.axes[0].get_ylabel() == "slope [km/s]"
    assert bars(mine.axes[0]) == bars(its.axes[0])
    assert {"slope_16", "height_84", "log_evidence_err"} <= set(to_table(ds))


def test_a_catalogue_is_held_against_the_truth(catalogue: cf.Catalogue) -> None:
    truths = {key: {"slope": 2.0, "height": float(key)} for key in (1, 2)}
    (axes,) = catalogue.plot_coverage(truths, ["slope"]).axes

    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["expected, 95 %", "expected, 68 %", "slope (2)"]
