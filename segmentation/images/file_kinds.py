"""What a file is that maskq does not read, by its first bytes, and what to do with it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PNG_OR_TIFF = "save it as PNG or TIFF"
_CLIENT = "give it to the client or `maskq run` by its path, with maskq[microscopy] installed, or save it as OME-TIFF"
_VOLUME = "save its planes as a TIFF stack"
_ARRAY = "save the image in it as a .npy array or TIFF"
_UNPACK = "unpack it first"
_RAW = "develop it to TIFF with a raw converter"
_VIDEO = "save its frames as PNG files or a TIFF stack"
_DOCUMENT = "save the picture in it as PNG or TIFF"
_VECTOR = "it has no pixels: export it as PNG"
_DOWNLOAD = "check the download"


@dataclass(frozen=True)
class FileKind:
    """A kind of file, with its article as it stands in a sentence, and what its owner can do."""

    name: str
    advice: str


#: Offset of the bytes, the bytes, and what begins so. The first match counts.
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    # Microscopes
    (0, b"ZISRAWFILE", "a CZI (Zeiss)", _CLIENT),
    (0, b"\xda\xce\xbe\x0a", "an ND2 (Nikon)", _CLIENT),
    (0, b"\x70\0\0\0", "a LIF (Leica)", _CLIENT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE file: an OIB (Olympus), ZVI (Zeiss) or older Office document",
     "save the image in it as OME-TIFF"),
    (0, b"\xff\xfe[\0", "an OIF (Olympus) or another settings file", "save the image as OME-TIFF"),
    (0, b"SIS\0", "the ETS part of a VSI (Olympus)", "save the image as OME-TIFF"),
    (0, b"\0\0\0\x03", "a DM3 (Gatan)", _PNG_OR_TIFF),
    (0, b"\0\0\0\x04", "a DM4 (Gatan)", _PNG_OR_TIFF),
    (0, b"Andor Technology", "an SIF (Andor)", _VOLUME),
    (0, b"DCIMG", "a DCIMG (Hamamatsu)", _VOLUME),
    (0, b"\xfe\xed\0\0", "a SEQ (StreamPix)", _VOLUME),
    (54, b"\x39\x30", "a PIC (Bio-Rad)", _VOLUME),
    (2996, b"\x67\x45\x23\x01", "an SPE (Princeton Instruments)", _VOLUME),
    (4098, b"\x55\x55", "an SPE (Princeton Instruments)", _VOLUME),
    # Volumes
    (128, b"DICM", "a DICOM", "save the image in it as PNG or TIFF, with its own program or pydicom"),
    (344, b"n+1\0", "a NIfTI", _VOLUME),
    (344, b"ni1\0", "a NIfTI header", _VOLUME),
    (4, b"n+2\0\r\n\x1a\n", "a NIfTI", _VOLUME),
    (0, b"\x5c\x01\0\0", "an Analyze or NIfTI header", _VOLUME),
    (0, b"\0\0\x01\x5c", "an Analyze or NIfTI header", _VOLUME),
    (0, b"NRRD000", "an NRRD", _VOLUME),
    (0, b"ObjectType", "a MetaImage", _VOLUME),
    (0, b"NDims", "a MetaImage", _VOLUME),
    (208, b"MAP ", "an MRC or CCP4 map", _VOLUME),
    (0, b"SIMPLE  =", "a FITS", _VOLUME),
    (0, b"# vtk DataFile", "a VTK", _VOLUME),
    # Arrays
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 (also Imaris .ims, .h5, .mat 7.3 and NetCDF 4)", _ARRAY),
    (512, b"\x89HDF\r\n\x1a\n", "an HDF5 (also MATLAB 7.3)", _ARRAY),
    (0, b"CDF\x01", "a NetCDF", _ARRAY),
    (0, b"CDF\x02", "a NetCDF", _ARRAY),
    (0, b"CDF\x05", "a NetCDF", _ARRAY),
    (0, b"MATLAB 5.0", "a MATLAB file", _ARRAY),
    (0, b"PAR1", "a Parquet table", _ARRAY),
    (0, b"ARROW1", "an Arrow table", _ARRAY),
    (0, b"SQLite format 3", "an SQLite database", _ARRAY),
    # Pictures
    (0, b"GIF8", "a GIF", "save the picture as PNG"),
    (0, b"II\xbc", "a JPEG XR", _PNG_OR_TIFF),
    (0, b"\xff\xd8\xff\xf7", "a JPEG-LS", _PNG_OR_TIFF),
    (0, b"P1\n", "a PBM", _PNG_OR_TIFF),
    (0, b"P4\n", "a PBM", _PNG_OR_TIFF),
    (0, b"P2\n", "a PGM as text", _PNG_OR_TIFF),
    (0, b"P3\n", "a PPM as text", _PNG_OR_TIFF),
    (0, b"P7\n", "a PAM", _PNG_OR_TIFF),
    (0, b"PF\n", "a PFM", _PNG_OR_TIFF),
    (0, b"Pf\n", "a PFM", _PNG_OR_TIFF),
    (0, b"qoif", "a QOI", _PNG_OR_TIFF),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR", _PNG_OR_TIFF),
    (0, b"#?RADIANCE", "a Radiance HDR", _PNG_OR_TIFF),
    (0, b"#?RGBE", "a Radiance HDR", _PNG_OR_TIFF),
    (0, b"DDS ", "a DDS texture", _PNG_OR_TIFF),
    (0, b"\0\0\x01\0", "a Windows icon", _PNG_OR_TIFF),
    (0, b"\0\0\x02\0", "a Windows cursor", _PNG_OR_TIFF),
    (0, b"icns", "a macOS icon", _PNG_OR_TIFF),
    (0, b"BA", "an OS/2 bitmap array", _PNG_OR_TIFF),
    (0, b"8BPS", "a Photoshop document", _PNG_OR_TIFF),
    (0, b"gimp xcf", "a GIMP document", _PNG_OR_TIFF),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster", _PNG_OR_TIFF),
    (0, b"\x01\xda", "an SGI picture", _PNG_OR_TIFF),
    (0, b"\x0a\x05\x01", "a PCX", _PNG_OR_TIFF),
    (0, b"farbfeld", "a farbfeld picture", _PNG_OR_TIFF),
    (0, b"\xb6\xa6\xf2\x08", "a VIPS image", _PNG_OR_TIFF),
    (0, b"\x08\xf2\xa6\xb6", "a VIPS image", _PNG_OR_TIFF),
    (0, b"BPG\xfb", "a BPG", _PNG_OR_TIFF),
    (0, b"FLIF", "a FLIF", _PNG_OR_TIFF),
    (0, b"AT&TFORM", "a DjVu", _PNG_OR_TIFF),
    (0, b"\x8aMNG", "an MNG animation", _VIDEO),
    (0, b"\x8bJNG", "a JNG", _PNG_OR_TIFF),
    (0, b"FUJIFILMCCD-RAW", "a camera raw file (Fujifilm)", _RAW),
    (0, b"IIU\0", "a camera raw file (Panasonic)", _RAW),
    (0, b"IIRO", "a camera raw file (Olympus)", _RAW),
    (0, b"IIRS", "a camera raw file (Olympus)", _RAW),
    (0, b"\0MRM", "a camera raw file (Minolta)", _RAW),
    # Documents, videos, archives
    (0, b"%PDF", "a PDF", _DOCUMENT),
    (0, b"%!PS", "a PostScript file", _DOCUMENT),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS", _DOCUMENT),
    (0, b"{\\rtf", "an RTF document", _DOCUMENT),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile", _VECTOR),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", _VIDEO),
    (0, b"\0\0\x01\xba", "an MPEG video", _VIDEO),
    (0, b"\0\0\x01\xb3", "an MPEG video", _VIDEO),
    (0, b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (0, b"\x1f\x8b", "a gzip archive (also .nii.gz and .tar.gz)", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    # What stands in an image's place
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch the file it stands for: git lfs pull"),
    (0, b"\0\x05\x16\x07", "a macOS side file (its name begins with ._)", "send the file without ._ in its name"),
    (0, b"bplist00", "an Apple property list", _DOWNLOAD),
    (0, b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut", "send the file it points to"),
    (0, b"data:image/", "a data URL", "decode its base64 part, and send the bytes"),
    (0, b"iVBORw0KGgo", "a PNG in base64", "decode it, and send the bytes"),
    (0, b"/9j/", "a JPEG in base64", "decode it, and send the bytes"),
    (0, b"SUkqA", "a TIFF in base64", "decode it, and send the bytes"),
    (0, b"TU0AK", "a TIFF in base64", "decode it, and send the bytes"),
)  # fmt: skip

#: Brands of files that begin with an `ftyp` box.
_BRANDS: tuple[tuple[bytes, FileKind], ...] = (
    (b"avi", FileKind("an AVIF", _PNG_OR_TIFF)),
    (b"hei", FileKind("a HEIC", _PNG_OR_TIFF)),
    (b"hev", FileKind("a HEIC sequence", _PNG_OR_TIFF)),
    (b"mif", FileKind("a HEIF or AVIF", _PNG_OR_TIFF)),
    (b"msf", FileKind("a HEIF sequence", _PNG_OR_TIFF)),
    (b"crx", FileKind("a camera raw file (Canon CR3)", _RAW)),
)
_RIFF = {
    b"AVI ": FileKind("an AVI video", _VIDEO),
    b"WAVE": FileKind("a WAV sound", "send an image"),
}
#: A name inside a zip archive, and what the archive is then.
_ZIPPED: tuple[tuple[bytes, FileKind], ...] = (
    (b".npy", FileKind("a NumPy .npz archive", "send one array of it as .npy")),
    (b".zarr", FileKind("a zipped Zarr", "unpack it, and give the folder's path to the client")),
    (b".zattrs", FileKind("a zipped Zarr", "unpack it, and give the folder's path to the client")),
    (b".zgroup", FileKind("a zipped Zarr", "unpack it, and give the folder's path to the client")),
    (b"zarr.json", FileKind("a zipped Zarr", "unpack it, and give the folder's path to the client")),
    (b"[Content_Types].xml", FileKind("an Office document", _DOCUMENT)),
    (b"mimetype", FileKind("an OpenDocument, OpenRaster or EPUB file", _DOCUMENT)),
    (b"data.pkl", FileKind("a PyTorch file", _ARRAY)),
)
#: Text, by what it contains in its first kilobyte, in small letters.
_TEXTS: tuple[tuple[bytes, FileKind], ...] = (
    (b"<svg", FileKind("an SVG drawing", _VECTOR)),
    (b"<html", FileKind("a web page", f"{_DOWNLOAD}: it may be an error page or a login")),
    (b"<!doctype html", FileKind("a web page", f"{_DOWNLOAD}: it may be an error page or a login")),
    (b"<ome", FileKind("OME-XML", "send the OME-TIFF file it belongs to")),
    (b"<?xml", FileKind("an XML text", f"{_DOWNLOAD}: it may be an error message")),
    (b"zarr_format", FileKind("a Zarr's metadata", "give the path of its folder to the client")),
    (b"ics_version", FileKind("an ICS", _VOLUME)),
    (b"{\\rtf", FileKind("an RTF document", _DOCUMENT)),
)
_HEAD = 1024
_PRINTABLE = re.compile(rb"[\t\n\r\f\x20-\x7e\x80-\xff]+")


def recognise(data: bytes) -> FileKind:
    """The kind of a file that is no image which maskq reads."""
    if not data:
        return FileKind("an empty file", _DOWNLOAD)
    if data[4:8] == b"ftyp":
        return _first(_BRANDS, data[8:12]) or FileKind("an MP4 or QuickTime video", _VIDEO)
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], FileKind("a RIFF file", _PNG_OR_TIFF))
    if data[:4] == b"PK\x03\x04":
        names = data[:_HEAD] + data[-_HEAD:]
        return _first(_ZIPPED, names) or FileKind("a zip archive", _UNPACK)
    for offset, magic, name, advice in _MAGIC:
        if data.startswith(magic, offset):
            return FileKind(name, advice)
    if data[:1] == b"\x80" and data[1:2] in (b"\2", b"\3", b"\4", b"\5") and data.endswith(b"."):
        return FileKind("a Python pickle, which maskq never loads", _ARRAY)
    if data[-18:-1] == b"TRUEVISION-XFILE.":
        return FileKind("a TGA", _PNG_OR_TIFF)
    return _text(data[:_HEAD]) or FileKind("of an unknown kind", "save it as PNG or TIFF")


def is_dicom(data: bytes) -> bool:
    """Whether a file is a DICOM, whatever its preamble looks like: a TIFF's header can stand there."""
    return data.startswith(b"DICM", 128)


def _first(kinds: Iterable[tuple[bytes, FileKind]], text: bytes) -> FileKind | None:
    """The first kind whose bytes are in the text."""
    return next((kind for part, kind in kinds if part in text), None)


def _text(head: bytes) -> FileKind | None:
    """The kind of a text, or None if it has control characters. UTF-16 passes by its byte order mark."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.replace(b"\0", b"")
    if not _PRINTABLE.fullmatch(head):
        return None
    lower = head.lower().lstrip(b"\xef\xbb\xbf \t\r\n")
    if kind := _first(_TEXTS, lower):
        return kind
    if lower.startswith((b"{", b"[")):
        return FileKind("a JSON text", f"{_DOWNLOAD}: it may be an error message")
    lines = lower.splitlines()[:2]
    if len(lines) > 1 and any(min(line.count(mark) for line in lines) for mark in (b",", b";", b"\t")):
        return FileKind("a table as text (CSV)", _ARRAY)
    return FileKind("a text", _DOWNLOAD)
