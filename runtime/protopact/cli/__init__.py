"""The `protopact` command.

A mistake of the person who types is one line on standard error and exit code 1, or 2 for a command line that does not
parse; never a traceback.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from protopact._version import __version__
from protopact.cli import history, lint_workflows, proto
from protopact.cli.replay import replay
from protopact.cli.reset import reset
from protopact.errors import ProtopactError

__all__ = ["app", "main"]

app = typer.Typer(
    name="protopact",
    help="Contract-first durable workflows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(proto.app, name="proto")
app.add_typer(history.app, name="history")
app.command()(replay)
app.command()(reset)
app.command("lint-workflows")(lint_workflows.lint_workflows)

# The plugin's side has commands of its own, and neither side imports the other.
for _point in entry_points(group="protopact.commands"):
    _command = _point.load()
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_point.name)
    else:
        app.command(_point.name)(_command)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag
    if wanted:
        typer.echo(f"protopact {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Contract-first durable workflows."""


def main() -> None:
    """Run the command line of this process, and exit."""
    try:
        app(prog_name="protopact")
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        sys.exit(f"protopact: {error.strerror or error}{place}")
    except ProtopactError as error:
        sys.exit(f"protopact: {error}")
