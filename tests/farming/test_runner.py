"""A Runner: the function with names, and the same results whichever way they are computed."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import xarray as xr
from steps import python, tree

import cropfit as cf


def line(a: float, b: int = 2, scale: float = 1.0) -> tuple[float, np.ndarray[Any, Any]]:
    """A number and an array."""
    return a * b, np.arange(3) * a * scale


def make_runner(**options: Any) -> cf.Runner:
    given: dict[str, Any] = {"var_dims": {"q": ["k"]}, **options}
    return cf.Runner(line, ["p", "q"], **given)


def test_all_combinations_make_a_dataset_and_nothing_on_disk(here: Path) -> None:
    runner = make_runner(var_coords={"k": [10, 20, 30]})

    ds = runner.run_combos({"a": [1, 2], "b": [3, 4, 5]})

    assert dict(ds.sizes) == {"a": 2, "b": 3, "k": 3}
    assert ds.p.dtype == np.int64
    assert ds.p.sel(a=2, b=5).item() == 10
    assert ds.q.sel(a=2, b=3, k=30).item() == 4.0
    assert runner.last_ds is ds
    assert tree(here) == []


def returns_dataset(a: int) -> xr.Dataset:
    return xr.Dataset({"u": ("t", np.arange(a + 1.0))}, {"t": np.arange(a + 1)})


MAKES: dict[str, tuple[Callable[..., Any], Any, dict[str, Any]]] = {
    "floats": (lambda a: a / 3, "y", {}),
    "ints": (lambda a: 2**60 + a, "y", {}),
    "bools": (lambda a: a > 1, "y", {}),
    "text": (lambda a: "x" * a, "y", {}),
    "complex": (lambda a: a * 1j, "y", {}),
    "ints and floats": (lambda a: a if a > 1 else a / 2, "y", {}),
    "dates": (lambda a: np.datetime64("2020-01-01") + a, "y", {}),
    "small types": (lambda a: np.float32(a + 1), "y", {}),
    "arrays": (lambda a: np.full((2, 3), a, np.int16), "y", {"var_dims": ["u", "v"]}),
    "arrays of several lengths": (lambda a: np.arange(a + 1), "y", {"var_dims": ["u"]}),
    "lists": (lambda a: [a, 1.5], "y", {"var_dims": ["u"]}),
    "a dict": (lambda a: {"u": a, "v": [1, 2]}, None, {}),
    "a Dataset": (returns_dataset, None, {}),
    "objects": (lambda a: {a}, "y", {}),
}


@pytest.mark.parametrize("name", MAKES)
def test_results_are_those_of_a_crop_to_the_last_type(here: Path, name: str) -> None:
    fn, var_names, options = MAKES[name]
    runner = cf.Runner(fn, var_names, **options)
    combos = {"a": [0, 1, 2, 3]}

    direct = runner.run_combos(combos)
    crop = runner.Crop("it", batchsize=3, verbosity=0)
    crop.sow_combos(combos)
    crop.grow()
    grown = crop.reap(to=False, clean_up=True)

    assert {str(v.dtype) for v in direct.variables.values()} == {
        str(v.dtype) for v in grown.variables.values()
    }
    xr.testing.assert_identical(direct.drop_attrs(), grown.drop_attrs())


@pytest.mark.parametrize("how", [{"num_workers": 2}, {"executor": "threads"}])
def test_workers_give_the_same_and_leave_no_folder(here: Path, how: dict[str, Any]) -> None:
    runner = make_runner()

    alone = runner.run_combos({"a": range(6)}, seed=1)
    together = runner.run_combos({"a": range(6)}, seed=1, **how)

    xr.testing.assert_identical(alone.drop_attrs(), together.drop_attrs())
    assert tree(here) == []


def fails_at_two(a: int) -> float:
    if a == 2:
        raise ValueError("two is too much")
    return a / 2


def test_a_case_that_raises_ends_the_run_and_says_which(here: Path) -> None:
    runner = cf.Runner(fails_at_two, "y")

    with pytest.raises(cf.CaseError, match=r"fails_at_two\(a=2\) raised ValueError: two") as raised:
        runner.run_combos({"a": [1, 2, 3]})

    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("how", [{}, {"num_workers": 2}])
def test_failures_may_be_recorded_instead(here: Path, how: dict[str, Any]) -> None:
    runner = cf.Runner(fails_at_two, "y")

    ds = runner.run_combos({"a": [1, 2, 3]}, on_error="record", **how)

    np.testing.assert_array_equal(ds.y, [0.5, np.nan, 1.5])
    (failure,) = runner.last_failures
    assert (failure["arguments"], failure["type"]) == ({"a": 2}, "ValueError")
    assert "two is too much" in failure["traceback"]
    assert tree(here) == []


def test_workers_that_fail_end_the_run_and_leave_no_folder(here: Path) -> None:
    with pytest.raises(cf.CaseError, match="two is too much"):
        cf.Runner(fails_at_two, "y").run_combos({"a": [1, 2, 3]}, num_workers=2)
    assert tree(here) == []


def test_constants_are_recorded_and_resources_are_not() -> None:
    def fn(a: int, k: Any, mass: float, table: Any) -> Any:
        return np.asarray(k) * a * mass + table[0]

    runner = cf.Runner(
        fn,
        "y",
        var_dims=["k"],
        constants={"k": [1.0, 2.0], "mass": 3.0},
        resources={"table": [0.5]},
        attrs={"title": "test"},
    )

    ds = runner.run_combos({"a": [1, 2]})

    assert ds.k.values.tolist() == [1.0, 2.0]
    assert ds.attrs["mass"] == 3.0
    assert ds.attrs["title"] == "test"
    assert "table" not in ds.attrs
    assert ds.y.sel(a=2, k=2.0).item() == 12.5


def test_what_is_given_for_one_run_goes_before_what_the_runner_has(here: Path) -> None:
    runner = make_runner(constants={"b": 7}, resources={"scale": 2.0})

    by_call = runner.run_combos({"a": [1]}, constants={"b": 5})
    varied = runner.run_combos({"a": [1], "b": [3, 4], "scale": [10.0]})
    crop = runner.Crop("it", verbosity=0)
    crop.sow_combos({"a": [1], "b": [3, 4]})
    crop.grow()

    assert by_call.p.item() == 5
    assert varied.p.values.tolist() == [[[3], [4]]]
    assert varied.q.isel(b=0, k=1).item() == 10.0
    assert "b" not in varied.attrs
    assert crop.reap().p.values.tolist() == [[3, 4]]
    assert runner.run_combos({"a": [1]}).p.item() == 7


def test_cases_are_tuples_in_the_order_of_the_arguments() -> None:
    runner = make_runner(constants={"scale": 2.0})

    df = runner.run_cases([(1, 2), (3, 4)], to_df=True)

    assert df[["a", "b", "scale", "p"]].values.tolist() == [[1, 2, 2.0, 2], [3, 4, 2.0, 12]]
    assert df["q"][1].tolist() == [0.0, 6.0, 12.0]
    assert runner.run_cases([{"b": 3, "a": 2}]).p.item() == 6
    assert runner.run_cases([(5, 2)], fn_args=["b", "a"]).p.item() == 10


def test_scattered_cases_stay_a_list() -> None:
    ds = make_runner().run_cases([(i, 100 - i) for i in range(1, 30)])
    assert dict(ds.sizes) == {"case": 29, "k": 3}


def test_units_of_outputs_and_axes_reach_the_file(here: Path) -> None:
    mass = {"units": "Msun", "long_name": "stellar mass"}
    runner = make_runner(var_attrs={"p": mass, "k": {"units": "um"}})
    crop = runner.Crop("it", verbosity=0)
    axis = xr.DataArray([1.0, 2.0], dims="a", attrs={"units": "Gyr"})
    crop.sow_combos({"a": axis})
    crop.grow()
    crop.reap()

    with xr.open_dataset("it.nc") as ds:
        assert {key: ds.p.attrs[key] for key in mass} == mass
        assert ds.a.attrs["units"] == "Gyr"
    assert runner.run_combos({"a": axis}).a.attrs == {"units": "Gyr"}


def test_a_running_function_gets_the_random_numbers_that_a_crop_gives(here: Path) -> None:
    runner = cf.Runner(lambda a: cf.current_case().rng.random(), "y")
    crop = runner.Crop("it", verbosity=0)
    crop.sow_combos({"a": range(5)}, seed=7)
    crop.grow()

    ds = runner.run_combos({"a": range(5)}, seed=7, shuffle=True)

    xr.testing.assert_equal(ds, crop.reap())
    assert len(set(ds.y.values.tolist())) == 5


def test_a_buffer_that_the_function_fills_again_is_copied() -> None:
    buffer = np.zeros(3)

    def fn(a: int) -> Any:
        buffer[:] = a
        return buffer

    ds = cf.Runner(fn, "y", var_dims=["k"]).run_combos({"a": [1, 2, 3]})
    assert ds.y.values[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_it_is_called_and_shown_like_its_function() -> None:
    runner = make_runner()
    assert runner(2, b=3)[0] == 6
    assert (runner.__name__, runner.__doc__) == ("line", "A number and an array.")  # type: ignore[attr-defined]
    assert runner.fn_args == ("a", "b", "scale")
    assert "p, q" in repr(runner)

    runner.fn = functools.partial(line, b=10)
    assert runner.run_combos({"a": [1]}).p.item() == 10
    with pytest.raises(cf.DesignError, match="not callable"):
        runner.fn = 3  # type: ignore[assignment]


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_it_survives_pickling(dumps: Callable[[Any], bytes]) -> None:
    runner = make_runner(constants={"b": 3}, var_coords={"k": [1, 2, 3]})
    again = pickle.loads(dumps(runner))
    xr.testing.assert_equal(again.run_combos({"a": [1, 2]}), runner.run_combos({"a": [1, 2]}))


def test_what_cannot_be_computed_is_refused_before_anything_is() -> None:
    with pytest.raises(cf.DesignError, match="does not take 'z'"):
        make_runner().run_combos({"a": [1], "z": [2]})
    with pytest.raises(cf.DesignError, match="on_error"):
        make_runner().run_combos({"a": [1]}, on_error="ignore")
    with pytest.raises(cf.DesignError, match="to_df=True needs"):
        cf.Runner(lambda a: 1).run_combos({"a": [1]}, to_df=True)


def test_a_result_without_names_is_a_list() -> None:
    assert cf.Runner(lambda a: a + 1).run_combos({"a": [1, 2]}) == [2, 3]


def test_the_one_call_runners_of_xyzpy(here: Path) -> None:
    combos = {"a": [1, 2], "b": [3, 4, 5]}

    def mul(a: int, b: int) -> int:
        return a * b

    def both(a: int, b: int) -> tuple[int, int]:
        return a + b, a * b

    assert cf.combo_runner(mul, combos) == ((3, 4, 5), (6, 8, 10))
    assert cf.combo_runner(mul, combos, flat=True) == [3, 4, 5, 6, 8, 10]
    assert cf.combo_runner(both, combos, split=True)[1] == ((3, 4, 5), (6, 8, 10))
    assert cf.combo_runner(mul, {"a": [1, 2]}, constants={"b": 9}, num_workers=2) == (9, 18)
    assert cf.case_runner(mul, ("a", "b"), [(1, 2), (3, 4)]) == (2, 12)
    assert cf.case_runner(mul, ("a", "b"), [(1,), (3,)], constants={"b": 2}) == (2, 6)
    ds = cf.combo_runner_to_ds(both, combos, ["s", "p"])
    assert ds.p.sel(a=2, b=5).item() == 10
    assert cf.case_runner_to_ds(both, ("a", "b"), [(1, 2)], ["s", "p"]).s.item() == 3
    frame = cf.combo_runner_to_df(both, combos, ["s", "p"], constants={})
    assert frame.values.tolist()[-1] == [2, 5, 7, 10]
    assert cf.case_runner_to_df(both, ("a", "b"), [(1, 2)], ["s", "p"]).p.tolist() == [2]
    assert tree(here) == []


def test_importing_it_loads_no_xarray() -> None:
    said = python(
        "import sys, cropfit; cropfit.Runner; print({'xarray', 'pandas'} & {*sys.modules})"
    )
    assert said.strip() == "set()"
