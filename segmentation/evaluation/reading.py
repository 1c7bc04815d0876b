"""A network's fields, and the labels that are read out of them, apart: to read the same fields in many ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..arrays import Labels, Pixels
from ..clustering.cluster import Clustering, cluster
from ..clustering.fields import Foreground, unpack
from ..network.tiling import Bounds
from ..rescaling import clustering

if TYPE_CHECKING:
    from ..segmenter import Segmenter


class Reader(Protocol):
    """A network, and the way from its fields to labels."""

    def embed(self, pixels: Pixels) -> bytes:
        """(H, W, C) pixels → packed fields: what the network does."""

    def unpack(self, packed: bytes) -> Any:
        """Packed fields → what `read` takes."""

    def read(self, fields: Any, parameters: Clustering) -> Labels:
        """(H, W) labels, with these parameters."""


class SegmenterReader:
    """A `Segmenter` run with the options of a job; with `parameters` it gives what `Segmenter.segment` does."""

    def __init__(
        self, segmenter: Segmenter, tta: bool = False, diameter: float | None = None, bounds: Bounds = Bounds()
    ) -> None:
        """Raises `InvalidDiameter`."""
        self._segmenter, self._tta, self._diameter, self._bounds = segmenter, tta, diameter, bounds
        #: The model's own, in pixels of images whose objects have that diameter.
        self.parameters = clustering(segmenter.spec, diameter=diameter)

    def embed(self, pixels: Pixels) -> bytes:
        """(H, W, C) pixels → packed fields. Raises as `Segmenter.fields` does."""
        return self._segmenter.fields(pixels, tta=self._tta, diameter=self._diameter, bounds=self._bounds)

    def unpack(self, packed: bytes) -> Foreground:
        """Packed fields → the foreground."""
        return unpack(packed)

    def read(self, fields: Foreground, parameters: Clustering) -> Labels:
        """(H, W) labels, with these parameters."""
        return cluster(fields, parameters)[0]
