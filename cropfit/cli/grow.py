"""Commands that compute: grow and rehearse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cropfit.cli.common import (
    command,
    crop_words,
    find,
    json_option,
    leave,
    read_batches,
    read_size,
    say_json,
    warn,
)
from cropfit.work.limits import cap_threads, task_index

if TYPE_CHECKING:
    from cropfit.disk.manifest import Manifest
    from cropfit.progress import Bar
    from cropfit.work.employ import Terms
    from cropfit.work.failures import Failure


@command(
    {
        0: "done; what is left, if anything, is growing elsewhere",
        1: "cases failed; they are recorded, and 'cropfit errors' lists them",
        2: "wrong usage, or the crop or its function cannot be used",
        75: "work is left: out of time, or asked to stop",
        130: "interrupted by Ctrl-C; what is finished is recorded",
        143: "ended by SIGTERM; what is finished is recorded",
    }
)
@crop_words("[NAME] [BATCH]...")
@click.option(
    "--task", is_flag=True, help="Grow the batch whose number is the scheduler's array index."
)
@click.option(
    "--workers", "num_workers", type=click.IntRange(1), help="Grow in so many new processes."
)
@click.option("--threads", type=click.IntRange(1), help="Thread cap for numerical libraries.")
@click.option(
    "--on-error",
    type=click.Choice(["record", "raise"]),
    default="record",
    help="Whether to go on after a case that raises.",
)
@click.option(
    "--retries", type=click.IntRange(0), default=0, help="Try such a case so often again."
)
@click.option("--max-fails", type=click.IntRange(1), help="Leave after so many failed cases.")
@click.option("--max-batches", type=click.IntRange(1), help="Leave after so many batches.")
@click.option("--steal", is_flag=True, help="Take named batches even from workers that live.")
@click.option("--wait", is_flag=True, help="Stay until what others grow is finished too.")
@click.option(
    "--walltime", help="Begin nothing that cannot end within: seconds, H:MM:SS, D-HH:MM:SS."
)
@click.option("--deadline", help="The same as a moment: 2026-11-21T18:00, or seconds since 1970.")
@click.option("--fresh", is_flag=True, help="A new process a batch: a crash costs one case.")
@click.option("--timeout", help="What a case may take, as --walltime; implies --fresh.")
@click.option(
    "--max-memory",
    metavar="SIZE",
    callback=read_size,
    help="What a case may hold, as 2G; implies --fresh.",
)
@click.option("--gpus", metavar="LIST", help="A GPU for each worker: 0,0,1,1 lets two share each.")
@click.option("--affinities", metavar="LIST", help="Cores for each worker: 0-3,4-7.")
@click.option("--n-pool", type=click.IntRange(1), help="Processes that a fit may start.")
@click.option("--log", is_flag=True, help="Keep what the function prints; 'cropfit log' shows it.")
@json_option
def grow(
    words: tuple[str, ...],
    parent_dir: str | None,
    task: bool,
    threads: int | None,
    deadline: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compute batches, here and now.

    With no BATCH it claims whatever is left until nothing is: start as many as you
    like, on any hosts that see the folder. A BATCH is a number or a range such as
    1-10; one that has failed is tried again, one that is grown counts as done.

    NAME may be a tar that 'cropfit pack' wrote: it is grown beside itself, and replaced
    by one with the results.
    """
    cap_threads(threads, os.environ)  # before numpy is loaded, which reads it then
    with _found(words, parent_dir) as (folder, rest):
        if task and rest:
            raise click.UsageError("--task says which batch; name none")
        from cropfit.work.employ import Terms

        options["fresh"] |= options["timeout"] is not None or options["max_memory"] is not None
        terms = Terms(
            [task_index()] if task else read_batches(rest),
            deadline=_moment(deadline),
            num_threads=threads,
            **options,
        )
        code = _grow(folder, terms, as_json)
    leave(code)


@contextmanager
def _found(words: tuple[str, ...], parent_dir: str | None) -> Iterator[tuple[str, list[str]]]:
    """The folder to grow and the words behind its name; of a tar, the folder beside it."""
    if words and words[0].endswith(".tar") and os.path.isfile(words[0]):
        from cropfit.work.unpack import laid_out

        with laid_out(os.path.abspath(words[0])) as folder:
            yield folder, list(words[1:])
        if os.path.isdir(folder):
            warn(f"{words[0]} is grown by others too; the last one puts the results into it.")
    else:
        yield find(words, parent_dir)


def _moment(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


@command(
    {
        0: "the batch is grown",
        1: "a case failed",
        2: "the crop or its function cannot be used, or nothing is left to rehearse",
        75: "out of time, or asked to stop",
        130: "interrupted by Ctrl-C",
        143: "ended by SIGTERM",
    }
)
@crop_words("[NAME] [BATCH]")
@json_option
def rehearse(words: tuple[str, ...], parent_dir: str | None, as_json: bool) -> None:
    """Grow one batch in a fresh interpreter, before a thousand are submitted.

    The first that is left, or BATCH. Stops at the first case that raises.
    """
    folder, rest = find(words, parent_dir)
    from cropfit.tending import open_crop
    from cropfit.work.employ import Terms

    batches = read_batches(rest) or open_crop(folder)[1].numbers("sown")[:1]
    if len(batches) != 1:
        raise click.UsageError("name one batch" if batches else "no batch is left to rehearse")
    leave(_grow(folder, Terms(batches, 1, "raise"), as_json))


# -- growing and telling ---------------------------------------------------------------


def _grow(folder: str, terms: Terms, as_json: bool) -> int:
    """Grow, tell failures as they come and all else in the end; the exit code."""
    from cropfit.progress import Bar
    from cropfit.tending import open_crop
    from cropfit.work.employ import employ

    manifest, ledger = open_crop(folder)
    with Bar(0 if as_json else 1, manifest.num_batches, ledger) as bar:
        teller = _Teller(manifest, bar)
        report = employ(manifest, ledger, terms, teller)
        if report is None:
            return 0  # a rank that computed for rank 0, which tells
        teller.tell(report.failures)
    if report.reason == "error" and report.failures:
        warn(report.failures[-1]["traceback"].rstrip())
    for note in report.notes:
        warn(note)
    if as_json:
        told = {**asdict(report), "location": folder, "exit_code": report.exit_code}
        say_json(told)
    else:
        click.echo(f"{report}\n{_stand(manifest.name, ledger.counts())}")
    return report.exit_code


def _stand(name: str, counts: dict[str, int]) -> str:
    """How the crop stands, in one line."""
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    hint = f"; see 'cropfit errors {name}'" if counts["failed"] else ""
    return f"{name}: batches {told}{hint}"


class _Teller:
    """Prints each failed case once, as soon as its batch has ended."""

    def __init__(self, manifest: Manifest, bar: Bar) -> None:
        self._manifest = manifest
        self._bar = bar
        self._told: set[int] = set()

    def __call__(self, batch: int, state: str) -> None:
        if state == "failed":
            from cropfit.work.care import errors_of

            self.tell(errors_of(self._manifest, batch))
        self._bar(batch, state)

    def tell(self, failures: list[Failure]) -> None:
        """Print those that were not printed yet."""
        from cropfit.work.failures import tell

        for failure in failures:
            if failure["case"] not in self._told:
                self._told.add(failure["case"])
                self._bar.say(f"failed: {tell(failure)}")
