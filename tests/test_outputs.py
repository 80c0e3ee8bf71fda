"""However users type their outputs, cropfit sees one form, and refuses what means nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from cropfit.errors import DesignError
from cropfit.outputs import Coordinate, Outputs


def test_a_single_name_is_a_tuple_of_one():
    assert Outputs.parse("mass").var_names == ("mass",)


def test_no_names_mean_that_the_result_tells():
    assert Outputs.parse().var_names is None


@pytest.mark.parametrize(
    ("names", "dims", "expected"),
    [
        (["a", "b"], {"b": "t"}, {"b": ("t",)}),
        (["a", "b"], {"b": ["t", "x"]}, {"b": ("t", "x")}),
        (["a", "b"], {("a", "b"): ["t"]}, {"a": ("t",), "b": ("t",)}),
        (["a", "b"], [None, ["t"]], {"b": ("t",)}),
        (["a", "b"], ["t", ("t", "x")], {"a": ("t",), "b": ("t", "x")}),
        ("a", "t", {"a": ("t",)}),
        ("a", ["t", "x"], {"a": ("t", "x")}),
        ("a", [["t", "x"]], {"a": ("t", "x")}),
        ("a", {"a": []}, {}),
        ("a", None, {}),
        (None, {"a": ["t"]}, {"a": ("t",)}),
    ],
)
def test_inner_dimensions_are_taken_in_every_shape(names, dims, expected):
    assert Outputs.parse(names, var_dims=dims).var_dims == expected


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"var_names": []}, "empty"),
        ({"var_names": ["a", "a"]}, "'a' twice"),
        ({"var_names": ["a", 1]}, "1"),
        ({"var_names": ["a/b"]}, "'a/b'"),
        ({"var_names": [""]}, "''"),
        ({"var_names": ["a "]}, "'a '"),
        ({"var_names": ["a"], "var_dims": {"b": "t"}}, "'b'"),
        ({"var_names": ["a"], "var_dims": {"a": ["t", "t"]}}, "twice"),
        ({"var_names": ["a", "b"], "var_dims": {"a": "t", ("a", "b"): "t"}}, "'a' twice"),
        ({"var_names": ["a", "b"], "var_dims": ["t"]}, "1 entries for 2"),
        ({"var_dims": ["t"]}, "var_names"),
        ({"var_names": ["a"], "var_dims": {"a": "a"}}, "both"),
        ({"var_names": ["a"], "var_coords": {"t": [1, 2]}}, "'t'"),
        ({"var_names": ["a"], "var_attrs": {"b": {}}}, "'b'"),
        ({"var_names": ["a"], "var_dims": "t", "var_coords": {"t": [[1, 2]]}}, "1-D"),
        ({"var_names": ["a"], "var_dims": "t", "var_coords": {"t": [{}, 1]}}, "object"),
    ],
)
def test_what_means_nothing_is_refused_by_name(kwargs, named):
    with pytest.raises(DesignError, match=named):
        Outputs.parse(**kwargs)


def test_a_coordinate_keeps_its_attributes():
    wavelength = xr.DataArray([1.0, 2.0], dims="w", attrs={"units": "nm"})
    outputs = Outputs.parse("flux", var_dims="w", var_coords={"w": wavelength})
    assert outputs.var_coords["w"].attrs == {"units": "nm"}
    np.testing.assert_array_equal(outputs.var_coords["w"].values, [1.0, 2.0])


def test_a_coordinate_of_an_automatic_dimension_is_known():
    outputs = Outputs.parse("a", var_coords={"a_0": [1, 2, 3]})
    assert list(outputs.var_coords) == ["a_0"]


def test_constants_of_an_inner_dimension_become_its_coordinate():
    outputs = Outputs.parse("a", var_dims="t", attrs={"author": "me"})
    merged = outputs.with_constants({"t": [1, 2], "g": 9.81, "author": "you"})
    np.testing.assert_array_equal(merged.var_coords["t"].values, [1, 2])
    assert merged.attrs == {"g": 9.81, "author": "me"}
    assert outputs.var_coords == {}


@pytest.mark.parametrize(("name", "dims"), [("x", None), ("a", "x")])
def test_an_output_named_like_a_parameter_is_refused(name, dims):
    with pytest.raises(DesignError, match="'x'"):
        Outputs.parse(name, var_dims=dims).check_against(["x", "y"])


def test_all_but_the_coordinates_survives_json():
    outputs = Outputs.parse(
        ["a", "b"],
        var_dims={"b": "t"},
        var_coords={"t": [1, 2]},
        var_attrs={"a": {"units": "m", "ok": True, "range": (0, 1j)}},
        attrs={"none": None, "when": np.datetime64("2001-01-01", "s")},
    )
    again = Outputs.from_json(json.loads(json.dumps(outputs.to_json())), outputs.var_coords)
    for name in ("var_names", "var_dims", "var_attrs", "attrs"):
        assert getattr(again, name) == getattr(outputs, name)
    assert isinstance(again.var_coords["t"], Coordinate)
