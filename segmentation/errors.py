"""What can be wrong with an image or a model.

    SegmentationError
    ├── ImageError
    │   ├── NotAnImage
    │   ├── TruncatedImage
    │   ├── EmptyImage
    │   ├── ImageTooLarge
    │   ├── MultiPageImage
    │   └── NonFiniteImage
    ├── InvalidDiameter
    ├── UnknownModel
    ├── InvalidModel
    ├── InvalidLocation
    ├── InvalidCheckpoint
    ├── ModelExists
    ├── ModelNotWritable
    ├── InvalidSchedule
    ├── StaleCheckpoint
    ├── NoSuchDevice
    └── InvalidFields

The message says what happened and what to do.
"""

from __future__ import annotations


class SegmentationError(Exception):
    """The root of this package's errors."""


class ImageError(SegmentationError):
    """The image can't be segmented; sending it again will not help."""


class NotAnImage(ImageError):
    """The bytes are not an image in a format that maskq reads."""


class TruncatedImage(ImageError):
    """The image begins well and then ends early or is damaged."""


class EmptyImage(ImageError):
    """The image has no pixels."""


class ImageTooLarge(ImageError):
    """The image is over the limit of bytes or pixels."""


class MultiPageImage(ImageError):
    """The file holds more than one image."""


class NonFiniteImage(ImageError):
    """A floating-point image holds NaN or infinity."""


class InvalidDiameter(SegmentationError):
    """The model can't see an image at the size that the job's diameter asks for."""


class UnknownModel(SegmentationError):
    """There is no model of that name."""


class InvalidModel(SegmentationError):
    """A model's folder is incomplete, damaged or was changed."""


class InvalidLocation(SegmentationError):
    """A place to look for models that no one can open as it is written."""


class InvalidCheckpoint(SegmentationError):
    """A file that is no checkpoint of the network, as it was published or as a program."""


class ModelExists(SegmentationError):
    """There is a model already where one was to be written."""


class InvalidSchedule(SegmentationError):
    """A training was asked for that can't be run."""


class StaleCheckpoint(SegmentationError):
    """A checkpoint of another training: its schedule, its model or its data differ."""


class ModelNotWritable(SegmentationError):
    """A model's folder is one that this user may not change."""


class NoSuchDevice(SegmentationError):
    """This machine has no device of that name."""


class InvalidFields(SegmentationError):
    """Packed fields that `fields.pack` did not write."""
