"""What all commands share: which crop is meant, batches, messages, exit codes, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from cropfit.errors import CropError, DesignError, NotFoundError
from cropfit.find import crops_in, find_crop
from cropfit.work.limits import size_in_bytes

if TYPE_CHECKING:
    from cropfit.crop import Crop

Function = TypeVar("Function", bound=Callable[..., Any])

FAILED, TROUBLE, LEFT, INTERRUPTED = 1, 2, 75, 130  # exit codes
ALL_EXITS = {
    0: "done",
    1: "cases failed (grow, rehearse, reap), a stage did (run), or a problem was found (doctor)",
    2: "wrong usage, or the crop cannot be used; a message says why",
    75: "work is left: out of time, asked to stop, or not all is grown",
    130: "interrupted by Ctrl-C",
    143: "ended by SIGTERM",
}
_BATCHES = re.compile(r"([0-9]+)(?:-([0-9]+))?")


class Main(click.Group):
    """The group of all commands: errors become a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a crop's life, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; no traceback for what the user can put right."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise  # click knows what to do when the reader has gone
        except (CropError, OSError) as error:
            warn(f"Error: {error}")
            raise click.exceptions.Exit(TROUBLE) from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the exit codes of all commands."""
        _format_exits(ALL_EXITS, formatter)


class Command(click.Command):
    """A command whose help ends with its exit codes.

    Parameters
    ----------
    exits : dict
        What each exit code means here.
    """

    def __init__(self, *args: Any, exits: dict[int, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exits = exits

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the exit codes."""
        _format_exits(self.exits, formatter)


def _format_exits(exits: dict[int, str], formatter: click.HelpFormatter) -> None:
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), meaning) for code, meaning in exits.items()])


def command(exits: dict[int, str]) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command that documents its exit codes."""
    return click.command(cls=Command, exits=exits)


# -- which crop, which batches ---------------------------------------------------------


def crop_words(metavar: str = "[NAME]") -> Callable[[Function], Function]:
    """Add the argument `words` and the option --parent-dir to a command."""

    def add(function: Function) -> Function:
        option = click.option(
            "--parent-dir",
            metavar="FOLDER",
            help="Where the crop stands; the current folder by default.",
        )
        return click.argument("words", nargs=-1, metavar=metavar)(option(function))

    return add


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON with stable keys.")


def find(words: tuple[str, ...], parent_dir: str | None) -> tuple[str, list[str]]:
    """The folder of the crop that is meant, and the words behind its name.

    The first word is the name, unless it looks like a batch and no crop is called so.
    """
    named = bool(words)
    if words and _BATCHES.fullmatch(words[0]):
        named = words[0] in crops_in(parent_dir or ".")
    if not named:
        return find_crop(None, parent_dir), list(words)
    return find_crop(words[0], parent_dir), list(words[1:])


def find_only(words: tuple[str, ...], parent_dir: str | None) -> str:
    """The folder of the crop that is meant, by commands that take nothing else."""
    folder, rest = find(words, parent_dir)
    if rest:
        raise click.UsageError(f"one crop is taken, not {' '.join(words)!r}")
    return folder


def open_crop(folder: str) -> Crop:
    """The crop in `folder`, silent."""
    from cropfit.crop import Crop

    return Crop.load(folder, verbosity=0)


def read_batches(words: Iterable[str]) -> list[int] | None:
    """Numbers of batches from words such as ``3`` and ``1-10``; None if there are none."""
    numbers: list[int] = []
    for word in words:
        found = _BATCHES.fullmatch(word)
        if not found:
            raise NotFoundError(f"{word!r} is no batch: give numbers such as 3, or 1-10.")
        first, last = found.groups()
        numbers += range(int(first), int(last or first) + 1)
        if last and int(last) < int(first):
            raise NotFoundError(f"{word!r} is no range of batches: its end is before its begin.")
    return list(dict.fromkeys(numbers)) or None


def write_batches(numbers: Iterable[int]) -> str:
    """Batches as `read_batches` takes them: ``1-10 12``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def read_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Bytes from ``500M`` or ``2G``; units are powers of 1024."""
    try:
        return None if value is None else size_in_bytes(value)
    except DesignError as error:
        raise click.BadParameter(str(error)) from None


# -- saying ----------------------------------------------------------------------------


def say_json(data: Any) -> None:
    """Print `data` as JSON."""
    click.echo(json.dumps(data, indent=1, ensure_ascii=False, default=str))


def leave(code: int) -> NoReturn:
    """End the command with an exit code."""
    raise click.exceptions.Exit(code)


def warn(text: str) -> None:
    """Print to where messages go, apart from data."""
    click.echo(text, err=True)
