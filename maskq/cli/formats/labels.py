"""Labels: a 16-bit PNG, or a 32-bit TIFF beyond 65,535 objects; a stack as a TIFF with a page per plane."""

from maskq.producer.client.job import Result
from maskq.segmentation.labels import suffix

from .result_format import ResultFormat


def encode(result: Result, image: bytes) -> tuple[str, bytes]:
    """The label file as the worker stored it; `image` is not used."""
    return f".labels{suffix(result.label_file)}", result.label_file


FORMAT = ResultFormat("labels", {".labels.png": "image/png", ".labels.tif": "image/tiff"}, encode)
