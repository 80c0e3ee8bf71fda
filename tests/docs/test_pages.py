"""What the documentation shows is so: its programs run, its names and commands exist."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import cropfit
from cropfit.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text("utf-8") for path in DOCS.rglob("*.md")}
PAGES.pop("changelog.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


WHOLE = [page for page in PAGES if any("import cropfit" in b for b in blocks(page, "python"))]
PARTS = [page for page in PAGES if blocks(page, "python") and page not in WHOLE]
COMMANDS = sorted(
    {
        line.partition("#")[0].partition("|")[0].partition(":::")[0].strip()
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.splitlines()
        if line.startswith("cropfit ")
    }
)
NAMED = sorted(
    {
        (page, name)
        for page, text in PAGES.items()
        for name in re.findall(r"`cropfit ([a-z-]+)", text)
    }
)


# The program of howto/pictures.md leaves crops to be looked at; test_pictures runs it.
@pytest.mark.parametrize("page", [page for page in WHOLE if page != "howto/pictures.md"])
def test_a_program_runs_from_top_to_bottom(tmp_path: Path, page: str) -> None:
    script = tmp_path / "script.py"
    script.write_text("\n".join(blocks(page, "python")))
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob(".crop-*")) == []


@pytest.mark.parametrize("page", [*WHOLE, *PARTS])
def test_what_is_called_exists(page: str) -> None:
    tree = ast.parse("\n".join(blocks(page, "python")))
    owners = {"cf": cropfit, "crop": cropfit.Crop, "case": cropfit.Case, "fit": cropfit.Fit}
    named = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    wrong = [f"{a}.{b}" for a, b in named if a in owners and not hasattr(owners[a], b)]
    assert wrong == []


@pytest.mark.parametrize("page", sorted(PAGES))
def test_what_is_named_in_the_text_exists(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    ours = re.sub(r"^\| [^|]*\|", "|", text, flags=re.MULTILINE) if "from-" in page else text
    wrong = [name for name in re.findall(r"`cf\.(\w+)", ours) if not hasattr(cropfit, name)]
    wrong += [n for n in re.findall(r"`crop\.(\w+)\(", ours) if not hasattr(cropfit.Crop, n)]
    assert wrong == []


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_is_shown_can_be_read(line: str) -> None:
    _, name, *words = shlex.split(line)
    context = click.Context(main.commands[name], info_name=name)
    main.commands[name].parse_args(context, words)


def test_every_command_that_is_named_exists() -> None:
    assert [each for each in NAMED if each[1] not in main.commands] == []


def test_there_are_programs_and_commands_to_hold() -> None:
    assert len(WHOLE) >= 4
    assert len(PARTS) >= 3
    assert len(COMMANDS) >= 8
