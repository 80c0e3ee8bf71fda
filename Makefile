# Every target makes its own environment in .venv first: a fresh clone needs Python >= 3.10 and make.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
# compat: a plain path on sys.path, not an import hook that every start of Python would pay for.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install \
    --config-settings editable_mode=compat --editable

.PHONY: help demo test test-nfs test-cluster test-condor lint docs notebooks bench bench-growth clean

help:
	@echo "make demo          fit the NIST problems with three workers, one of them killed; see demo-output/"
	@echo "make test          run the tests"
	@echo "make test-nfs      run the tests that want a real NFS server with two clients (root, Debian)"
	@echo "make test-cluster  run the tests that want a real Slurm and a real Grid Engine (root, Debian)"
	@echo "make test-condor   run the same on a real HTCondor (root, Debian)"
	@echo "make lint          ruff and mypy"
	@echo "make docs          build the documentation; see docs/_build/html/index.html"
	@echo "make notebooks     run the notebooks and keep what they show"
	@echo "make bench         measure against the bare limits and xyzpy; see bench-output/"
	@echo "make bench-growth  measure how the cost grows with the number of cases and batches"
	@echo "make clean         remove what these targets made"

# PYTHON is looked for only when there is an environment to make.
$(BIN)/python:
	@python="$(PYTHON)"; [ -n "$$python" ] || python=$$(scripts/find_python.sh) || exit 1; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "$$python is not Python 3.10 or newer" >&2; exit 1; }; \
	echo "making $(VENV) with $$("$$python" --version)"; "$$python" -m venv $(VENV)

# The interpreter is order-only: its time stamp is that of the system's Python.
$(VENV)/.ready-demo: setup.cfg pyproject.toml | $(BIN)/python
	@$(INSTALL) '.[demo]'
	@touch $@

$(VENV)/.ready-dev: setup.cfg pyproject.toml | $(BIN)/python
	@$(INSTALL) '.[demo,test,dev]'
	@touch $@

demo: $(VENV)/.ready-demo
	@$(BIN)/python scripts/demo/run.py demo-output

test: $(VENV)/.ready-dev
	@$(BIN)/python -m pytest -q $(ARGS)

test-nfs: $(VENV)/.ready-dev
	@if why=$$(scripts/nfs_uml.sh supported); then \
	    scripts/nfs_uml.sh install && NFS_UML_TIMEOUT=600 NFS_UML_PYTHON=$(BIN)/python \
	    scripts/nfs_uml.sh run $(BIN)/python -m pytest -q -m nfs -p no:cacheprovider $(ARGS); \
	else echo "make test-nfs: $$why"; [ "$$CROPFIT_REQUIRE_TOOLS" != 1 ]; fi

test-cluster: $(VENV)/.ready-dev
	@if why=$$(scripts/slurm.sh supported && scripts/sge.sh supported); then \
	    scripts/slurm.sh install && scripts/sge.sh install && exec scripts/slurm.sh run scripts/sge.sh run \
	    $(BIN)/python -m pytest -q -m "cluster and not condor" -p no:cacheprovider tests/cluster $(ARGS); \
	else echo "make test-cluster: $$why"; [ "$$CROPFIT_REQUIRE_TOOLS" != 1 ]; fi

test-condor: $(VENV)/.ready-dev
	@if why=$$(scripts/condor.sh supported); then \
	    exec scripts/condor.sh run $(BIN)/python -m pytest -q -m condor -p no:cacheprovider tests/cluster $(ARGS); \
	else echo "make test-condor: $$why"; [ "$$CROPFIT_REQUIRE_TOOLS" != 1 ]; fi

lint: $(VENV)/.ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.ready-dev
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Inside the test clusters where they can be had, so that 06-cluster has something to submit to.
notebooks: $(VENV)/.ready-dev
	@if scripts/slurm.sh supported >/dev/null && scripts/sge.sh supported >/dev/null; then \
	    scripts/slurm.sh install && scripts/sge.sh install && inside="scripts/slurm.sh run scripts/sge.sh run"; fi; \
	$$inside $(BIN)/python scripts/run_notebooks.py $(ARGS)

bench: $(VENV)/.ready-dev
	@$(BIN)/python scripts/bench $(ARGS)

bench-growth: $(VENV)/.ready-dev
	@$(BIN)/python scripts/bench --growth $(ARGS)

clean:
	rm -rf $(VENV) docs/_build docs/reference/generated docs/howto/pictures build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output bench-output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
