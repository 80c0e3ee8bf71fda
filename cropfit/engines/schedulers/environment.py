"""The environment that is active now, as lines of a script that make it active again."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from cropfit.engines.schedulers.formats import words
from cropfit.errors import DesignError


def activation(conda_env: str | bool | None) -> list[str]:
    """Lines that activate an environment.

    Parameters
    ----------
    conda_env : str, bool or None
        Name or folder of a conda environment; False for none. By default the
        environment in which this Python runs, be it a venv or one of conda.
    """
    lines = []
    if os.environ.get("PYTHONPATH"):
        lines.append(f"export PYTHONPATH={shlex.quote(os.environ['PYTHONPATH'])}")
    if isinstance(conda_env, str):
        return lines + _conda(conda_env)
    if conda_env is False:
        return lines
    if os.path.isdir(f"{sys.prefix}/conda-meta"):
        return lines + _conda(sys.prefix)
    if sys.prefix != sys.base_prefix and os.path.isfile(f"{sys.prefix}/bin/activate"):
        lines.append(f". {shlex.quote(sys.prefix + '/bin/activate')} || exit 2")
    return lines


def _conda(environment: str) -> list[str]:
    """By conda's own function; without a conda at hand the folder's programs come first."""
    conda = os.environ.get("CONDA_EXE")
    if conda is None and os.path.isdir(environment):
        return [f'export PATH={shlex.quote(environment + "/bin")}:"$PATH"']
    hook = words([conda or "conda", "shell.bash", "hook"])
    return [f'eval "$({hook})" || exit 2', f"conda activate {shlex.quote(environment)} || exit 2"]


def python(launcher: str | Sequence[str] | None, conda_env: str | bool | None) -> list[str]:
    """The words that start Python in a job.

    Parameters
    ----------
    launcher : str or sequence of str, optional
        What the user wants, such as ``"mpiexec -n 4 python"``. By default this very
        interpreter by its full path, never a name that a shim may catch; or ``python``
        where another conda environment is activated first.
    conda_env : str, bool or None
        As of `activation`.
    """
    if launcher is not None:
        given = shlex.split(launcher) if isinstance(launcher, str) else list(map(str, launcher))
        if not given:
            raise DesignError("launcher is empty; give such as 'mpiexec -n 4 python'.")
        return given
    if isinstance(conda_env, str):
        return ["python"]
    if not sys.executable:
        raise DesignError("This Python does not know its own path: give launcher='python3'.")
    return [sys.executable]
