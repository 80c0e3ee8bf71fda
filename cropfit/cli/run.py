"""The command that runs a pipeline."""

from __future__ import annotations

import os

import click

from cropfit.cli.common import FAILED, command, leave, warn


@command(
    {
        0: "all stages are done",
        1: "a stage failed; a message says which, with its exit code and last output",
        2: "the file cannot be read, or the folder belongs to another pipeline",
    }
)
@click.argument("file", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Write the stages' files and show the plan.")
@click.option("--folder", metavar="FOLDER", help="Where finished stages are kept.")
@click.option("--n-cores-list", metavar="N,N,...", help="Cores of each stage; -1 is all.")
@click.option("--plot", is_flag=True, help="Save the best fit over the data for each stage.")
def run(file: str, dry_run: bool, folder: str | None, n_cores_list: str | None, plot: bool) -> None:
    """Run the pipeline that a TOML or INI file describes.

    Killed at any moment, the same command goes on at the stage that is not done.
    """
    from cropfit.errors import StageError
    from cropfit.fitting.pipeline.config import read_config, read_numbers

    plan = read_config(file)
    cores = plan.n_cores_list if n_cores_list is None else read_numbers(n_cores_list)
    where = os.path.abspath(folder) if folder else plan.folder
    pipeline = plan.pipeline
    if dry_run:
        click.echo(pipeline.plan(plan.data, cores, folder=where, seed=plan.seed, write=True))
        return
    try:
        result = pipeline.run(
            plan.data,
            plot or plan.plot_result,
            cores,
            folder=where,
            seed=plan.seed,
        )
    except StageError as error:
        warn(f"Error: {error}")
        leave(FAILED)
    click.echo(result)
