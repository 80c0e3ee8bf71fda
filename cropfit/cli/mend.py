"""Commands that put right, stop or remove: retry, ignore, clean, stop, delete."""

from __future__ import annotations

import sys

import click

from cropfit.cli.common import (
    command,
    crop_words,
    find,
    find_only,
    json_option,
    open_crop,
    read_batches,
    say_json,
    write_batches,
)
from cropfit.wording import number_of


@command({0: "done, even if there are none", 2: "one of those named has not failed"})
@crop_words("[NAME] [BATCH]...")
@json_option
def retry(words: tuple[str, ...], parent_dir: str | None, as_json: bool) -> None:
    """Sow failed batches again, all by default; their successful cases are kept."""
    folder, rest = find(words, parent_dir)
    _tell("sown again", open_crop(folder).retry(read_batches(rest)), as_json)


@command({0: "done", 2: "one of those named is grown, is being grown, or does not exist"})
@crop_words("[NAME] [BATCH]...")
@click.option("--undo", is_flag=True, help="Sow again those that were set aside.")
@json_option
def ignore(words: tuple[str, ...], parent_dir: str | None, undo: bool, as_json: bool) -> None:
    """Set batches aside so that the rest can be reaped; the failed ones by default."""
    folder, rest = find(words, parent_dir)
    moved = open_crop(folder).ignore(read_batches(rest), undo=undo)
    _tell("sown again" if undo else "set aside", moved, as_json)


def _tell(what: str, moved: list[int], as_json: bool) -> None:
    if as_json:
        say_json({"moved": moved})
    else:
        told = f": {write_batches(moved)}" if moved else ""
        click.echo(f"{number_of(len(moved), 'batch')} {what}{told}")


@command({0: "sound", 2: "the crop cannot be read"})
@crop_words()
@json_option
def clean(words: tuple[str, ...], parent_dir: str | None, as_json: bool) -> None:
    """Bring dead claims, torn files and leftovers into a sound state.

    Workers that are alive are not disturbed. Every grown batch is read once. Objects of a
    catalogue that failed are given back to be fitted, as by retry.
    """
    counts = open_crop(find_only(words, parent_dir)).clean()
    if as_json:
        say_json(counts)
        return
    dead = number_of(counts["dead"], "batch of dead workers")
    leftovers = number_of(counts["leftovers"], "leftover")
    click.echo(
        f"{dead} given back, {counts['torn']} torn and {counts['lost']} lost ones sown again, "
        f"{leftovers} removed"
        + (f", {counts['failed']} failed ones sown again" if "failed" in counts else "")
    )


@command({0: "asked", 2: "the crop cannot be read"})
@crop_words()
@json_option
def stop(words: tuple[str, ...], parent_dir: str | None, as_json: bool) -> None:
    """Ask all workers on all hosts to finish their case and leave.

    They give back what is left of their batch, and end with exit code 75. Workers
    that are started later are not concerned.
    """
    crop = open_crop(find_only(words, parent_dir))
    crop.stop()
    workers = crop.status().workers
    if as_json:
        say_json({"location": crop.location, "workers": workers})
    else:
        click.echo(f"{number_of(len(workers), 'worker')} of {crop.name} asked to leave")


@command({0: "deleted", 2: "workers are still growing it, or nobody said yes"})
@crop_words()
@click.option("--force", is_flag=True, help="Even while workers are still growing it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(words: tuple[str, ...], parent_dir: str | None, force: bool, yes: bool) -> None:
    """Delete a crop with all its results."""
    crop = open_crop(find_only(words, parent_dir))
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("say --yes: there is no terminal to ask on")
        question = f"Delete {crop.location} with {crop.num_results} grown batches?"
        if not click.confirm(question, err=True):
            raise click.UsageError("nothing was deleted")
    crop.delete(force=force)
    click.echo(f"{crop.location} is deleted")
