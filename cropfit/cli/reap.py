"""The command that reaps."""

from __future__ import annotations

import os
from typing import Any

import click

from cropfit.cli.common import (
    FAILED,
    LEFT,
    command,
    crop_words,
    find_only,
    json_option,
    leave,
    open_crop,
    say_json,
    warn,
)
from cropfit.errors import NotReadyError


@command(
    {
        0: "saved and verified",
        1: "batches have failed cases, and nothing else is left to grow",
        2: "the crop cannot be read, or the file not be written; nothing is lost",
        75: "batches are not grown yet",
    }
)
@crop_words()
@click.option(
    "--to", metavar="FILE", help="A .nc, .zarr or .pkl file; NAME.nc beside the crop by default."
)
@click.option("--wait", is_flag=True, help="Wait until all is grown, or nothing can be any more.")
@click.option(
    "--allow-incomplete", is_flag=True, help="Take what there is; the rest are missing values."
)
@click.option(
    "--clean-up/--keep",
    default=None,
    help="Delete the crop or keep it; by default it goes if nothing is missing.",
)
@click.option(
    "--layout",
    type=click.Choice(["auto", "grid", "case"]),
    default="auto",
    help="One dimension a parameter, or one for all cases; by default what wastes less.",
)
@click.option("--diagnostics", is_flag=True, help="Add status, seconds, host, attempt of cases.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--no-load", is_flag=True, help="Stream to --to FILE in bounded memory.")
@json_option
def reap(words: tuple[str, ...], parent_dir: str | None, **options: Any) -> None:
    """Merge all results into one labelled file, verify it, then delete the crop."""
    folder = find_only(words, parent_dir)
    if options["no_load"] and options["to"] is None:
        raise click.UsageError("--no-load needs --to FILE")
    try:
        told = _reap(folder, **options)
    except NotReadyError as error:
        warn(f"Error: {error}")
        now = open_crop(folder).status()
        leave(LEFT if now.sown or now.growing or not now.failed else FAILED)
    if options["as_json"]:
        say_json(told)
        return
    sizes = ", ".join(f"{name} {size}" for name, size in told["sizes"].items())
    click.echo(f"Saved and verified: {told['saved']}" + (f"  ({sizes})" if sizes else ""))
    click.echo(f"{told['location']} is {'deleted' if told['deleted'] else 'kept'}")


def _reap(
    folder: str, *, to: str | None, wait: bool, no_load: bool, as_json: bool, **options: Any
) -> dict[str, Any]:
    """Reap, and tell what was written."""
    from cropfit.farming.farmer import gathered_by
    from cropfit.progress import PATIENCE, Bar, Progress
    from cropfit.tending import open_crop as open_books
    from cropfit.work.reap import Reaper
    from cropfit.work.wait import wait_until_grown
    from cropfit.work.wanted import Wanted

    manifest, ledger = open_books(folder)
    if wait:
        with Bar(0 if as_json else 1, manifest.num_batches, ledger, "wait") as bar:
            wait_until_grown(manifest, ledger, lambda done, total: bar.update_to(done))
    target = True if to is None else os.path.abspath(to)
    wanted = Wanted(target, load=not no_load, **options)
    farmer = open_crop(folder).farmer
    if farmer is not None:
        wanted = gathered_by(farmer, wanted, overwrite=options["overwrite"] or None)
    total, seen = manifest.num_batches, 0 if as_json else 1
    with Progress(seen, total, what="reap", unit="batch", delay=PATIENCE) as shown:
        reaper = Reaper(manifest, ledger, wanted, shown.tell)
        result = reaper.reap()
    sizes = {str(name): int(size) for name, size in getattr(result, "sizes", {}).items()}
    variables = [str(name) for name in getattr(result, "data_vars", ())]
    if hasattr(result, "close"):
        result.close()
    return {
        "saved": reaper.saved or wanted.keeper,
        "location": folder,
        "deleted": wanted.deletes,
        "sizes": sizes,
        "variables": variables,
    }
