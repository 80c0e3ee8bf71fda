"""Figures are shown by notebooks, and their axes suit the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel

from cropfit.plotting.figures import is_geometric, label_of, told
from cropfit.plotting.rulers import rule

CELL = """
import numpy as np, xarray as xr, cropfit.farming.accessor
ds = xr.Dataset({"z": ("a", np.arange(3.0))}, {"a": [1, 2, 3]})
ds.cropfit.plot()
"""


def test_a_notebook_shows_a_figure_without_any_help_of_pyplot(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)
    manager, client = start_new_kernel(cwd=str(here))
    seen: list[dict[str, Any]] = []
    try:
        client.execute_interactive(CELL, timeout=120, output_hook=seen.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    shown = [each["content"]["data"] for each in seen if each["msg_type"] == "execute_result"]
    assert [sorted(each) for each in shown] == [["image/png", "text/plain"]]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.geomspace(1, 1000, 5), True),
        (np.array([1, 2, 5, 10, 20, 50, 100]), True),
        (np.linspace(1, 1000, 5), False),
        (np.array([8, 16, 32]), False),  # not far enough
        (np.array([0, 1, 10, 100]), False),
        (np.array([1.0, 100.0]), False),
        (np.array(["a", "b", "c"]), False),
    ],
)
def test_factors_are_told_from_steps(labels: Any, found: bool) -> None:
    assert is_geometric(labels) is found


def test_labels_are_told_with_name_unit_and_no_digits_too_many() -> None:
    assert label_of("z", {"long_name": "redshift", "units": "1"}) == "redshift"
    assert label_of("z", {"units": "km"}) == "z [km]"
    assert told(0.1 + 0.2) == "0.3"
    assert told(np.datetime64("2026-01-02T00:00:00.000000000")) == "2026-01-02"


def test_cells_reach_half_way_to_their_neighbours() -> None:
    assert rule(np.array([1.0, 2, 4])).edges.tolist() == [0.5, 1.5, 3, 5]
    assert rule(np.array([3.0])).edges.tolist() == [2.5, 3.5]
    assert np.allclose(rule(np.geomspace(1, 1000, 4)).edges, 10 ** np.arange(-0.5, 4))


def test_many_words_are_not_all_written() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    words = np.array([f"the {k}th of many words that are long" for k in range(100)])
    rule(words).set_on(axes, "x")

    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert len(ticks) == 25
    assert max(map(len, ticks)) == 24
    assert axes.get_xticklabels()[0].get_rotation() == 45
