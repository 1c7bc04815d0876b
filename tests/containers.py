"""Submits a container to a `FakeClient` and reads back what was sent."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from maskq import Options
from maskq.producer.schema import JobSpec
from maskq.producer.settings import ClientSettings
from maskq.testing import FakeClient


class Sent:
    """The OME-TIFF and the job that a submitted container became."""

    def __init__(self, source: Any, settings: ClientSettings | None = None, **options: Any) -> None:
        job = FakeClient(settings=settings).submit(source, options=Options(**options), reuse=False)
        self.data: bytes = job.image()
        self.spec: JobSpec = job.status().spec
        with tifffile.TiffFile(io.BytesIO(self.data)) as file:
            self.pixels: NDArray[Any] = np.asarray(file.asarray())
            self.axes: str = file.series[0].axes
            self.xml: str = file.ome_metadata or ""

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width in micrometres."""
        sizes = [re.search(rf'PhysicalSize{axis}="([^"]+)" PhysicalSize{axis}Unit="µm"', self.xml) for axis in "YX"]
        return (float(sizes[0][1]), float(sizes[1][1])) if sizes[0] and sizes[1] else None

    @property
    def channels(self) -> list[str]:
        """The channels' names."""
        return re.findall(r'<Channel [^>]*Name="([^"]*)"', self.xml)
