"""Channels, axes and missing values with real workers: the same objects as in the reference channel alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from examples.samples import samples
from maskq import Client, InvalidJob, JobFailed, Options, Result, Settings
from maskq.segmentation.images import decode
from maskq.workers.local.stack import Stack, running
from tests.conftest import png

Array = NDArray[Any]
WAIT_S = 120


def reference() -> Array:
    """A real picture of nuclei, (160, 128) in 8 bits."""
    picture = decode(next(path for path in samples() if path.name == "img2d.tif").read_bytes())[:160, :128, 0].astype(
        float
    )
    low, high = np.percentile(picture, (0.1, 99.9))
    return np.asarray(((picture - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)


NUCLEI = reference()
#: Another stain: a bright texture without nuclei.
MEMBRANE = np.add.outer(np.arange(160), np.arange(128)).astype(np.uint8) | np.uint8(64)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running(Settings(devices="cpu", cluster_processes=1, torch_threads=1)) as stack:
        yield stack


@pytest.fixture(scope="module")
def expected(client: Client) -> Array:
    """The labels of the reference channel alone."""
    result = client.submit(NUCLEI).wait(WAIT_S)
    assert result.channels == ("grey",) and len(result.objects) > 5
    return result.labels


def segmented(client: Client, source: Any, **options: Any) -> Result:
    return client.submit(source, options=Options(**options)).wait(WAIT_S)


def ome_tiff() -> bytes:
    stream = io.BytesIO()
    channels = {"Channel": {"Name": ["WGA", "DAPI"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(stream, ome=True) as tiff:
        tiff.write(np.stack([MEMBRANE, NUCLEI]), photometric="minisblack", metadata={"axes": "CYX", **channels})
    return stream.getvalue()


RGB_MERGE = np.dstack([MEMBRANE, MEMBRANE // 2, NUCLEI])
WITH_NAMED_AXES = np.stack([MEMBRANE, NUCLEI])

CASES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "OME-TIFF by name": (ome_tiff(), {"channels": "dapi"}, "2 (DAPI)"),
    "OME-TIFF by number": (ome_tiff(), {"channels": 2}, "2 (DAPI)"),
    "RGB merge by name": (png(RGB_MERGE), {"channels": "blue"}, "3 (blue)"),
    "RGB merge by number": (png(RGB_MERGE), {"channels": 3}, "3 (blue)"),
    "array": (WITH_NAMED_AXES, {"axes": "CYX", "channels": 2}, "2"),
    "Pillow image": (Image.fromarray(RGB_MERGE), {"channels": "blue"}, "3 (blue)"),
    "open file": (io.BytesIO(png(RGB_MERGE)), {"channels": "blue"}, "3 (blue)"),
}


@pytest.mark.parametrize(("source", "options", "channel"), CASES.values(), ids=CASES)
def test_the_chosen_channel_has_the_objects_of_that_channel_alone(
    client: Client, expected: Array, source: Any, options: dict[str, Any], channel: str
) -> None:
    result = segmented(client, source, **options)
    assert result.channels == (channel,)
    np.testing.assert_array_equal(result.labels, expected)


def test_the_result_says_that_rgb_was_segmented_as_luminance(client: Client) -> None:
    result = segmented(client, png(RGB_MERGE))
    assert result.channels == ("RGB as luminance",)


def test_a_composite_has_the_nuclei_of_both_of_its_channels(client: Client, expected: Array) -> None:
    left, right = NUCLEI.copy(), (NUCLEI // 4).copy()
    left[:, 64:], right[:, :64] = left.min(), right.min()
    source = np.stack([left, right])
    result = segmented(client, source, axes="CYX", channels=(1, 2), composite="max")
    assert result.channels == ("1", "2") and "combined by their maximum" in result.notes[0]
    # The two halves have percentiles of their own, so borders of objects can differ by a pixel.
    assert ((result.labels > 0) != (expected > 0)).mean() < 0.03


@pytest.mark.parametrize(
    ("source", "options", "kind", "message"),
    [
        (ome_tiff(), {}, "AmbiguousChannels", r"2 separate channels, 1 \(WGA\), 2 \(DAPI\)\. .*option `channels`"),
        (ome_tiff(), {"channels": "GFP"}, "NoSuchChannel", r"no channel 'GFP'; its channels are 1 \(WGA\)"),
        (ome_tiff(), {"channels": (1, 2)}, "AmbiguousChannels", "the model takes one channel.*`composite`"),
        (png(RGB_MERGE), {"channels": 4}, "NoSuchChannel", r"1 \(red\), 2 \(green\), 3 \(blue\)"),
    ],
)
def test_what_is_not_clear_is_refused_with_the_choices(
    client: Client, source: bytes, options: dict[str, Any], kind: str, message: str
) -> None:
    with pytest.raises(JobFailed, match=message) as caught:
        segmented(client, source, **options)
    assert caught.value.error.type == kind


def test_an_ambiguous_array_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(InvalidJob, match="option `axes`"):
        client.submit(WITH_NAMED_AXES)


def test_a_border_of_nan_is_background_and_changes_no_object(client: Client, expected: Array) -> None:
    bordered = np.full((184, 152), np.nan, np.float32)
    bordered[12:172, 12:140] = NUCLEI / 255
    bordered[20, 20] = np.inf
    with pytest.raises(JobFailed, match="`nan_as_background`"):
        segmented(client, bordered)
    result = segmented(client, bordered, nan_as_background=True)
    assert result.notes == (f"{184 * 152 - 160 * 128 + 1:,} of {184 * 152:,} pixels are NaN or infinite: background.",)
    assert not result.labels[~np.isfinite(bordered)].any()
    inner = slice(30, 130), slice(30, 98)  # nuclei at the border of the image see another neighbourhood
    found, known = result.labels[12:172, 12:140][inner] > 0, expected[inner] > 0
    assert (found != known).mean() < 0.03


def test_an_overlay_shows_the_segmented_channel(client: Client) -> None:
    result = segmented(client, ome_tiff(), channels="DAPI")
    alone = segmented(client, png(NUCLEI))
    assert result.to("overlay", image=ome_tiff()) == alone.to("overlay", image=png(NUCLEI))
