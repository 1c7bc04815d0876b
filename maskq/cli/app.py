"""The command line: puts the commands together, and turns what they return or raise into an exit status.

Commands import what they need inside their functions, so `maskq submit` needs no torch and `maskq --help` is fast.
"""

import sys
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from maskq import __version__
from maskq.producer.schema import validation_message
from maskq.producer.settings import ClientSettings, Settings, variable

from . import admin, bench, evaluate, jobs, labels, models, result, run, train, up, worker
from .extras import how_to_install


class CommandGroup(TyperGroup):
    """Commands that return their exit status.

    Ctrl-C becomes status 130. An invalid setting or option, an error of maskq's own types and a missing optional
    dependency become status 2 and one line on standard error. Any other exception keeps its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command. Raises `typer.Exit` with its status."""
        try:
            status = super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            if (message := _message(error)) is None:
                raise
            print(f"maskq: {message}", file=sys.stderr)
            raise typer.Exit(2) from None
        raise typer.Exit(status or 0)


def _message(error: Exception) -> str | None:
    """The line to show for an error that a user can act on; None for an unexpected one."""
    if isinstance(error, ValidationError):
        is_setting = error.title in (ClientSettings.__name__, Settings.__name__)
        return validation_message(error, variable if is_setting else str)
    root = type(error).__module__.partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("maskq"):
        return how_to_install(error.name.partition(".")[0])
    return str(error) if root == "maskq" else None


app = typer.Typer(
    name="maskq",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, up, jobs, result):
    app.add_typer(module.app)
app.add_typer(models.app, name="models")
for module in (evaluate, train, labels, bench, admin, worker):
    app.add_typer(module.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"maskq {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Queue images, get instance masks."""


def main() -> None:
    """The entry point `maskq`."""
    app()
