"""The command line: what can be done with crops from any shell, on any host.

Each command opens a crop and calls one thing; nothing is decided here. Modules are
loaded by the command that needs them, so that ``cropfit grow`` starts fast and can
still set what numerical libraries read when they are loaded.
"""

from __future__ import annotations

import click

from cropfit._version import __version__
from cropfit.cli import auto, carry, grow, look, mend, merge, queue, reap, run, serve, watch
from cropfit.cli.common import Main

__all__ = ["main"]


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Grow, watch, mend and reap crops that were sown from Python.

    NAME is a crop's name in the current folder (or in --parent-dir), or the path of
    its folder. It may be left out where only one crop stands.
    """


for _command in (
    look.status,
    watch.watch,
    serve.serve,
    grow.rehearse,
    grow.grow,
    auto.auto_grow,
    queue.script,
    queue.submit,
    queue.jobs,
    queue.cancel,
    merge.merge,
    reap.reap,
    look.errors,
    look.missing,
    look.log,
    look.repro,
    carry.pack,
    carry.unpack,
    mend.retry,
    mend.ignore,
    mend.clean,
    mend.stop,
    mend.delete,
    run.run,
    look.doctor,
):
    main.add_command(_command)
