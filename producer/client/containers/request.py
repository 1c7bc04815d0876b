"""What a job asks of a container, and the limits of what may be sent."""

from __future__ import annotations

from dataclasses import dataclass

from ...schema import Options


@dataclass(frozen=True)
class Request:
    """A job's options and limits for one container."""

    #: What messages call the container: its file name.
    name: str
    options: Options
    #: Maximum size of the image file that is sent, bytes.
    max_bytes: int
    #: Maximum size of a plane that is sent, pixels.
    max_pixels: int
