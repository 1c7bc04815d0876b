"""An image with its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..arrays import Labels, Pixels
from ..errors import AmbiguousChannels, InvalidDataset, MultiPageImage, NotAnImage
from ..images import ChannelKind, Stack, View, npy, read_image
from ..images.channels import choose_channels, describe_channels
from ..label_files import lengths, read_labels

#: Sizes that differ by at most this share are taken for padding or cropping.
_PADDING = 0.2


@dataclass(frozen=True)
class Pair:
    """One image file and its label file."""

    name: str
    image: Path
    labels: Path
    #: The image's channel to use, by number from 1 or by name; None: all channels of an image that is grey or RGB.
    channel: int | str | None = None

    def read(self) -> tuple[Pixels, Labels]:
        """(H, W, C) pixels and (H, W) labels. Raises `ImageError`, or `InvalidDataset` if they differ in size."""
        pixels, labels = self._read_image(), self.read_labels()
        if pixels.shape[:2] != labels.shape:
            raise InvalidDataset(_size_message(self, (pixels.shape[0], pixels.shape[1]), labels.shape))
        return pixels, labels

    def read_labels(self) -> Labels:
        """(H, W) labels. Raises the errors of `label_files.read_labels`."""
        return read_labels(self.labels)

    def _read_image(self) -> Pixels:
        data = self.image.read_bytes()
        try:
            image = read_image(data, self.image.name, view=View(channels=self.channel))
        except NotAnImage as error:
            if not data.startswith(npy.MAGIC):
                raise
            raise InvalidDataset(
                f"{self.image}: not a NumPy array (H, W) or (H, W, 3) of numbers, height first; save each plane as a "
                f"file of its own, and channels as TIFF"
            ) from error
        if isinstance(image, Stack):
            raise MultiPageImage(
                f"{self.image}: a stack of {lengths(image)}; training and evaluation take single images: save each "
                f"plane as a file of its own, with labels of the same name"
            )
        if self.channel is None and image.kind is ChannelKind.SEPARATE and image.pixels.shape[2] > 1:
            raise AmbiguousChannels(
                f"{self.image.name}: {image.pixels.shape[2]} channels, {describe_channels(image)}, which are not said "
                f"to be RGB: choose one with --channel"
            )
        return choose_channels(image, self.channel, self.image.name)[0].pixels


def _size_message(pair: Pair, image: Sequence[int], labels: Sequence[int]) -> str:
    sizes = ["×".join(map(str, size)) for size in (labels, image)]
    return f"{pair.labels}: {sizes[0]} pixels, but {pair.image} has {sizes[1]}{_likely_cause(image, labels)}"


def _likely_cause(image: Sequence[int], labels: Sequence[int]) -> str:
    """What may have happened to labels that differ in size from their image, as the end of a sentence."""
    if tuple(labels) == tuple(reversed(image)):
        return "; height and width are swapped: are the labels transposed or turned?"
    for large, small, word in ((image, labels, "smaller"), (labels, image, "larger")):
        factors = [a / b for a, b in zip(large, small, strict=True)]
        times = round(factors[0])
        if min(factors) >= 1.5 and all(abs(a - times * b) < times for a, b in zip(large, small, strict=True)):
            return f"; the labels are {times} times {word}: resize them with nearest neighbour"
    differences = [b - a for a, b in zip(image, labels, strict=True)]
    if all(abs(change) <= _PADDING * size for change, size in zip(differences, image, strict=True)):
        verb = "padded" if sum(differences) > 0 else "cropped"
        return f"; are the labels {verb} (by {abs(differences[0])} rows and {abs(differences[1])} columns)?"
    return "; do they belong to another image?"
