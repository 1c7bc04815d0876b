"""Containers that are too large or too complex to send whole: the client reads them, and sends OME-TIFF.

To add one, write a module that defines its `CONTAINER`, and register it in `CONTAINERS`. Readers are imported when a
container is opened: a producer without them is as light as before.
"""

from .container import Container
from .registry import CONTAINERS, Prepared, find, prepare

__all__ = ["CONTAINERS", "Container", "Prepared", "find", "prepare"]
