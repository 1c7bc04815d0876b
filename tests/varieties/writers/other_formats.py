"""Formats that maskq refuses by name: volumes, arrays, animations, documents, archives."""

import io
import zipfile

import h5py
import imagecodecs
import nibabel
import nrrd
import numpy as np
import pydicom
import pydicom.dataset
import pydicom.uid
from astropy.io import fits
from PIL import Image

from ..pictures import HEIGHT, WIDTH, picture
from .arrays import gdal, pillow, saved, simpleitk, squeezed, stack, vips
from .sample import BY_HAND, GDAL, LIBVIPS, Kept, Samples, by, written

_GROUP = "Other formats"
_WEB_PAGE = b"<!DOCTYPE html><title>404</title><p>Not found"
_DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" width="36" height="28"><circle cx="9" cy="9" r="4"/></svg>'


def volumes() -> Samples:
    """NIfTI, NRRD, MetaImage, DICOM, FITS, HDF5."""
    add = Kept(by("SimpleITK"), _GROUP, "simpleitk")
    for suffix, variety, says in (
        (".nii", "NIfTI", "NIfTI"), (".nii.gz", "NIfTI, gzip", ".nii.gz"), (".nrrd", "NRRD", "NRRD"),
        (".mha", "MetaImage", "MetaImage"),
    ):  # fmt: skip
        yield add.refused(f"volume{suffix}", simpleitk(suffix, stack("grey8", 3), compressed=True), variety, says)
    yield add.refused("grey16.dcm", simpleitk(".dcm", squeezed("grey16")), "DICOM", "DICOM")
    yield add.refused("grey16.vtk", simpleitk(".vtk", squeezed("grey16"), compressed=True), "VTK", "VTK")
    add = Kept(by("pydicom"), _GROUP, "pydicom")
    yield add.refused("grey8.dcm", _dicom(b""), "DICOM", "DICOM")
    variety = "DICOM with the first bytes of a TIFF"
    yield add.refused("tiff-preamble.dcm", _dicom(b"II*\0"), variety, "DICOM")
    yield add.refused("tiff-preamble-big-endian.dcm", _dicom(b"MM\0*"), variety, "DICOM")
    image = nibabel.Nifti1Image(squeezed("grey8").T, np.eye(4))
    yield Kept(by("nibabel"), _GROUP, "nibabel").refused("grey8.nii", image.to_bytes(), "NIfTI", "NIfTI")
    data = written(".nrrd", lambda path: nrrd.write(path, squeezed("grey8")))
    yield Kept(by("pynrrd"), _GROUP, "pynrrd").refused("grey8.nrrd", data, "NRRD", "NRRD")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("image", data=squeezed("grey8"), compression="gzip")
    yield Kept(by("h5py"), _GROUP, "h5py").refused("grey8.h5", stream.getvalue(), "HDF5", "HDF5")
    data = written(".fits", lambda path: fits.writeto(path, squeezed("int16")))
    yield Kept(by("astropy"), _GROUP, "astropy").refused("grey16.fits", data, "FITS", "FITS")


def _dicom(preamble: bytes) -> bytes:
    """A secondary capture; its preamble begins with these bytes."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=preamble.ljust(128, b"\0"))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = HEIGHT, WIDTH, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = squeezed("grey8").tobytes()
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data)
    return stream.getvalue()


def pictures_and_documents() -> Samples:
    """GIF, TGA, icons, PDF, archives, web pages and others."""
    rgb = pillow("rgb8")
    add = Kept(by("pillow"), _GROUP, "pillow")
    frames = [Image.fromarray(frame) for frame in stack("grey8", 3)]
    animation = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for file, data, variety, says in (
        ("grey8.gif", saved(pillow("grey8"), "GIF"), "GIF", "GIF"), ("animated.gif", animation, "GIF", "GIF"),
        ("rgb8.tga", saved(rgb, "TGA", compression="tga_rle"), "TGA", "TGA"),
        ("rgb8.sgi", saved(rgb, "SGI"), "SGI", "SGI"),
        ("rgb8.ico", saved(rgb, "ICO", sizes=[(32, 26)]), "ICO", "icon"), ("rgb8.dds", saved(rgb, "DDS"), "DDS", "DDS"),
    ):  # fmt: skip
        yield add.refused(file, data, variety, says)
    add = Kept(LIBVIPS, _GROUP, "libvips")
    yield add.refused("rgb8.gif", vips("rgb8").gifsave_buffer(), "GIF", "GIF")
    yield add.refused("rgb8.v", written(".v", lambda path: vips("rgb8").vipssave(path)), "VIPS", "VIPS")
    add = Kept(by("imagecodecs"), _GROUP, "imagecodecs")
    yield add.refused("rgb8.qoi", imagecodecs.qoi_encode(picture("rgb8")), "QOI", "QOI")
    radiance = imagecodecs.rgbe_encode(picture("rgbfloat32"), header=True)
    yield add.refused("rgb.hdr", radiance, "Radiance HDR", "Radiance HDR")
    data = gdal(".pdf", "PDF", picture("rgb8"))
    yield Kept(GDAL, _GROUP, "gdal").refused("rgb8.pdf", data, "PDF", "PDF")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("image.png", (2020, 1, 1, 0, 0, 0)), saved(pillow("grey8"), "PNG"))
    add = Kept(BY_HAND, _GROUP, "hand")
    yield add.refused("image.zip", stream.getvalue(), "ZIP", "zip")
    yield add.refused("drawing.svg", _DRAWING, "SVG", "SVG")
    yield add.refused("page.html", _WEB_PAGE, "HTML", "web page")
