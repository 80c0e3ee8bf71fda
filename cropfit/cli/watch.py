"""The command that shows crops live."""

from __future__ import annotations

import os
import sys

import click

from cropfit.cli.common import command, crop_words
from cropfit.cli.look import meant
from cropfit.find import is_crop


@command({0: "left by q or Ctrl-C", 2: "there is no crop, or this is no terminal"})
@crop_words("[NAME|PATH]...")
@click.option("--all", "everything", is_flag=True, help="Also crops in all folders below.")
@click.option(
    "--interval", type=click.FloatRange(0.1), default=1.0, help="Seconds between two looks."
)
def watch(
    words: tuple[str, ...], parent_dir: str | None, everything: bool, interval: float
) -> None:
    """Show crops live: states, workers, cases, rate, remaining time, last errors.

    Without a name all crops of the folder, those that are sown later too. Keys: arrows
    choose a crop; s stops its workers, r sows its failed batches again, c cleans; q quits.
    """
    here = os.path.abspath(parent_dir or ".")
    meant(words, here, everything)  # complains now of names that are not there
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("this is no terminal; 'cropfit status' prints once, --json too")
    from cropfit.views.terminal import watch

    named = any(is_crop(os.path.join(here, word)) for word in words)
    watch(lambda: meant(words, here, everything, missing_ok=not named), interval)
