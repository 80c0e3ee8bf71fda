"""Commands that hand crops to batch systems: script, submit, jobs, cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

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
)

Function = TypeVar("Function", bound=Callable[..., Any])


def _read_extra(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, list[str] | bool]:
    """Options of the header from words such as ``constraint=gpu`` and ``exclusive``."""
    extra: dict[str, list[str] | bool] = {}
    for word in values:
        name, equals, value = word.partition("=")
        known = extra.get(name, [])
        extra[name] = [*(known if isinstance(known, list) else []), value] if equals else True
    return extra


_OPTIONS = (
    click.option(
        "--scheduler",
        "-s",
        help="slurm, sge, pbs, torque, lsf, condor or parallel; by default the one that is here.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        help="So many tasks that share what is left, instead of one task a batch.",
    ),
    click.option("--time", help="Walltime of a task: seconds, H:MM:SS, D-HH:MM:SS."),
    click.option("--mem", metavar="SIZE", help="Memory of a task, as 2G."),
    click.option("--cpus", type=click.IntRange(1), default=1, help="Cores of a task."),
    click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs of a task."),
    click.option("--nodes", type=click.IntRange(1), default=1, help="Nodes of a task."),
    click.option("--queue", help="Queue or partition."),
    click.option("--account", help="Who pays."),
    click.option("--throttle", type=click.IntRange(1), help="So many tasks at once at most."),
    click.option("--array-limit", type=click.IntRange(1), help="Largest index of an array."),
    click.option(
        "--requeue",
        type=click.IntRange(1),
        help="A task that runs out of time puts itself back, so often at most.",
    ),
    click.option("--threads", type=click.IntRange(1), help="Thread cap; --cpus by default."),
    click.option("--setup", multiple=True, metavar="LINE", help="Shell to run first; repeatable."),
    click.option("--conda-env", help="Environment to activate; by default the active one."),
    click.option("--launcher", help="What starts Python, such as 'mpiexec -n 4 python'."),
    click.option("--grow-args", default="", help="Further options of 'cropfit grow'."),
    click.option("--output-dir", metavar="FOLDER", help="Where logs go; in the crop by default."),
    click.option(
        "--extra",
        multiple=True,
        callback=_read_extra,
        metavar="NAME[=VALUE]",
        help="Further option of the scheduler; repeatable.",
    ),
    click.option("--template", metavar="FILE", help="Jinja2 instead of ours; $CROPFIT_TEMPLATE."),
)


def _order_options(function: Function) -> Function:
    """Add what `cropfit.Crop.script` takes to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _read_order(words: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """Options of `cropfit.Crop.script` from those of a command."""
    mode = "array" if options["workers"] is None else "workers"
    requeue = options["requeue"] or False
    return {**options, "mode": mode, "requeue": requeue, "batches": read_batches(words)}


@command({0: "printed", 2: "wrong usage, nothing is left, or the scheduler cannot express it"})
@crop_words("[NAME] [BATCH]...")
@_order_options
@json_option
def script(words: tuple[str, ...], parent_dir: str | None, as_json: bool, **options: Any) -> None:
    """Print what 'cropfit submit' with the same options would submit.

    One task a batch, by default for all that are neither grown nor growing; or --workers
    tasks that share what is left.
    """
    folder, rest = find(words, parent_dir)
    made = open_crop(folder).script(**_read_order(rest, options))
    if as_json:
        say_json(
            {
                "location": folder,
                "scheduler": made.scheduler,
                "texts": made.texts,
                "output_dir": made.output_dir,
            }
        )
    else:
        click.echo(str(made), nl=False)


@command({0: "submitted", 2: "wrong usage, nothing is left, or the scheduler refuses"})
@crop_words("[NAME] [BATCH]...")
@_order_options
@click.option("--after", metavar="NAME", help="Another crop, whose queued tasks must end first.")
@json_option
def submit(
    words: tuple[str, ...],
    parent_dir: str | None,
    after: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Hand a crop to a batch system.

    One task a batch, by default for all that are neither grown, growing nor in the queue;
    or --workers tasks that share what is left. The crop remembers the jobs.
    """
    folder, rest = find(words, parent_dir)
    crop = open_crop(folder)
    crop.verbosity = 0 if as_json else 1
    former = open_crop(find_only((after,), parent_dir)) if after else None
    ids = crop.submit(after=former, **_read_order(rest, options))
    if as_json:
        say_json({"location": folder, "jobs": ids})


@command({0: "shown", 2: "the crop cannot be read, or the scheduler does not answer"})
@crop_words()
@json_option
def jobs(words: tuple[str, ...], parent_dir: str | None, as_json: bool) -> None:
    """Show what was submitted, and what the scheduler and the crop each think of it."""
    seen = open_crop(find_only(words, parent_dir)).jobs()
    if as_json:
        say_json(seen.to_dict())
    else:
        click.echo(str(seen))


@command({0: "cancelled, or there was nothing to cancel", 2: "the scheduler refuses"})
@crop_words()
@json_option
def cancel(words: tuple[str, ...], parent_dir: str | None, as_json: bool) -> None:
    """Take all jobs of a crop out of the queue.

    What is finished is recorded, what runs is interrupted and given back.
    """
    crop = open_crop(find_only(words, parent_dir))
    crop.verbosity = 0 if as_json else 1
    ids = crop.cancel()
    if as_json:
        say_json({"location": crop.location, "cancelled": ids})
