"""Clustering parameters in a model's `model.toml`: two lines change, the rest stays byte for byte."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from pathlib import Path

from pydantic import ValidationError

from ..catalogue.model import SPEC, ModelSpec
from ..catalogue.places import Place
from ..clustering import Clustering
from ..errors import InvalidModel, ModelNotWritable

_ADVICE = "to change it, copy the model's folder into one of your own, and name that one in MASKQ_MODELS"


def check_writable(folder: Place) -> Path:
    """The folder, if `store` may write there. Raises `ModelNotWritable`, also for any place that a URL names."""
    if not isinstance(folder, Path):
        raise ModelNotWritable(f"{folder}: {_ADVICE}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _not_writable(folder, error) from error
    return folder


def store(folder: Path, parameters: Clustering) -> None:
    """Write seed threshold and least pixels into the model's spec, whole or not at all.

    Raises `ModelNotWritable` where the folder may not be changed and `InvalidModel` where its spec is none.
    """
    path = folder / SPEC
    try:
        text = path.read_text("utf-8")
        text = _set(text, "seed_threshold", repr(parameters.seed_threshold))
        text = _set(text, "min_pixels", repr(parameters.min_pixels))
        ModelSpec.model_validate(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InvalidModel(f"{path}: {error}") from error
    part = folder / f".{SPEC}.{os.getpid()}.part"
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _not_writable(folder, error) from error


def _set(text: str, key: str, value: str) -> str:
    """The TOML text with this top-level key at this value; a key that is not there becomes the first."""
    changed, count = re.subn(rf"^{key}[ \t]*=.*$", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
    return changed if count else f"{key} = {value}\n{text}"


def _not_writable(folder: Path, error: OSError) -> ModelNotWritable:
    return ModelNotWritable(f"{folder}: {error.strerror or error}; {_ADVICE}")
