"""The command that grows all crops of a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from cropfit.cli.common import command, leave, read_size


@command(
    {
        0: "no crop has work left (--once)",
        1: "the same, and cases failed; they are recorded, and 'cropfit errors' lists them",
        2: "wrong usage, or a rule that cannot be followed",
        75: "out of time",
        130: "interrupted by Ctrl-C; what is finished is recorded",
        143: "ended by SIGTERM; what is finished is recorded",
    }
)
@click.argument("folder", metavar="[FOLDER]", default=".")
@click.option("--once", is_flag=True, help="Leave when no crop has work.")
@click.option("--all", "below", is_flag=True, help="Also crops in all folders below.")
@click.option("--config", metavar="FILE", help="Rules; .cropfit-auto-grow.toml by default.")
@click.option(
    "--workers",
    "num_workers",
    type=click.IntRange(0),
    help="Processes at a time, one a core by default; 0 pauses.",
)
@click.option("--threads", "num_threads", type=click.IntRange(1), help="Thread cap of each.")
@click.option("--turn", type=float, help="Seconds after which the next crop has its turn.")
@click.option("--retries", type=click.IntRange(0), help="Try a case that raises so often again.")
@click.option("--max-fails", type=click.IntRange(1), help="Leave a crop alone after so many.")
@click.option("--fresh", is_flag=True, default=None, help="A new process a batch.")
@click.option("--timeout", help="What a case may take, as --walltime; implies --fresh.")
@click.option(
    "--max-memory",
    metavar="SIZE",
    callback=read_size,
    help="What a case may hold, as 2G; implies --fresh.",
)
@click.option("--gpus", metavar="LIST", help="A GPU for each process: 0,0,1,1.")
@click.option("--affinities", metavar="LIST", help="Cores for each process: 0-3,4-7.")
@click.option("--log", is_flag=True, default=None, help="Keep what functions print.")
@click.option("--walltime", help="Leave within: seconds, H:MM:SS, D-HH:MM:SS.")
def auto_grow(
    folder: str, once: bool, below: bool, config: str | None, walltime: str | None, **rules: Any
) -> None:
    """Grow all crops in FOLDER, those that are sown later too, a turn each.

    Start it in a terminal, or on as many hosts as see the folder, and only sow and reap
    from then on. A crop that cannot be grown is left alone until it is sown again. The
    file .cropfit-auto-grow.toml in FOLDER may say num_workers and other options (with _
    for -); it is read again whenever it changes. The first Ctrl-C lets workers finish
    the case in hand, a second one ends them.
    """
    from cropfit.rounds.rounds import auto_grow

    if not os.path.isdir(folder):
        raise click.UsageError(f"there is no folder {folder}")
    given = {name: value for name, value in rules.items() if value is not None}
    with _screen(folder, below) as say:
        report = auto_grow(
            folder, once=once, below=below, config=config, walltime=walltime, say=say, **given
        )
    click.echo(str(report))
    leave(report.exit_code)


@contextmanager
def _screen(folder: str, below: bool) -> Iterator[Callable[[str], None]]:
    """Lines; on a terminal above a picture of all crops as they stand."""
    if not sys.stdout.isatty():
        yield click.echo
        return
    from rich.live import Live

    from cropfit.cli.look import meant
    from cropfit.views.terminal import Screen

    screen = Screen(lambda: meant((), os.path.abspath(folder), below, missing_ok=True), keys="")

    def draw() -> Any:
        screen.look()
        return screen.draw()

    with Live(get_renderable=draw, refresh_per_second=1) as live:
        yield lambda text: live.console.print(text, markup=False, highlight=False)
