"""From a command to what does its work, imported now, and its errors as one line."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from pydantic import ValidationError

from maskq.producer.schema import validation_message
from maskq.producer.settings import Settings


def call(module: str, function: str, **arguments: Any) -> None:
    """Import what does the work and leave with its exit status; errors that have a type become one line."""
    try:
        implementation = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        fail(f"this command needs {error.name}: pip install 'maskq[worker]' (or, in a checkout, '.[worker]')", 2)
    try:
        raise typer.Exit(implementation(**arguments))
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ValidationError as error:  # a setting's or an option's value
        fail(validation_message(error), 2)
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "maskq":
            raise
        fail(str(error), 2)


def settings() -> Settings:
    """The settings; one that is invalid ends the command."""
    try:
        return Settings()
    except ValidationError as error:
        fail(validation_message(error), 2)


def model_folders() -> tuple[str, ...]:
    """Where a user's own models are."""
    return settings().model_folders


def fail(message: str, status: int) -> NoReturn:
    print(f"maskq: {message}", file=sys.stderr)
    raise typer.Exit(status)
