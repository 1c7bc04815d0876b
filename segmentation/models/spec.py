"""A model is a folder: `model.toml` (its spec), the weights, and `README.md` (its card)."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..atomic_write import atomic_write
from ..clustering.cluster import Clustering
from ..errors import InvalidModel
from ..network.architectures import ARCHITECTURES, BRANCHED_ERFNET, Architecture
from ..network.preprocessing import Channels, Normalisation
from .storage import Location, list_names, read_limited

SPEC, _CARD = "model.toml", "README.md"
#: Size limits of a spec or card, and of weights, in bytes.
_MAX_TEXT_BYTES, MAX_WEIGHTS_BYTES = 1 << 20, 2 << 30


class ModelSpec(BaseModel):
    """The contents of `model.toml`: the network, its input, and how to read its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: int = Field(default=1, ge=1, le=999_999_999)
    summary: str = ""
    #: Name of the architecture, a key of `ARCHITECTURES`.
    network: str = BRANCHED_ERFNET.name
    #: The network's input: see `network.preprocessing`.
    channels: Channels = "grey"
    normalisation: Normalisation = "percentile"
    #: Pixels per unit of the embedding grid; near the objects' size.
    unit: float = Field(default=64.0, ge=1e-3, le=1e6)
    #: Factor by which images are resized before the network sees them.
    scale: float = Field(default=1.0, gt=0.01, le=16, allow_inf_nan=False)
    #: Median diameter of the objects in the training images, in image pixels (2·√(area/π)); 0 if unknown.
    diameter: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    #: Width of a pixel of the training images, in micrometres; 0 if unknown or if it varies.
    pixel_size: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    #: How far the network looks around a pixel, in pixels of its input: the halo of the tiles of huge images. Default:
    #: the architecture's. A program without one can't be run in tiles. A tile may be three halos wide.
    halo: int | None = Field(default=None, ge=0, le=4096)
    #: Clustering bandwidths per pixel: 1 (round objects) or 2 (one for x, one for y).
    bandwidths: int = Field(default=2, ge=1, le=2)
    #: The parameters of the clustering: see `clustering.cluster.Clustering`.
    seed_threshold: float = Field(default=0.9, ge=0.5, le=1)
    min_pixels: int = Field(default=36, ge=0, le=1_000_000_000)
    min_unclustered: int = Field(default=0, ge=0, le=1_000_000_000)
    licence: str = ""
    trained_on: str = ""
    #: Origin of the weights: a URL, or the imported file.
    source: str = ""
    #: Of the weights' file, in hexadecimal.
    sha256: str = ""

    @field_validator("network")
    @classmethod
    def _check_network(cls, name: str) -> str:
        if name not in ARCHITECTURES:
            raise ValueError(f"no architecture {name!r}; there are: {', '.join(ARCHITECTURES)}")
        return name

    @property
    def ref(self) -> str:
        """Name and version, `nuclei@1`, as in jobs and results."""
        return f"{self.name}@{self.version}"

    @property
    def architecture(self) -> Architecture:
        """The network's architecture."""
        return ARCHITECTURES[self.network]

    @property
    def channel_count(self) -> int:
        """Channels of the network's input."""
        return 1 if self.channels == "grey" else 3

    def clustering(self) -> Clustering:
        """The clustering parameters for images of the model's own scale; `rescaling` has those of other images."""
        return Clustering(self.seed_threshold, self.min_pixels, self.min_unclustered)


def read_spec(folder: Location) -> ModelSpec:
    """Read the spec of the model in `folder`. Raises `InvalidModel`."""
    data = read_limited(folder / SPEC, _MAX_TEXT_BYTES)
    try:
        return ModelSpec.model_validate(tomllib.loads(data.decode()))
    except RecursionError as error:
        raise InvalidModel(f"{folder / SPEC}: nested too deeply") from error
    except ValueError as error:  # invalid UTF-8, TOML or values: all are ValueErrors
        raise InvalidModel(f"{folder / SPEC}: {error}") from error


def read_weights(folder: Location, spec: ModelSpec | None = None) -> bytes:
    """Read the weights and check them against the spec's sha256. Raises `InvalidModel`."""
    spec = spec or read_spec(folder)
    file = folder / spec.architecture.weights_file
    data = read_limited(file, MAX_WEIGHTS_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    if digest != spec.sha256:
        raise InvalidModel(f"{file}: its sha256 is {digest}, but {SPEC} says {spec.sha256 or 'none'}")
    return data


def read_card(folder: Location) -> str:
    """Read the model's README.md; empty if it has none. Raises `InvalidModel`."""
    if _CARD not in list_names(folder):
        return ""
    return read_limited(folder / _CARD, _MAX_TEXT_BYTES).decode(errors="replace")


def write_model(folder: Path, spec: ModelSpec, weights: bytes) -> ModelSpec:
    """Write a model's folder; returns the spec as written, with the weights' sha256.

    Each file is written atomically, the spec last, so that a worker never sees half of a new model.
    """
    spec = spec.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in spec.model_dump(exclude_none=True).items())
    for name, data in ((spec.architecture.weights_file, weights), (SPEC, lines.encode())):
        with atomic_write(folder / name) as part:
            part.write_bytes(data)
    return spec


def _toml(value: Any) -> str:
    """A string or number in TOML, whose basic strings are JSON's, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
