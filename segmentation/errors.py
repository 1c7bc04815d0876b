"""What can be wrong with an image or a model.

    SegmentationError
    ├── ImageError
    │   ├── NotAnImage
    │   ├── TruncatedImage
    │   ├── EmptyImage
    │   ├── ImageTooLarge
    │   ├── MultiPageImage
    │   └── NonFiniteImage
    ├── UnknownModel
    ├── InvalidModel
    └── InvalidFields

Each knows the HTTP status that a gateway answers it with; the message says what happened and what to do.
"""

from __future__ import annotations


class SegmentationError(Exception):
    """The root of this package's errors."""

    status = 500


class ImageError(SegmentationError):
    """The image can't be segmented; sending it again will not help."""

    status = 422


class NotAnImage(ImageError):
    """The bytes are not an image in a format that maskq reads."""

    status = 415


class TruncatedImage(ImageError):
    """The image begins well and then ends early or is damaged."""


class EmptyImage(ImageError):
    """The image has no pixels."""


class ImageTooLarge(ImageError):
    """The image is over the limit of bytes or pixels."""

    status = 413


class MultiPageImage(ImageError):
    """The file holds more than one image."""


class NonFiniteImage(ImageError):
    """A floating-point image holds NaN or infinity."""


class UnknownModel(SegmentationError):
    """There is no model of that name."""

    status = 422


class InvalidModel(SegmentationError):
    """A model's folder is incomplete, damaged or was changed."""


class InvalidFields(SegmentationError):
    """Packed fields that `fields.pack` did not write."""
