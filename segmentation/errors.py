"""Errors of images, models, devices and training.

    SegmentationError
    ├── ImageError
    │   ├── NotAnImage, TruncatedImage, EmptyImage, ImageTooLarge, MultiPageImage, NonFiniteImage
    │   └── AmbiguousChannels, NoSuchChannel, NoSuchPlane, InapplicableOption, ValuesOutOfRange
    ├── PlanesFailed
    ├── UnknownModel, InvalidModel, InvalidLocation, InvalidCheckpoint, ModelExists, ModelNotWritable
    ├── InvalidDataset, InvalidSchedule, StaleCheckpoint
    └── InvalidDiameter, InvalidFields, NoSuchDevice

Each message says what happened and what to do.
"""


class SegmentationError(Exception):
    """The root of this package's errors."""


class ImageError(SegmentationError):
    """The image can't be segmented; a retry will not help."""


class NotAnImage(ImageError):
    """The bytes are not an image in a format that maskq reads."""


class TruncatedImage(ImageError):
    """The image has a valid beginning, but is cut short or damaged."""


class EmptyImage(ImageError):
    """The image has no pixels."""


class ImageTooLarge(ImageError):
    """The image is over the limit of bytes or pixels."""


class MultiPageImage(ImageError):
    """The file holds more than one image."""


class NonFiniteImage(ImageError):
    """A floating-point image holds NaN or infinity."""


class AmbiguousChannels(ImageError):
    """Which channel to segment is not known: the job has to choose."""


class NoSuchChannel(ImageError):
    """The image does not have the channel that the job chooses."""


class NoSuchPlane(ImageError):
    """The stack does not have the planes that the job chooses."""


class InapplicableOption(ImageError):
    """The file does not have what an option of the job chooses, such as a scene or level."""


class ValuesOutOfRange(ImageError):
    """The image's values are on another scale than the model takes."""


class PlanesFailed(SegmentationError):
    """Planes of a stack ended without a result."""


class InvalidDiameter(SegmentationError):
    """The model can't be used with the diameter that the job gives."""


class UnknownModel(SegmentationError):
    """No model has this name."""


class InvalidModel(SegmentationError):
    """A model's folder is incomplete, damaged or altered."""


class InvalidLocation(SegmentationError):
    """The location of models, a path or URL, can't be opened as written."""


class InvalidCheckpoint(SegmentationError):
    """The file is neither a published checkpoint of the network nor an exported program."""


class ModelExists(SegmentationError):
    """A model already exists at the destination."""


class InvalidDataset(SegmentationError):
    """A folder of labelled images, or a label file, can't be used for training or evaluation."""


class InvalidSchedule(SegmentationError):
    """The training's schedule can't be run."""


class StaleCheckpoint(SegmentationError):
    """The checkpoint belongs to another training: its schedule, model or data differ."""


class ModelNotWritable(SegmentationError):
    """The model's folder can't be changed."""


class NoSuchDevice(SegmentationError):
    """This machine has no device of this name."""


class InvalidFields(SegmentationError):
    """The fields contain NaN, or the bytes are not packed fields."""
