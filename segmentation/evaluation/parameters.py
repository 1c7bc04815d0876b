"""Clustering parameters in a model's `model.toml`: two values change, the rest stays byte for byte."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..atomic_write import atomic_write
from ..clustering.cluster import Clustering
from ..errors import InvalidModel, ModelNotWritable
from ..models.registry import SHIPPED
from ..models.spec import SPEC, ModelSpec
from ..models.storage import Location

_ADVICE = "to change it, copy the model's folder into one of your own, and name that one in MASKQ_MODELS"


def check_writable(folder: Location) -> Path:
    """The folder, if `store` may write there.

    Raises `ModelNotWritable`, also for any place that a URL names and for the package's own models: in a virtual
    environment those can be written, and would differ from the release unseen.
    """
    if not isinstance(folder, Path):
        raise ModelNotWritable(f"{folder}: {_ADVICE}")
    if folder.resolve().is_relative_to(SHIPPED.resolve()):
        raise ModelNotWritable(f"{folder}: comes with maskq and stays as it is; {_ADVICE}")
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
        text = path.read_bytes().decode()
        text = _set(text, "seed_threshold", parameters.seed_threshold)
        text = _set(text, "min_pixels", parameters.min_pixels)
        ModelSpec.model_validate(tomllib.loads(text))
    except (OSError, ValueError) as error:  # not UTF-8, not TOML, and what pydantic says are ValueErrors
        raise InvalidModel(f"{path}: {error}") from error
    try:
        with atomic_write(path) as part:
            part.write_bytes(text.encode())
    except OSError as error:
        raise _not_writable(folder, error) from error


def _set(text: str, key: str, value: float) -> str:
    """The TOML text with this top-level key at this value and nothing else changed. Raises `ValueError`."""
    wanted = tomllib.loads(text) | {key: value}
    for changed in _changes(text, key, value):
        with suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(changed) == wanted:
                return changed
    raise ValueError(f"{key} can't be changed to {value}: write it on a line of its own")


def _changes(text: str, key: str, value: float) -> Iterator[str]:
    """The text with each line changed that looks like the key's, a string's line may, and with the key put first."""
    for found in re.finditer(rf"""^[ \t]*["']?{key}["']?[ \t]*=[ \t]*([^\s#]+)""", text, re.MULTILINE):
        yield f"{text[: found.start(1)]}{value!r}{text[found.end(1) :]}"
    yield f"{key} = {value!r}\n{text}"


def _not_writable(folder: Path, error: OSError) -> ModelNotWritable:
    return ModelNotWritable(f"{folder}: {error.strerror or error}; {_ADVICE}")
