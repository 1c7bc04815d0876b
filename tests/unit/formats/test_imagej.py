"""ImageJ's regions of interest, read with roifile."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from roifile import ROI_TYPE, ImagejRoi

from maskq import FormatNotApplicable, Result
from tests.results import result_of, stack_result

from .images import LABELS, example


def regions(result: Result) -> list[ImagejRoi]:
    with zipfile.ZipFile(io.BytesIO(result.to("imagej"))) as archive:
        assert archive.testzip() is None
        return [ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()]


def drawn(roi: ImagejRoi, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centre is inside the region, as ImageJ fills it: by the even-odd rule."""
    mask = np.zeros(shape, np.bool_)
    for ring in roi.coordinates(multi=True):
        corners = np.asarray(ring).astype(int)
        for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if x == next_x:
                mask[min(y, next_y) : max(y, next_y), x:] ^= True
    return mask


@given(LABELS)
@settings(max_examples=50, deadline=None)
def test_any_labels_are_given_again(labels: NDArray[np.int32]) -> None:
    again = np.zeros_like(labels)
    for roi in regions(result_of(labels)):
        mask = drawn(roi, labels.shape)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (roi.top, roi.bottom, roi.left, roi.right) == (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        again[mask] = int(roi.name)
    assert np.array_equal(again, labels)


def test_objects_with_holes_or_parts_are_composites_and_the_others_traced() -> None:
    kinds = {roi.name: (roi.roitype, roi.composite) for roi in regions(result_of(example()))}
    traced, composite = (ROI_TYPE.TRACED, False), (ROI_TYPE.RECT, True)
    assert kinds == {"00001": traced, "00002": composite, "00003": traced, "00004": composite, "00005": traced}


def test_regions_of_a_stack_are_on_their_slices() -> None:
    rois = regions(stack_result(np.stack([example()] * 2)))
    assert [(roi.name, roi.position, roi.z_position, roi.t_position) for roi in rois[4:6]] == [
        ("0003-00005", 3, 3, 0),
        ("0004-00001", 4, 4, 0),
    ]


def test_entries_are_what_old_java_versions_read() -> None:
    """Deflated, with sizes of 32 bits behind the data: Java 8's `ZipInputStream` reads no others from a stream."""
    data = result_of(example()).to("imagej")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_DEFLATED and entry.extract_version <= 20
            header = struct.unpack("<4sHHHHHIII", data[entry.header_offset : entry.header_offset + 26])
            assert header[2] & 0x08 and header[7:9] == (0, 0)
            end = entry.header_offset + 30 + len(entry.filename) + entry.compress_size
            assert struct.unpack("<4sIII", data[end : end + 16]) == (
                b"PK\x07\x08",
                entry.CRC,
                entry.compress_size,
                entry.file_size,
            )


def test_an_image_beyond_imagejs_coordinates_is_refused() -> None:
    with pytest.raises(FormatNotApplicable, match="reach to 32,767 pixels, and the image is 32,768 x 2"):
        result_of(np.ones((2, 32_768), np.int32)).to("imagej")
    assert len(regions(result_of(np.ones((2, 32_767), np.int32)))) == 1
