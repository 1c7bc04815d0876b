"""Run a network once and read labels from its fields many times, with different parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..arrays import Labels, Pixels
from ..clustering.cluster import Clustering, cluster
from ..clustering.fields import Foreground, unpack
from ..network.tiling import Bounds
from ..rescaling import clustering_parameters

if TYPE_CHECKING:
    from ..segmenter import Segmenter


class FieldReader(Protocol):
    """A network, and the steps from its fields to labels."""

    def embed(self, pixels: Pixels) -> bytes:
        """Run the network: (H, W, C) pixels → packed fields."""

    def unpack(self, packed: bytes) -> Any:
        """Packed fields → the input of `read`."""

    def read(self, fields: Any, parameters: Clustering) -> Labels:
        """Cluster the fields with these parameters → (H, W) labels."""


class SegmenterReader:
    """A `Segmenter` with a job's options as a `FieldReader`; `parameters` gives the labels of `Segmenter.segment`."""

    def __init__(
        self, segmenter: Segmenter, tta: bool = False, diameter: float | None = None, bounds: Bounds = Bounds()
    ) -> None:
        """Raises `InvalidDiameter`."""
        self._segmenter, self._tta, self._diameter, self._bounds = segmenter, tta, diameter, bounds
        #: The model's clustering parameters, for images whose objects have `diameter`.
        self.parameters = clustering_parameters(segmenter.spec, diameter=diameter)

    def embed(self, pixels: Pixels) -> bytes:
        """Run the network: (H, W, C) pixels → packed fields. Raises the errors of `Segmenter.fields`."""
        return self._segmenter.fields(pixels, tta=self._tta, diameter=self._diameter, bounds=self._bounds)

    def unpack(self, packed: bytes) -> Foreground:
        """Packed fields → the foreground's fields."""
        return unpack(packed)

    def read(self, fields: Foreground, parameters: Clustering) -> Labels:
        """Cluster the fields with these parameters → (H, W) labels."""
        return cluster(fields, parameters)[0]
