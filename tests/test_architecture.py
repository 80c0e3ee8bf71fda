"""The shape of the package: who may import whom, what a worker loads, what is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import cropfit
import cropfit.errors

ROOT = Path(cropfit.__file__).parent
PROJECT = ROOT.parent

# A module belongs to the layer of the longest name that it starts with.
LAYERS = {
    "cropfit._version": 0,
    "cropfit.attributes": 0,
    "cropfit.axes": 0,
    "cropfit.batching": 0,
    "cropfit.errors": 0,
    "cropfit.grid": 0,
    "cropfit.outputs": 0,
    "cropfit.watched": 0,
    "cropfit.tables": 0,
    "cropfit.values": 0,
    "cropfit.wording": 0,
    "cropfit.disk": 1,
    "cropfit.work": 2,
    "cropfit.engines": 3,
    "cropfit.fitting": 3,
    "cropfit.plotting": 3,
    "cropfit": 4,
    "cropfit.__main__": 4,
    "cropfit.carrying": 4,
    "cropfit.catalogue": 4,
    "cropfit.cli": 4,
    "cropfit.crop": 4,
    "cropfit.find": 4,
    "cropfit.picturing": 4,
    "cropfit.progress": 4,
    "cropfit.queueing": 4,
    "cropfit.rounds": 4,
    "cropfit.shortcuts": 4,
    "cropfit.staged": 4,
    "cropfit.tending": 4,
    "cropfit.views": 4,
    "cropfit.farming": 4,
}
SLOW = {
    "click",
    "dask",
    "distributed",
    "dynesty",
    "jinja2",
    "emcee",
    "joblib",
    "matplotlib",
    "mpi4py",
    "nautilus",
    "nessai",
    "netCDF4",
    "pandas",
    "ray",
    "rich",
    "scipy",
    "tqdm",
    "ultranest",
    "xarray",
    "zarr",
}


# What a module is all about; it is loaded by the function that needs it.
MAY_LOAD = {
    "cropfit.farming.accessor": {"xarray"},
    "cropfit.fitting.samplers.walkers": {"dynesty"},  # its classes derive from dynesty's
    "cropfit.views.terminal": {"rich"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def layer_of(module: str) -> int | None:
    """The layer of a module; None for a face module that the table does not know."""
    name = module
    while name not in LAYERS:
        name = name.rpartition(".")[0]
    return None if name == "cropfit" != module else LAYERS[name]


def runs_later(node: ast.AST) -> bool:
    """Whether loading a module leaves this part of it alone."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def imports(tree: ast.AST, module: str, *, top_only: bool = False) -> Iterator[str]:
    """Full names of all that a module imports; with `top_only` what loading it loads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in SOURCES else str(node.module) for name in names)
        elif not (top_only and runs_later(node)):
            yield from imports(node, module, top_only=top_only)


@pytest.fixture(params=list(SOURCES))
def module(request: pytest.FixtureRequest) -> str:
    return request.param


def parse(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


def test_every_module_has_a_layer(module):
    assert layer_of(module) is not None, f"write {module} into LAYERS"


def test_a_module_imports_only_from_its_own_layer_and_those_below(module):
    own = layer_of(module)
    above = [
        name
        for name in imports(parse(module), module)
        if name.split(".")[0] == "cropfit" and (layer_of(name) or 0) > (own or 0)
    ]
    assert above == []


def test_a_slow_library_is_imported_by_the_function_that_needs_it(module):
    loaded = {name.split(".")[0] for name in imports(parse(module), module, top_only=True)}
    is_command = module == "cropfit.cli" or module.startswith("cropfit.cli.")
    allowed = MAY_LOAD.get(module, {"click"} if is_command else set())
    assert loaded & SLOW <= allowed


def test_the_package_raises_errors_and_never_asserts(module):
    assert [node.lineno for node in ast.walk(parse(module)) if isinstance(node, ast.Assert)] == []


def third_parties_after(code: str, folder: Path) -> set[str]:
    """Top-level names that are neither of the standard library nor ours, in a fresh process.

    Only those that `code` adds: an environment's own start-up files may load some.
    """
    script = (
        "import sys; before = set(sys.modules)\n"
        f"{code}\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*(loaded - set(sys.stdlib_module_names) - {'cropfit', 'tiny_function'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    return {name for name in done.stdout.splitlines()[-1].split() if not name.startswith("_")}


def test_importing_the_package_loads_no_third_party(tmp_path):
    assert third_parties_after("import cropfit", tmp_path) == set()


def test_the_way_to_grow_loads_numpy_and_cloudpickle_alone(tmp_path):
    loaded = third_parties_after("import cropfit; cropfit.grow", tmp_path)
    assert loaded <= {"numpy", "cloudpickle"}


def test_growing_a_batch_loads_numpy_and_cloudpickle_alone(tmp_path):
    """Not only the import: the whole of a worker's life."""
    (tmp_path / "tiny_function.py").write_text("def double(x):\n    return 2 * x\n")
    sow = (
        "import cropfit, tiny_function\n"
        "crop = cropfit.Crop(fn=tiny_function.double, name='tiny', num_batches=2)\n"
        "crop.sow_combos({'x': [1, 2, 3]})"
    )
    third_parties_after(sow, tmp_path)
    loaded = third_parties_after("import cropfit; cropfit.grow(1, crop='tiny')", tmp_path)
    assert loaded <= {"numpy", "cloudpickle"}
    grown = list((tmp_path / ".crop-tiny" / "grown").iterdir())
    assert len(grown) == 1


@pytest.mark.parametrize("name", cropfit.errors.__all__)
def test_an_error_survives_pickling(name):
    error = getattr(cropfit.errors, name)("one finished message")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == "one finished message"
    assert isinstance(again, cropfit.errors.CropError)


def test_every_error_of_the_package_is_exported():
    classes = {
        name
        for name, value in vars(cropfit.errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert classes == set(cropfit.errors.__all__)


def test_every_export_exists():
    assert set(cropfit.__all__) <= set(dir(cropfit))
    for name in cropfit.__all__:
        assert getattr(cropfit, name) is not None


def public(owner: ModuleType | type, module: str) -> Iterator[tuple[str, object]]:
    """Every public function, class, method and property that is defined in `module`."""
    for name, value in vars(owner).items():
        if name.startswith("_"):
            continue
        bare = getattr(value, "__func__", value)
        bare = getattr(bare, "fget", None) or getattr(bare, "func", None) or bare
        if getattr(bare, "__module__", None) != module:
            continue
        if inspect.isclass(bare):
            yield f"{module}.{bare.__qualname__}", bare
            yield from public(bare, module)
        elif inspect.isfunction(bare):
            yield f"{module}.{bare.__qualname__}", bare


def test_whatever_is_public_says_what_it_is_for(module):
    if module == "cropfit.__main__":
        assert ast.get_docstring(parse(module))
        return
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    assert [name for name, value in public(loaded, module) if not inspect.getdoc(value)] == []


def test_every_module_of_the_package_can_be_found():
    """No folder lacks its __init__.py, which an installed copy would then lack altogether."""
    found = {name for _, name, _ in pkgutil.walk_packages([str(ROOT)], "cropfit.")}
    assert found | {"cropfit"} == set(SOURCES)


def test_the_readme_names_every_command():
    from cropfit.cli import main

    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert [name for name in main.commands if f"cropfit {name}" not in readme] == []


def test_the_readme_names_every_make_target():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:"))
    missing = {"demo", "test", "lint"} & set(phony.split()) - {
        target for target in phony.split() if f"make {target}" in readme
    }
    assert missing == set()
