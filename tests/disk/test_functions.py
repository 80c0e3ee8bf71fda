"""The function travels with its constants, and what cannot be read says why."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import threading

import pytest

from cropfit.disk.functions import (
    Work,
    is_whole,
    name_of,
    pickle_work,
    read_constants,
    read_work,
    write_work,
)
from cropfit.errors import DamagedError, ForeignFileError, FunctionError

OWNER = "host.1.0-0-0"


class Model:
    """Something that can be called."""

    power = 2

    def __call__(self, x):
        return x**self.power

    def cube(self, x):
        return x**3


def add(x, y=0):
    return x + y


def put(path, function, constants=None, resources=None):
    write_work(str(path), pickle_work(Work(function, constants or {}, resources or {})), OWNER)
    return str(path)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (add, "add"),
        (lambda x: x + 1, "<lambda>"),
        (functools.partial(add, y=1), "add"),
        (Model(), "Model"),
        (Model().cube, "Model.cube"),
        (math.sqrt, "math.sqrt"),
    ],
)
def test_whatever_can_be_called_comes_back_and_has_a_name(tmp_path, function, name):
    work = read_work(put(tmp_path / "f", function), {})

    assert work.function(4) == function(4)
    assert name_of(function).endswith(name)
    assert os.listdir(tmp_path) == ["f"]


def test_constants_and_resources_come_back(tmp_path):
    path = put(tmp_path / "f", add, {"y": 3, "table": [1, 2]}, {"lookup": {"a": None}})

    work = read_work(path, {})

    assert (work.constants, work.resources) == ({"y": 3, "table": [1, 2]}, {"lookup": {"a": None}})
    assert read_constants(path) == {"y": 3, "table": [1, 2]}


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (Work(functools.partial(add, y=threading.Lock()), {}, {}), "the function .*add"),
        (Work(add, {"a": 1, "lock": threading.Lock()}, {}), "the constant 'lock'"),
        (Work(add, {}, {"file": threading.Lock()}), "the resource 'file'"),
    ],
)
def test_what_cannot_be_pickled_is_named(work, what):
    with pytest.raises(FunctionError, match=f"{what} cannot be pickled.*made inside the function"):
        pickle_work(work)


ELSEWHERE = """
import sys
from cropfit.disk.functions import read_work
print(read_work(sys.argv[1], {"search_path": sys.argv[2:]}).function(4))
"""

SOWER = """
import sys
sys.path.insert(0, sys.argv[2])
import beside
from cropfit.disk.functions import Work, pickle_work, write_work
write_work(sys.argv[1], pickle_work(Work(beside.double, {}, {})), "host.1.0-0-0")
"""


def test_a_module_beside_the_notebook_is_found_where_the_sower_found_it(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "beside.py").write_text("def double(x):\n    return 2 * x\n")
    path, lib = str(tmp_path / "f"), str(tmp_path / "lib")
    subprocess.run([sys.executable, "-c", SOWER, path, lib], check=True)

    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, path, lib], capture_output=True, text=True, check=True
    )

    assert done.stdout == "8\n"


def test_a_function_that_this_python_cannot_load_says_which_versions_sowed_and_run(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "beside.py").write_text("def double(x):\n    return 2 * x\n")
    path = str(tmp_path / "f")
    subprocess.run([sys.executable, "-c", SOWER, path, str(tmp_path / "lib")], check=True)
    sower = {"python": "3.9.1", "packages": {"cloudpickle": "1.0"}, "executable": "/env/python"}

    with pytest.raises(FunctionError) as caught:
        read_work(path, sower)

    told = str(caught.value)
    assert "No module named 'beside'" in told
    assert "Python 3.9.1 and cloudpickle 1.0" in told
    assert sys.version.split()[0] in told
    assert "/env/python" in told
    assert read_constants(path) == {}


@pytest.mark.parametrize("bit", [0, 6])
def test_a_flip_anywhere_is_found_or_changes_nothing(tmp_path, bit):
    path = put(tmp_path / "f", functools.partial(add, y=1), {"z": 5}, {"w": 6})
    content = (tmp_path / "f").read_bytes()
    caught = 0
    for at in range(len(content)):
        altered = bytearray(content)
        altered[at] ^= 1 << bit
        (tmp_path / "f").write_bytes(altered)
        try:
            work = read_work(path, {})
            assert (work.function(1), work.constants, work.resources) == (2, {"z": 5}, {"w": 6})
            assert is_whole(path)
        except DamagedError:
            caught += 1
            assert not is_whole(path)

    # All but the bytes between the frames.
    assert caught > 0.8 * len(content)


def test_a_file_that_ends_anywhere_is_torn_unless_only_padding_is_gone(tmp_path):
    path = put(tmp_path / "f", add)
    content = (tmp_path / "f").read_bytes()
    for length in range(len(content) - 16):
        (tmp_path / "f").write_bytes(content[:length])
        assert not is_whole(path)
        with pytest.raises(DamagedError, match="Sow again"):
            read_work(path, {})


def test_a_file_that_is_missing_is_not_whole(tmp_path):
    assert is_whole(str(tmp_path / "f")) is False


def test_a_file_that_anybody_may_write_is_not_unpickled(tmp_path):
    path = put(tmp_path / "f", add)
    os.chmod(path, 0o606)

    with pytest.raises(ForeignFileError):
        read_work(path, {})
