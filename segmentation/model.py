"""A model is a folder: `model.toml` (what it wants and where it comes from), `weights.safetensors`, and its card.

The folders inside this package are always there; `MASKQ_MODELS` names a folder of a user's own.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .clustering import Clustering
from .errors import InvalidModel, UnknownModel
from .inputs import Channels, Normalisation

#: The models that come with the package.
SHIPPED = Path(__file__).parent / "models"
_SPEC, _WEIGHTS = "model.toml", "weights.safetensors"


class ModelSpec(BaseModel):
    """What a network wants and how its fields are read: the contents of `model.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: int = Field(default=1, ge=1)
    summary: str = ""
    #: What the network sees: see `inputs`.
    channels: Channels = "grey"
    normalisation: Normalisation = "percentile"
    #: Pixels per unit of the embedding grid; near the objects' size.
    unit: float = Field(default=64.0, gt=0, allow_inf_nan=False)
    #: Images are resized by this before the network sees them.
    scale: float = Field(default=1.0, gt=0.01, le=16, allow_inf_nan=False)
    #: The objects' median diameter in the training images, image pixels (2·√(area/π)); 0 where it is not known.
    diameter: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    #: Micrometres that a pixel of the training images is wide; 0 where it is not known or they differ.
    pixel_size: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    #: Clustering bandwidths per pixel: 1 (round) or 2 (x and y apart).
    bandwidths: int = Field(default=2, ge=1, le=2)
    #: Seediness below which no pixel becomes a seed.
    seed_threshold: float = Field(default=0.9, ge=0.5, le=1)
    #: An object has more pixels than this.
    min_pixels: int = Field(default=36, ge=0)
    #: Clustering ends when this many foreground pixels or fewer are unclustered.
    min_unclustered: int = Field(default=0, ge=0)
    licence: str = ""
    trained_on: str = ""
    #: Of the weights' file, in hexadecimal.
    sha256: str = ""

    @property
    def channel_count(self) -> int:
        """Channels of the network's input."""
        return 1 if self.channels == "grey" else 3

    def clustering(self, seed_threshold: float | None = None, min_pixels: int | None = None) -> Clustering:
        """The clustering's parameters; what a job gives goes before what the model says."""
        return Clustering(
            self.seed_threshold if seed_threshold is None else seed_threshold,
            self.min_pixels if min_pixels is None else min_pixels,
            self.min_unclustered,
        )


def find(name: str, folders: tuple[Path, ...] = ()) -> Path:
    """The folder of the model `name`, looked for in `folders` and then among the shipped. Raises `UnknownModel`."""
    for folder in (*folders, SHIPPED):
        if name in _names(folder):  # a name out of a listing leads nowhere else
            return folder / name
    known = ", ".join(sorted(set().union(*(_names(f) for f in (*folders, SHIPPED))))) or "none"
    raise UnknownModel(f"no model {name!r}; there are: {known}")


def _names(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob(f"*/{_SPEC}")}


def available(folders: tuple[Path, ...] = ()) -> list[ModelSpec]:
    """Every model's spec, by name."""
    names = set().union(*(_names(f) for f in (*folders, SHIPPED)))
    return [read_spec(find(name, folders)) for name in sorted(names)]


def read_spec(folder: Path) -> ModelSpec:
    """The spec of the model in `folder`. Raises `InvalidModel`."""
    try:
        return ModelSpec.model_validate(tomllib.loads((folder / _SPEC).read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InvalidModel(f"{folder / _SPEC}: {error}") from error


def read_weights(folder: Path) -> bytes:
    """The weights' bytes, if they are those that the spec names. Raises `InvalidModel`."""
    try:
        data = (folder / _WEIGHTS).read_bytes()
    except OSError as error:
        raise InvalidModel(f"{folder}: no {_WEIGHTS}: {error}") from error
    digest, wanted = hashlib.sha256(data).hexdigest(), read_spec(folder).sha256
    if digest != wanted:
        raise InvalidModel(f"{folder / _WEIGHTS}: its sha256 is {digest}, but {_SPEC} says {wanted}")
    return data


def write(folder: Path, spec: ModelSpec, weights: bytes) -> ModelSpec:
    """Write a model's folder; returns the spec as written, with the weights' sha256."""
    spec = spec.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _WEIGHTS).write_bytes(weights)
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in spec.model_dump().items())
    (folder / _SPEC).write_text(lines, "utf-8")
    return spec


def _toml(value: Any) -> str:
    """A string or number as TOML writes it (its basic strings are JSON's, but for DEL)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
