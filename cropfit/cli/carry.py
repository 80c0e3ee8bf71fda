"""Commands for machines that share no disk: pack and unpack."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from cropfit.cli.common import (
    command,
    crop_words,
    find_only,
    json_option,
    leave,
    open_crop,
    read_batches,
    say_json,
    warn,
)


@command({0: "packed", 2: "nothing is left to pack, or the file is there already"})
@crop_words()
@click.option("--batches", metavar="LIST", help="Which, as 1-5,9; whatever is left by default.")
@click.option("-o", "--output", metavar="FILE", help="The tar; NAME.tar by default.")
@click.option("--hold", is_flag=True, help="Set them aside here until the tar is unpacked.")
@json_option
def pack(
    words: tuple[str, ...],
    parent_dir: str | None,
    batches: str | None,
    output: str | None,
    hold: bool,
    as_json: bool,
) -> None:
    """Put batches with all that growing them takes into one tar file.

    Carry it to another machine, 'cropfit grow FILE.tar' there, carry it back and
    'cropfit unpack' it.
    """
    crop = open_crop(find_only(words, parent_dir))
    wanted = None if batches is None else read_batches(batches.split(","))
    path = crop.pack(wanted, output, hold=hold)
    if as_json:
        say_json({"path": path})
    else:
        click.echo(f"{path} is packed, {os.path.getsize(path) / 1e6:.1f} MB")


@command({0: "merged or laid out", 1: "cases failed there", 2: "the file or the crop is refused"})
@click.argument("file", type=click.Path())
@click.option("--parent-dir", metavar="FOLDER", help="Where the crop stands, or is to stand.")
@json_option
def unpack(file: str, parent_dir: str | None, as_json: bool) -> None:
    """Merge what was grown in FILE into the crop that it was packed from.

    Where there is no such crop, the packed part of it is laid out as a folder that any
    worker can grow; 'cropfit pack' makes a tar of it again.
    """
    from cropfit.work.pack import opened
    from cropfit.work.unpack import lay_out

    parent = os.path.abspath(parent_dir or ".")
    with opened(file) as (parcel, _):
        root = f"{parent}/{parcel.folder}"
    if not os.path.lexists(root):
        lay_out(os.path.abspath(file), parent)
        if as_json:
            say_json({"location": root})
        else:
            click.echo(f"{root} is laid out; grow it, then pack it again")
        return
    report = open_crop(root).unpack(file)
    for note in report.notes:
        warn(note)
    if as_json:
        say_json({**asdict(report), "location": root})
    else:
        click.echo(f"{len(report.grown)} grown and {len(report.failed)} failed batches unpacked")
    leave(1 if report.failed else 0)
