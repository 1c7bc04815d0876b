"""A model is a folder: `model.toml` (what it wants and where it comes from), its weights, and `README.md`, its card.

The weights are `weights.safetensors`, or `program.pt2` where the network is a program of the user's own. `repository`
finds the folder that a name means.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..atomic_write import atomic_write
from ..clustering.cluster import Clustering
from ..errors import InvalidModel
from ..network.preprocessing import Channels, Normalisation
from .storage import Location, names, read

SPEC, _CARD = "model.toml", "README.md"
_WEIGHTS = {"branched-erfnet": "weights.safetensors", "program": "program.pt2"}
#: Bytes of a spec or a card at most, and of weights.
_MOST_TEXT, MOST_WEIGHTS = 1 << 20, 2 << 30


class ModelSpec(BaseModel):
    """What a network wants and how its fields are read: the contents of `model.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: int = Field(default=1, ge=1, le=999_999_999)
    summary: str = ""
    #: Whose weights these are: `network.BranchedERFNet`'s, or a program that torch.export saved.
    network: Literal["branched-erfnet", "program"] = "branched-erfnet"
    #: What the network sees: see `inputs`.
    channels: Channels = "grey"
    normalisation: Normalisation = "percentile"
    #: Pixels per unit of the embedding grid; near the objects' size.
    unit: float = Field(default=64.0, ge=1e-3, le=1e6)
    #: Images are resized by this before the network sees them.
    scale: float = Field(default=1.0, gt=0.01, le=16, allow_inf_nan=False)
    #: The objects' median diameter in the training images, image pixels (2·√(area/π)); 0 where it is not known.
    diameter: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    #: Micrometres that a pixel of the training images is wide; 0 where it is not known or they differ.
    pixel_size: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    #: How far around a pixel the network looks, pixels of its input: huge images are tiled with such a halo. Left out,
    #: that of `network.BranchedERFNet`; a program that does not say it is given no tiles. A tile may be three wide.
    halo: int | None = Field(default=None, ge=0, le=4096)
    #: Clustering bandwidths per pixel: 1 (round) or 2 (x and y apart).
    bandwidths: int = Field(default=2, ge=1, le=2)
    #: Seediness below which no pixel becomes a seed.
    seed_threshold: float = Field(default=0.9, ge=0.5, le=1)
    #: An object has more pixels than this.
    min_pixels: int = Field(default=36, ge=0, le=1_000_000_000)
    #: Clustering ends when this many foreground pixels or fewer are unclustered.
    min_unclustered: int = Field(default=0, ge=0, le=1_000_000_000)
    licence: str = ""
    trained_on: str = ""
    #: Where the weights come from: a URL, or the file that was imported.
    source: str = ""
    #: Of the weights' file, in hexadecimal.
    sha256: str = ""

    @property
    def ref(self) -> str:
        """The name with its version, `nuclei@1`: what a job may ask for and what a result says."""
        return f"{self.name}@{self.version}"

    @property
    def weights_file(self) -> str:
        """The name of the weights' file."""
        return _WEIGHTS[self.network]

    @property
    def channel_count(self) -> int:
        """Channels of the network's input."""
        return 1 if self.channels == "grey" else 3

    def clustering(self) -> Clustering:
        """The clustering's parameters for images like the model's own; see `scale` for others and for a job's."""
        return Clustering(self.seed_threshold, self.min_pixels, self.min_unclustered)


def read_spec(folder: Location) -> ModelSpec:
    """The spec of the model in `folder`. Raises `InvalidModel`."""
    data = read(folder / SPEC, _MOST_TEXT)
    try:
        return ModelSpec.model_validate(tomllib.loads(data.decode()))
    except RecursionError as error:
        raise InvalidModel(f"{folder / SPEC}: nested too deeply") from error
    except ValueError as error:  # not UTF-8, not TOML, and what pydantic says are ValueErrors
        raise InvalidModel(f"{folder / SPEC}: {error}") from error


def read_weights(folder: Location, spec: ModelSpec | None = None) -> bytes:
    """The weights' bytes, if they are those that the spec names. Raises `InvalidModel`."""
    spec = spec or read_spec(folder)
    file = folder / spec.weights_file
    data = read(file, MOST_WEIGHTS)
    digest = hashlib.sha256(data).hexdigest()
    if digest != spec.sha256:
        raise InvalidModel(f"{file}: its sha256 is {digest}, but {SPEC} says {spec.sha256 or 'none'}")
    return data


def read_card(folder: Location) -> str:
    """What the model's README.md says; empty where it has none."""
    if _CARD not in names(folder):
        return ""
    return read(folder / _CARD, _MOST_TEXT).decode(errors="replace")


def write(folder: Path, spec: ModelSpec, weights: bytes) -> ModelSpec:
    """Write a model's folder; returns the spec as written, with the weights' sha256.

    The spec comes last and each file appears whole, so that a worker that looks on finds no half of a new model.
    """
    spec = spec.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in spec.model_dump(exclude_none=True).items())
    for name, data in ((spec.weights_file, weights), (SPEC, lines.encode())):
        with atomic_write(folder / name) as part:
            part.write_bytes(data)
    return spec


def _toml(value: Any) -> str:
    """A string or number as TOML writes it (its basic strings are JSON's, but for DEL)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
