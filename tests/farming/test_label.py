"""A labelled function is still the function."""

from __future__ import annotations

import importlib.util
import inspect
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
from steps import python, tree

import cropfit as cf

SOURCE = '''
import numpy as np
import cropfit as cf

FACTOR = 10

@cf.label(var_names=["total", "row"], var_dims={"row": ["k"]}, constants={"c": 1})
def add(a: int, b: int = 2, c: int = 0):
    """Add up."""
    return (a + b + c) * FACTOR, np.arange(3) * a

@cf.label(var_names="y", sampler=True)
def shot(x):
    return x**2
'''


@pytest.fixture
def module(here: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (here / "labelled_functions.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(here)
    spec = importlib.util.spec_from_file_location("labelled_functions", "labelled_functions.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "labelled_functions", made)
    spec.loader.exec_module(made)
    return made


def test_it_is_called_named_documented_and_signed_like_the_function(module: ModuleType) -> None:
    add = module.add
    assert isinstance(add, cf.Runner)
    assert add(1, b=3)[0] == 40
    assert (add.__name__, add.__qualname__, add.__doc__) == ("add", "add", "Add up.")
    assert add.__module__ == "labelled_functions"
    assert str(inspect.signature(add)) == "(a: int, b: int = 2, c: int = 0)"
    assert inspect.unwrap(add) is add.fn
    assert callable(add)


def test_it_makes_a_runner_or_a_sampler(module: ModuleType) -> None:
    assert module.add.run_combos({"a": [1, 2]}).total.values.tolist() == [40, 50]
    assert isinstance(module.shot, cf.Sampler)
    assert module.shot(3) == 9
    df = module.shot.sample_combos(4, {"x": [1, 2, 3]}, seed=1)
    assert (df.y == df.x**2).all()
    with pytest.raises(cf.DesignError, match="two things"):
        cf.label("y", harvester=True, sampler=True)


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("name", ["add", "shot"])
def test_a_module_s_own_is_pickled_by_name(module: ModuleType, dumps: Any, name: str) -> None:
    labelled = getattr(module, name)
    assert pickle.loads(dumps(labelled)) is labelled
    assert len(dumps(labelled)) < 200


def test_one_of_main_is_pickled_by_value(here: Path) -> None:
    write = (
        "import cropfit as cf, pickle, cloudpickle\n"
        "FACTOR = 5\n"
        "@cf.label(var_names='y')\n"
        "def times(x):\n"
        "    return FACTOR * x\n"
        "for n, dumps in enumerate((pickle.dumps, cloudpickle.dumps)):\n"
        "    open(f'{n}.pkl', 'wb').write(dumps(times))\n"
    )
    python(write)
    read = (
        "import pickle\n"
        "for n in (0, 1):\n"
        "    times = pickle.load(open(f'{n}.pkl', 'rb'))\n"
        "    print(times(3), times.__name__, times.run_combos({'x': [2]}).y.item())\n"
    )
    assert python(read).splitlines() == ["15 times 10"] * 2


def test_its_crop_is_grown_by_another_process(module: ModuleType, here: Path) -> None:
    crop = module.add.Crop(batchsize=1, verbosity=0)
    crop.sow_combos({"a": [1, 2, 3]})
    python("import sys, cropfit; sys.exit(cropfit.grow(crop='add').exit_code)")

    ds = crop.reap()

    assert ds.total.values.tolist() == [40, 50, 60]
    assert module.add.last_ds is ds
    assert [path for path in tree(here) if not path.startswith("__pycache__")] == [
        "add.nc",
        "labelled_functions.py",
    ]
