"""The command that writes a catalogue's table."""

from __future__ import annotations

import os

import click

from cropfit.cli.common import command, crop_words, find_only, json_option, say_json


@command({0: "written", 2: "it is no catalogue, cannot be read, or the file not be written"})
@crop_words()
@click.option(
    "--to",
    metavar="FILE",
    help="A .csv, .ecsv, .fits, .parquet or .nc file; the catalogue's own by default.",
)
@json_option
def merge(words: tuple[str, ...], parent_dir: str | None, to: str | None, as_json: bool) -> None:
    """Write the table of a catalogue as it is now, while workers go on."""
    from cropfit.catalogue import Catalogue

    found = Catalogue.load(find_only(words, parent_dir), verbosity=0)
    counts = {str(k): int(n) for k, n in found.merge(to)["status"].value_counts().items()}
    path = os.path.abspath(to) if to else found.table
    if as_json:
        say_json({"location": found.location, "table": path, "objects": counts})
        return
    click.echo(f"{path}: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
