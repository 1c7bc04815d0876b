"""A file that is no image which maskq reads is refused by what it is, with what to do."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage

from maskq.segmentation.errors import NotAnImage
from maskq.segmentation.images import read_image
from tests.image_files import npy, saved, tiff

PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)


def zipped(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, cells=PIXELS)
    return stream.getvalue()


def at(offset: int, magic: bytes, before: bytes = b"\x01") -> bytes:
    return (before * offset)[:offset] + magic + bytes(100)


def brand(name: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + name + bytes(100)


KINDS: dict[str, bytes] = {
    "an empty file": b"",
    "a CZI (Zeiss)": at(0, b"ZISRAWFILE"),
    "an ND2 (Nikon)": at(0, b"\xda\xce\xbe\x0a"),
    "a LIF (Leica)": at(0, b"\x70\0\0\0\x20\0\0\0\x2a"),
    "an OLE file: an OIB (Olympus)": at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    "an OIF (Olympus)": "[ProfileSaveInfo]\r\n".encode("utf-16"),
    "the ETS part of a VSI": at(0, b"SIS\0"),
    "a DM3 (Gatan)": at(0, struct.pack(">III", 3, 1000, 1)),
    "a DM4 (Gatan)": at(0, struct.pack(">IQI", 4, 1000, 1)),
    "an SPE (Princeton": at(4098, b"\x55\x55"),
    "a DICOM": at(128, b"DICM", b"\0"),
    "a NIfTI": struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(100),
    "an Analyze or NIfTI header": struct.pack("<i", 348) + bytes(344),
    "an NRRD": b"NRRD0004\ntype: uint8\n",
    "a MetaImage": b"ObjectType = Image\nNDims = 2\n",
    "an MRC or CCP4 map": at(208, b"MAP "),
    "a FITS": b"SIMPLE  =                    T".ljust(2880),
    "an HDF5 (also Imaris .ims": at(0, b"\x89HDF\r\n\x1a\n"),
    "an HDF5 (also MATLAB 7.3)": b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(9),
    "a NetCDF": at(0, b"CDF\x01"),
    "a MATLAB file": b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(200, b"\0"),
    "an ICS": b"\t\nics_version\t2.0\nfilename\tcells\n",
    "a Python pickle": pickle.dumps({"a": 1}),
    "a NumPy .npz archive": npz(),
    "a zipped Zarr": zipped({"cells.zarr/.zattrs": b"{}"}),
    "an Office document": zipped({"[Content_Types].xml": b"<?xml?>"}),
    "a zip archive": zipped({"readme.txt": b"hello"}),
    "a gzip archive": at(0, b"\x1f\x8b\x08"),
    "a bzip2 archive": at(0, b"BZh91AY"),
    "an xz archive": at(0, b"\xfd7zXZ\0"),
    "a tar archive": at(257, b"ustar\0"),
    "a GIF": saved(PIXELS, "GIF"),
    "an AVIF": brand(b"avif"),
    "a HEIC": brand(b"heic"),
    "a HEIF or AVIF": brand(b"mif1"),
    "an MP4 or QuickTime video": brand(b"isom"),
    "an AVI video": b"RIFF\x10\0\0\0AVI LIST",
    "a JPEG XR": bytes(imagecodecs.jpegxr_encode(PIXELS)),
    "a PFM": b"Pf\n8 6\n-1.0\n" + bytes(192),
    "a QOI": bytes(imagecodecs.qoi_encode(np.dstack([PIXELS] * 3))),
    "a TGA": saved(PIXELS, "TGA"),
    "an OpenEXR": at(0, b"\x76\x2f\x31\x01"),
    "a Radiance HDR": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n",
    "a DDS texture": saved(np.dstack([PIXELS] * 3), "DDS"),
    "a Windows icon": saved(PillowImage.new("RGB", (16, 16)), "ICO"),
    "a Photoshop document": at(0, b"8BPS\0\1"),
    "a PDF": saved(PIXELS, "PDF"),
    "an EPS": at(0, b"\xc5\xd0\xd3\xc6"),
    "an SVG drawing": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a web page": b"\n<!DOCTYPE html>\n<html><body>404 Not Found</body></html>",
    "an XML text": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "a JSON text": json.dumps({"error": "not found"}).encode(),
    "a table as text (CSV)": b"file,objects\na.png,3\nb.png,4\n",
    "a text": b"Dear Sir or Madam, find my cells here.",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "a macOS side file": at(0, b"\0\x05\x16\x07\0\x02\0\0"),
    "a data URL": b"data:image/png;base64,iVBORw0KGgo=",
    "a PNG in base64": b"iVBORw0KGgoAAAANSUhEUgAA",
    "a JPEG in base64": b"/9j/4AAQSkZJRg",
    "of an unknown kind": bytes(range(1, 9)) * 9,
}


@pytest.mark.parametrize(("name", "data"), KINDS.items(), ids=KINDS.keys())
def test_other_files_are_refused_by_name_with_what_to_do(name: str, data: bytes) -> None:
    with pytest.raises(NotAnImage) as raised:
        read_image(data, "cells")
    message = str(raised.value)
    assert message.startswith(f"cells: {name}"), message
    assert message.count("; ") == 1 and len(message.split("; ")[1]) > 10  # what to do


def test_a_dicom_is_named_even_if_its_preamble_is_that_of_another_format() -> None:
    for preamble in (tiff(PIXELS), npy(PIXELS), saved(PIXELS, "BMP")):
        data = preamble[:128].ljust(128, b"\0") + b"DICM" + bytes(100)
        with pytest.raises(NotAnImage, match="a DICOM"):
            read_image(data, "cells")


def test_a_pickle_is_never_loaded_and_its_content_not_shown() -> None:
    with pytest.raises(NotAnImage) as raised:
        read_image(pickle.dumps({"password": "secret"}), "cells")
    assert "secret" not in str(raised.value)
