"""The command line. Here stand the commands, their options and their help; what they do is imported when they run.

So `maskq submit` needs no torch, and `maskq --help` is there at once.
"""

from __future__ import annotations

import typer

from . import old_jobs as jobs
from . import old_models as models
from . import old_operating as operating

app = typer.Typer(
    name="maskq",
    help="Queue images, get instance masks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (jobs.app, operating.app, models.app):
    app.add_typer(commands)
app.add_typer(models.models, name="models")
app.add_typer(operating.dead, name="dead")
app.add_typer(operating.worker, name="worker")


def main() -> None:
    """The entry point `maskq`."""
    app()
