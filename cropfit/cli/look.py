"""Commands that look: status, errors, missing, repro, doctor."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import click

from cropfit.cli.common import (
    FAILED,
    TROUBLE,
    command,
    crop_words,
    find,
    find_only,
    json_option,
    leave,
    open_crop,
    read_batches,
    say_json,
    warn,
    write_batches,
)
from cropfit.errors import CropError, NotFoundError
from cropfit.find import crops_below, crops_in, find_crop, is_crop
from cropfit.wording import number_of


@command({0: "shown", 2: "there is none, or one of them cannot be read"})
@crop_words("[NAME|PATH]...")
@click.option("--all", "everything", is_flag=True, help="Also crops in all folders below.")
@json_option
def status(
    words: tuple[str, ...],
    parent_dir: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Show how crops stand: batches by state, live and dead workers, remaining time.

    Without a name all crops of the folder. A PATH may be a crop's folder, or a folder
    with crops in it.
    """
    from cropfit.crop import Crop

    told, broken = [], []
    for folder in meant(words, os.path.abspath(parent_dir or "."), everything):
        try:
            told.append(Crop.load(folder, verbosity=0).status())
        except (CropError, OSError) as error:
            broken.append({"location": folder, "error": str(error)})
    if as_json:
        say_json({"crops": [each.to_dict() for each in told], "broken": broken})
    else:
        click.echo("\n\n".join(map(str, told)))
    for each in broken:
        warn(f"Error: {each['error']}")
    leave(TROUBLE if broken else 0)


def meant(
    words: tuple[str, ...], here: str, everything: bool, *, missing_ok: bool = False
) -> list[str]:
    """Folders of the crops to show.

    Raises
    ------
    NotFoundError
        There is none, and that is not what was to be expected (`missing_ok`).
    """
    found: list[str] = []
    for word in words or ("",):
        place = os.path.join(here, word)
        if word and (is_crop(place) or not os.path.isdir(place)):
            found.append(find_crop(word, here))
        elif everything:
            found += crops_below(place)
        elif is_crop(place):
            found.append(place)
        else:
            found += [folder for _, folder in sorted(crops_in(place).items())]
    if not found and not missing_ok:
        where = " or below" if everything else ""
        raise NotFoundError(f"There is no crop in {here}{where}.")
    return list(dict.fromkeys(map(os.path.abspath, found)))


@command({0: "listed, even if there are none", 2: "the crop cannot be read"})
@crop_words("[NAME] [BATCH]...")
@click.option("--traceback", is_flag=True, help="With the full text of each traceback.")
@json_option
def errors(words: tuple[str, ...], parent_dir: str | None, traceback: bool, as_json: bool) -> None:
    """List failed cases: arguments, error, where, attempt.

    'cropfit repro NAME BATCH CASE' makes a script that runs one of them again.
    """
    folder, rest = find(words, parent_dir)
    crop, batches = open_crop(folder), read_batches(rest)
    failures = [f for f in crop.errors() if batches is None or f["batch"] in batches]
    if as_json:
        say_json({"location": crop.location, "errors": failures})
        return
    for failure in failures:
        click.echo(_told(failure))
        if traceback:
            click.echo(failure["traceback"])
    kinds = Counter(failure["type"] for failure in failures).most_common()
    counted = ": " + ", ".join(f"{count} {kind}" for kind, count in kinds) if kinds else ""
    warn(f"{crop.name}: {number_of(len(failures), 'failed case')}{counted}")


def _told(failure: dict[str, Any]) -> str:
    from cropfit.work.failures import tell

    job = f", job {failure['job']}" if failure.get("job") else ""
    where = f"{failure['host']}, pid {failure['pid']}{job}"
    return f"{tell(failure)}  [{where}, attempt {failure['attempt']}]"


@command({0: "printed", 2: "the crop cannot be read"})
@crop_words()
@json_option
def missing(words: tuple[str, ...], parent_dir: str | None, as_json: bool) -> None:
    """Print the batches that are not grown, failed ones included.

    As 'cropfit grow NAME BATCH...' takes them: 1-10 12.
    """
    crop = open_crop(find_only(words, parent_dir))
    numbers = crop.missing_results()
    if as_json:
        say_json({"location": crop.location, "missing": numbers})
    else:
        click.echo(write_batches(numbers))


@command({0: "printed", 2: "there is no such batch, or it was grown without a log"})
@crop_words("[NAME] BATCH")
@json_option
def log(words: tuple[str, ...], parent_dir: str | None, as_json: bool) -> None:
    """Print what the function printed in a batch that 'cropfit grow --log' grew, or grows."""
    folder, rest = find(words, parent_dir)
    numbers = read_batches(rest) or []
    if len(numbers) != 1:
        raise click.UsageError("name one batch")
    text = open_crop(folder).log(numbers[0])
    if as_json:
        say_json({"location": folder, "batch": numbers[0], "log": text})
    else:
        click.echo(text, nl=False)


@command({0: "written", 2: "there is no such case, or the function cannot be read"})
@crop_words("[NAME] BATCH CASE")
@click.option("--to", metavar="FILE", help="The script; repro_NAME_BATCH_CASE.py by default.")
@json_option
def repro(words: tuple[str, ...], parent_dir: str | None, to: str | None, as_json: bool) -> None:
    """Write a script that computes one case again, with the same arguments and seed.

    CASE is the place of the case in its batch, from 0, as 'cropfit errors' shows it.
    """
    folder, rest = find(words, parent_dir)
    if len(rest) != 2 or not all(word.isdigit() for word in rest):
        raise click.UsageError("give the number of the batch, and the place of the case in it")
    script = open_crop(folder).repro(int(rest[0]), int(rest[1]), to)
    if as_json:
        say_json({"script": script})
    else:
        click.echo(script)


@command({0: "well, warnings included", 1: "a problem was found", 2: "there is no such place"})
@click.argument("place", required=False, metavar="[FOLDER|NAME]")
@json_option
def doctor(place: str | None, as_json: bool) -> None:
    """Test whether a folder's file system does what crops need, and a crop's health.

    Two processes race for folders, a file is synchronised, clocks are compared, and so
    on; nothing is left behind. Of a crop every grown batch is read once. Without an
    argument the current folder, and the crop in it if there is one alone.
    """
    from cropfit.work.doctor import examine_crop, examine_folder

    folder, crop = _patient(place)
    findings = examine_folder(folder)
    if crop:
        findings += examine_crop(crop)
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        say_json(
            {
                "folder": folder,
                "crop": crop,
                "problems": problems,
                "warnings": sum(finding.level == "warning" for finding in findings),
                "findings": [finding.to_dict() for finding in findings],
            }
        )
    else:
        click.echo(f"{folder}" + (f"\n{crop}" if crop else ""))
        for finding in findings:
            click.echo(str(finding))
    leave(FAILED if problems else 0)


def _patient(place: str | None) -> tuple[str, str | None]:
    """The folder to test, and the crop to look at."""
    if place is not None and os.path.isdir(place) and not is_crop(place):
        return os.path.abspath(place), None
    try:
        crop = os.path.realpath(find_crop(place))
    except NotFoundError:
        if place is not None:
            raise
        return os.getcwd(), None
    return os.path.dirname(crop), crop
