"""CosmoSIS as a stage: its files, its chain, what it takes over and hands on."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from steps import tree

import cropfit as cf
from cropfit.errors import DamagedError, DesignError, NotFoundError, StageError
from cropfit.fitting.pipeline.chain import read_chain

MODULE = """
def setup(options):
    return options["line", "noise"]

def execute(block, config):
    slope, height = block["line", "slope"], block["line", "height"]
    total = 0.0
    for i in range(20):
        x = i / 19
        total += (2 * x + 1 - slope * x - height) ** 2
    block["likelihoods", "line_like"] = -0.5 * total / config**2
    return 0

def cleanup(config):
    pass
"""
VALUES = {"line": {"slope": (0, 1.5, 5), "height": (-4, 0.5, 6), "extra": 0.3}}
STAND_IN = [sys.executable, str(Path(__file__).with_name("cosmosis_stand_in.py"))]
missing = pytest.mark.skipif(
    not shutil.which("cosmosis"),
    reason="cosmosis is not installed: pip install 'cropfit[cosmosis]'",
)
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def config(sampler, **options):
    return {
        "runtime": {"sampler": sampler},
        sampler: options,
        "pipeline": {"modules": ["line"], "likelihoods": "line", "quiet": True, "timing": False},
        "line": {"file": "line_module.py", "noise": 0.5},
    }


@pytest.fixture(params=["stand-in", pytest.param("real", marks=missing)])
def cosmosis(request, here):
    """Makes a stage's work: the same must hold for the real program."""
    (here / "line_module.py").write_text(MODULE)
    program = ["cosmosis"] if request.param == "real" else STAND_IN

    def make(config=None, values=None, **options):
        return cf.CosmoSIS(config, values, program=program, environment=AS_ROOT, **options)

    return make


def taken(result, stage):
    return {each.name: (each.how, each.stage) for each in result[stage].inherited}


def test_the_best_row_is_taken_over_by_the_next_run_and_by_a_fit(here, cosmosis):
    rules = {"slope": cf.around(width=5), "line--height": "fix"}
    chain = cosmosis(config("emcee", walkers=8, samples=60, nsteps=10), VALUES)
    model = cf.Model(lambda p, data: -((p.slope - 2) ** 2), {"slope": cf.Uniform(0, 5)})
    result = cf.Pipeline(
        [
            cf.Stage("best", cosmosis(config("maxlike", method="Nelder-Mead"), VALUES)),
            cf.Stage("chain", chain),
            cf.Stage("narrow", chain, inherit=rules),
            cf.Stage("fit", model, sampler="maxlike", n_live=2),
        ]
    ).run()
    assert result["best"].fit.names == ("line--slope", "line--height")
    assert result["best"].fit.fixed == {"line--extra": 0.3}
    assert 0 < result["best"].fit.seconds <= result["best"].seconds
    slope, height = (result["best"].numbers[name][0] for name in ("slope", "line--height"))
    assert (slope, height) == pytest.approx((2, 1), abs=0.06)
    starts = {"line--slope": ("start", "best"), "line--height": ("start", "best")}
    assert taken(result, "chain") == starts
    written = (here / "pipeline/chain/chain_values.ini").read_text()
    assert written == (
        f"[line]\nslope = 0.0 {slope!r} 5.0\nheight = -4.0 {height!r} 6.0\nextra = 0.3\n"
    )
    assert taken(result, "narrow") == {
        "line--slope": ("around 5", "chain"),
        "line--height": ("fix", "chain"),
    }
    assert result["narrow"].fit.names == ("line--slope",)
    assert result["narrow"].fit.fixed["line--height"] == result["chain"].numbers["height"][0]
    assert taken(result, "fit") == {"slope": ("start", "narrow")}


def test_files_of_the_user_are_used_as_they_are(here, cosmosis):
    ini = here / "mine.ini"
    ini.write_text(
        "[runtime]\nsampler = maxlike\n[maxlike]\nmethod = Nelder-Mead\n"
        "[output]\nfilename = elsewhere/mine.txt\nformat = text\n"
        "[pipeline]\nmodules = line\nlikelihoods = line\nvalues = values.ini\n"
        "[line]\nfile = line_module.py\nnoise = 0.5\n"
    )
    values = here / "values.ini"
    values.write_text("[line]\nslope = 0 1.5 5\nheight = -4 0.5 6\n")
    before = ini.read_text(), values.read_text()
    look = cf.Stage("look", lambda data, former: {"height": 1.25, "noise": 0.25})
    stage = cf.Stage("mine", cosmosis(ini=str(ini)), inherit={"height": "fix"})
    result = cf.Pipeline([look, stage]).run()
    assert (ini.read_text(), values.read_text()) == before
    assert result.fit.names == ("line--slope",)
    assert result.fit.fixed == {"line--height": 1.25}
    assert taken(result, "mine") == {
        "line--height": ("fix", "look"),
        "line--noise": ("fix", "look"),
    }
    assert result.fit.log_likelihood[0] < -0.5  # with this noise; a quarter of it with theirs
    assert (here / "elsewhere/mine.txt").exists()


def test_a_module_that_raises_fails_the_stage(here, cosmosis):
    (here / "line_module.py").write_text(MODULE.replace("total = 0.0", "raise OSError('no data')"))
    with pytest.raises(StageError, match="no data") as info:
        cf.Pipeline([cf.Stage("a", cosmosis(config("maxlike", method="Powell"), VALUES))]).run()
    assert info.value.exit_code == 1


@missing
@pytest.mark.needs("mpiexec")
def test_two_ranks_share_the_work(here):
    note = (
        "def setup(options):\n    from mpi4py import MPI\n    world = MPI.COMM_WORLD\n"
        "    with open('ranks', 'a') as file:\n"
        "        file.write(f'{world.rank} of {world.size}\\n')\n"
    )
    (here / "line_module.py").write_text(MODULE.replace("def setup(options):\n", note))
    run = config("emcee", walkers=8, samples=20, nsteps=10)
    mpiexec = (
        ["mpiexec", "--oversubscribe"] if os.path.exists("/usr/bin/ompi_info") else ["mpiexec"]
    )
    work = cf.CosmoSIS(run, VALUES, environment=AS_ROOT, mpiexec=mpiexec)
    result = cf.Pipeline([cf.Stage("a", work, n_cores=2)]).run()
    assert sorted((here / "ranks").read_text().splitlines()) == ["0 of 2", "1 of 2"]
    assert len(result.fit) == 160
    assert result.fit.sampler == "cosmosis emcee"


# -- without running it ----------------------------------------------------------------


def test_the_files_stand_beside_the_output_and_can_be_written_alone(here, monkeypatch):
    monkeypatch.setenv("NOISE_FILE", "noise.txt")
    run = config("maxlike")
    run["output"] = {"filename": "{folder}/out/best.txt"}
    run["line"]["noise_file"] = "$NOISE_FILE"
    run["Values"] = VALUES
    cf.Pipeline([cf.Stage("a", cf.CosmoSIS(run))]).plan(write=True)
    folder = here / "pipeline/a"
    assert tree(folder) == ["out", "out/best.ini", "out/best_values.ini"]
    text = (folder / "out/best.ini").read_text()
    assert "[Values]" not in text
    assert "modules = line\nlikelihoods = line\nquiet = T\ntiming = F\n" in text
    assert "noise_file = noise.txt" in text
    assert f"filename = {folder}/out/best.txt\nformat = text" in text
    assert "Values" in run  # what the caller gave is not changed


@pytest.mark.parametrize(
    ("work", "inherit", "said"),
    [
        (cf.CosmoSIS, None, "needs a config"),
        (lambda: cf.CosmoSIS({"output": {"format": "fits"}}), None, "must be text"),
        (lambda: cf.CosmoSIS(config("maxlike"), {"a": {"b": (1, 2)}}), None, "neither a number"),
        (lambda: cf.CosmoSIS(config("maxlike"), VALUES), {"mass": "fix"}, "no such parameter"),
        (lambda: cf.CosmoSIS(config("maxlike"), VALUES), {"slope": "fix"}, "no stage before"),
        (lambda: cf.CosmoSIS({"a": {"b": "{mass}"}}, VALUES), None, r"asks for \{mass\}"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(here, work, inherit, said):
    with pytest.raises(DesignError, match=said):
        cf.Pipeline([cf.Stage("a", work(), inherit=inherit)]).plan()


def test_a_chain_is_read_with_weights_evidence_and_what_was_derived(tmp_path):
    path = tmp_path / "chain.txt"
    path.write_text(
        "#line--slope\tLINE--AREA\tprior\tpost\tlog_weight\n#sampler=multinest\n#n_varied=1\n"
        "## [runtime]\n## sampler = other\n"
        "1.0\t10\t-1\t-3\t-0.5\n2.0\t20\t-1\t-2\t-1.5\n#log_z=-4.5\n#log_z_error=0.25\n"
    )
    fit = read_chain(str(path), {"line--extra": 0.3})
    assert (fit.names, list(fit.derived)) == (("line--slope",), ["line--area"])
    assert fit.log_likelihood.tolist() == [-2, -1]
    assert fit.weights == pytest.approx(np.exp([0, -1]) / np.exp([0, -1]).sum())
    assert (fit.log_evidence, fit.log_evidence_error) == (-4.5, 0.25)
    assert fit.max_posterior["line--area"] == 20
    assert fit.sampler == "cosmosis multinest"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not begin with the names"),
        ("#a--b\tpost\n", "has 0 rows"),
        ("#a--b\tpost\n1\t2\n3\n", "line 3 has 1 numbers for 2"),
        ("#a--b\tlike\n1\t2\n", "columns a--b, like"),
    ],
)
def test_a_torn_chain_is_refused(tmp_path, text, said):
    (tmp_path / "chain.txt").write_text(text)
    with pytest.raises(DamagedError, match=said):
        read_chain(str(tmp_path / "chain.txt"), {})
    with pytest.raises(NotFoundError):
        read_chain(str(tmp_path / "none.txt"), {})
