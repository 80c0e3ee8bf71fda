"""The command that shows crops in a browser."""

from __future__ import annotations

import os

import click

from cropfit.cli.common import command
from cropfit.errors import MissingDependencyError
from cropfit.find import crops_below


@command(
    {
        0: "never by itself: it serves until it is ended",
        2: "the folder or the port cannot be used",
        130: "ended by Ctrl-C",
        143: "ended by SIGTERM",
    }
)
@click.argument("folder", default=".")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Any that is free if 0.")
@click.option("--allow-actions", is_flag=True, help="Let the page stop workers, retry and clean.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
def serve(folder: str, port: int, allow_actions: bool, open_page: bool) -> None:
    """Show all crops in FOLDER and below in a browser, live, on this machine alone.

    Prints an address that holds a token: whoever has it may look. From another machine
    'ssh -L PORT:127.0.0.1:PORT host' brings the page to yours.
    """
    try:
        from cropfit.views.server.app import serve as start
        from cropfit.views.server.feed import Farm
    except ImportError as error:
        raise MissingDependencyError(
            f"'cropfit serve' needs {error.name}: pip install 'cropfit[serve]'."
        ) from error
    top = os.path.realpath(folder)
    if not os.path.isdir(top):
        raise click.UsageError(f"{folder} is no folder")

    def ready(address: str) -> None:
        click.echo(address)
        if open_page:
            click.launch(address)

    start(Farm(lambda: crops_below(top), top), port=port, allow_actions=allow_actions, ready=ready)
