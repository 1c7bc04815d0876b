"""Store clustering parameters in a model's `model.toml`, keeping the file's comments and formatting."""

import tempfile
import tomllib
from pathlib import Path

import tomlkit

from ..atomic_write import atomic_write
from ..clustering.cluster import Clustering
from ..errors import InvalidModel, ModelNotWritable
from ..models.registry import SHIPPED
from ..models.spec import SPEC, ModelSpec
from ..models.storage import Location

_ADVICE = "to change it, copy the model's folder into another folder, and set MASKQ_MODELS to that one"


def check_writable(folder: Location) -> Path:
    """The folder, if `store` can write there.

    Raises `ModelNotWritable`, also for every URL and for the models that come with the package: a virtual environment
    would let them be changed, and they would differ from the release unnoticed.
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
    """Write `seed_threshold` and `min_pixels` into the model's spec, atomically.

    Raises `ModelNotWritable` if the folder can't be changed, and `InvalidModel` if its spec is invalid.
    """
    path = folder / SPEC
    try:
        text = _with_parameters(path.read_bytes().decode(), parameters)
        ModelSpec.model_validate(tomllib.loads(text))
    except (OSError, ValueError) as error:  # not UTF-8, not TOML and pydantic's errors are ValueErrors
        raise InvalidModel(f"{path}: {error}") from error
    try:
        with atomic_write(path) as part:
            part.write_bytes(text.encode())
    except OSError as error:
        raise _not_writable(folder, error) from error


def _with_parameters(text: str, parameters: Clustering) -> str:
    """The TOML text with these parameters; keys that it lacks are added at its beginning, before any table."""
    document, new = tomlkit.parse(text), tomlkit.document()
    for key in ("seed_threshold", "min_pixels"):
        target = document if key in document else new
        target[key] = getattr(parameters, key)
    return tomlkit.dumps(new) + tomlkit.dumps(document)


def _not_writable(folder: Path, error: OSError) -> ModelNotWritable:
    return ModelNotWritable(f"{folder}: {error.strerror or error}; {_ADVICE}")
