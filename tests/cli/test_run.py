"""`cropfit run`: pipelines from files, exit codes, plans."""

from __future__ import annotations

import os
import sys

import pytest
from shell import cropfit, shell

from cropfit.errors import DesignError, FunctionError, NotFoundError
from cropfit.fitting.pipeline.config import read_config

MODULE = """
import numpy as np, cropfit as cf

def load():
    return {"x": np.linspace(0, 1, 20), "name": "NGC 1"}

def line(p, data):
    return -0.5 * np.sum((2 * data["x"] + 1 - p.slope * data["x"] - p.height) ** 2, axis=-1)

model = cf.Model(line, {"slope": cf.Uniform(0, 5), "height": cf.Uniform(0, 5)})

def fails(data, former):
    raise OSError("no such galaxy")

def reader(folder):
    return {"size": float((folder / "log.txt").read_text())}
"""
TOML = """
data = "{module}:load"
folder = "kept"
seed = 1
n_cores_list = [1, 1, 1]

[[stage]]
name = "coarse"
model = "{module}:model"
sampler = "maxlike"
n_live = 3

[[stage]]
name = "program"
command = ["echo", "{{slope:.0f}}"]
reader = "{module}:reader"
inputs = {{ "notes.txt" = "{{name}}", "copy.txt" = {{ file = "{module}.py" }} }}

[[stage]]
name = "fine"
{last}
"""
FINE = 'model = "{module}:model"\nn_live = 30\ninherit = {{slope = "fix", height = {{around = 9}}}}'
INI = """
[pipeline]
data = {module}:load
stages = coarse program fine
seed = 1
folder = kept
n_cores_list = 1 1 1
[coarse]
model = {module}:model
sampler = maxlike
n_live = 3
[program]
command = echo {{slope:.0f}}
reader = {module}:reader
[fine]
model = {module}:model
n_live = 30
inherit = slope: fix, height: around 9
"""


@pytest.fixture
def module(here, request):
    """A module of its own for each test, so that none is taken for another's."""
    name = f"galaxies_{abs(hash(request.node.name))}"
    (here / f"{name}.py").write_text(MODULE)
    before = list(sys.path)
    yield name
    sys.path[:] = before
    sys.modules.pop(name, None)


def write(here, module, text, last=""):
    path = here / ("chain.ini" if text is INI else "chain.toml")
    path.write_text(text.format(module=module, last=last.format(module=module)))
    return path.name


@pytest.mark.parametrize("text", [TOML, INI], ids=["toml", "ini"])
def test_a_file_describes_a_pipeline_that_is_run_and_kept(here, module, text):
    name = write(here, module, text, FINE)
    code, out, err = shell("run", name)
    assert (code, err) == (0, "")
    assert out.startswith(f"<Pipeline chain: 3 of 3 stages done, in {here}/kept>")
    assert "slope=2 (fix, coarse)" in out
    assert "(around 9, coarse)" in out
    assert (here / "kept/program/log.txt").read_text() == "2\n"
    again = cropfit("run", name)
    assert (again.exit_code, again.output) == (0, out)


def test_a_stage_that_fails_is_exit_code_1_and_is_tried_again(here, module):
    name = write(here, module, TOML, 'function = "{module}:fails"')
    for _ in range(2):
        ran = cropfit("run", name)
        assert ran.exit_code == 1
        assert "Stage 'fine' (3 of 3) failed: OSError: no such galaxy" in ran.output
    write(here, module, TOML, FINE)
    assert cropfit("run", name).exit_code == 0


def test_a_dry_run_writes_files_and_shows_the_plan(here, module):
    ran = cropfit("run", write(here, module, TOML, FINE), "--dry-run", "--n-cores-list", "1,3,1")
    assert ran.exit_code == 0
    assert "0 of 3 stages done" in ran.output
    assert "program: run mpiexec -n 3 echo {slope:.0f}" in ran.output
    assert (here / "kept/program/notes.txt").read_text() == "NGC 1"
    assert (here / "kept/program/copy.txt").read_text() == MODULE
    assert not list(here.glob("kept/*/done.json"))
    assert cropfit("run", "chain.toml").exit_code == 0  # in the same folder, with its seed


def test_pictures_and_another_folder_are_asked_for(here, module):
    ran = cropfit("run", write(here, module, TOML, FINE), "--plot", "--folder", "other")
    assert ran.exit_code == 0
    assert sorted(p.parent.name for p in here.glob("other/*/corner.png")) == ["coarse", "fine"]


@pytest.mark.parametrize(
    ("last", "error", "said"),
    [
        ("", DesignError, "needs one of model, function, command, cosmosis"),
        ('model = "nowhere:model"', FunctionError, "nowhere:model cannot be imported"),
        ('model = "model"', DesignError, "not of the form module:attribute"),
        ('model = "{module}:model"\ninherit = {{mass = "fix"}}', DesignError, "no such parameter"),
        ('command = "true"\nwalltime = 3', DesignError, "options of a command are"),
        ('command = "true"\ninputs = {{a = 1}}', DesignError, "no text, Path or function"),
        ("cosmosis = {{walltime = 3}}", DesignError, "options of cosmosis are config, values"),
        ('cosmosis = "none.ini"', DesignError, "ini= with a file that is there"),
        ("model = ", DesignError, "this is no TOML"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_and_nothing_runs(here, module, last, error, said):
    name = write(here, module, TOML, last)
    with pytest.raises(error, match=said):
        read_config(name)
    ran = cropfit("run", name)
    assert ran.exit_code == 2
    assert not (here / "kept").exists()


def test_a_file_that_is_not_there_is_exit_code_2(here):
    assert cropfit("run", "none.toml").exit_code == 2
    with pytest.raises(NotFoundError):
        read_config("none.toml")


def test_cosmosis_is_configured_in_toml(here):
    (here / "cosmo.toml").write_text(
        '[[stage]]\nname = "chain"\n[stage.cosmosis]\nprogram = ["cosmosis"]\n'
        '[stage.cosmosis.config.runtime]\nsampler = "maxlike"\n'
        '[stage.cosmosis.config.pipeline]\nmodules = ["line"]\n'
        "[stage.values.line]\nslope = [0, 1, 5]\nextra = 0.3\n"
    )
    ran = cropfit("run", "cosmo.toml", "--dry-run")
    assert ran.exit_code == 0
    folder = f"{here}/cosmo/chain"
    assert f"run cosmosis {folder}/chain.ini" in ran.output
    with open(os.path.join(folder, "chain_values.ini")) as file:
        assert file.read() == "[line]\nslope = 0.0 1.0 5.0\nextra = 0.3\n"
