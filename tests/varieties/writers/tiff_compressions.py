"""TIFF by tifffile: compressions and predictors."""

from .arrays import channels_first, squeezed
from .sample import Kept, Samples, by
from .tiff_files import Options, tiff

_ADD = Kept(by("tifffile"), "TIFF: compressions", "tifffile", ".tif")
_TILE: Options = {"tile": (16, 16)}
_LOSSLESS: Options = {"compressionargs": {"lossless": True}}
_EXACT: Options = {"compressionargs": {"level": 1.0}}
_GOOD: Options = {"compressionargs": {"level": 95}}
#: tifffile's name, the variety, pictures, options.
_METHODS: tuple[tuple[str, str, tuple[str, ...], Options], ...] = (
    ("lzw", "LZW", ("grey16",), {}),
    ("deflate", "deflate", ("grey16",), {}),
    ("adobe_deflate", "deflate", ("grey8",), {}),
    ("packbits", "PackBits", ("grey8",), {}),
    ("zstd", "Zstandard", ("grey16",), {}),
    ("lzma", "LZMA", ("grey16",), {}),
    ("png", "PNG", ("grey16", "rgb8"), {}),
    ("jpeg2000", "JPEG 2000", ("grey16", "rgb8"), {}),
    ("aperio_jp2000_rgb", "JPEG 2000", ("rgb8",), {}),
    ("jpegxl", "JPEG XL", ("grey16", "rgb8"), {}),
    ("jpegxl_dng", "JPEG XL", ("grey16",), {}),
    ("jpegxr", "JPEG XR", ("grey16", "rgb8"), _EXACT),
    ("lerc", "LERC", ("float32", "grey16"), {}),
    ("webp", "WebP", ("rgb8", "rgba8"), _LOSSLESS),
)
_LOSSY: tuple[tuple[str, str, str, Options], ...] = (
    ("aperio_jp2000_ycbc", "JPEG 2000", "rgb8", {}),
    ("jpeg_2000_lossy", "JPEG 2000", "rgb8", {}),
    ("jpeg", "JPEG, grey", "grey8", _GOOD),
    ("jpeg", "JPEG, YCbCr", "rgb8", {**_GOOD, "subsampling": (1, 1)}),
)


def compressions() -> Samples:
    """Every compression that tifffile writes."""
    for code, variety, names, options in _METHODS:
        for name in names:
            yield _ADD(f"{code}-{name}", tiff(squeezed(name), compression=code, **_TILE, **options), variety, name)
    for code, variety, name, options in _LOSSY:
        data = tiff(squeezed(name), compression=code, **_TILE, **options)
        yield _ADD(f"{code}-{name}", data, variety, name, compare="lossy 8")
    planar = {"photometric": "rgb", "planarconfig": "separate"}
    data = tiff(channels_first("rgb8"), **planar, compression="jpeg", **_GOOD, **_TILE)
    yield _ADD("jpeg-planar", data, "JPEG, planes of colours", "rgb8", compare="lossy 8")
    for second, variety in (("deflate", "LERC with deflate"), ("zstd", "LERC with Zstandard")):
        data = tiff(squeezed("grey16"), compression="lerc", compressionargs={"compression": second}, **_TILE)
        yield _ADD.refused(f"lerc{second}-grey16", data, variety, "LERC")
    for name, lossless, variety in (("grey12", False, "JPEG, 12 bits"), ("grey16", True, "JPEG, lossless")):
        options = {"lossless": lossless, "bitspersample": int(name[4:])}
        data = tiff(squeezed(name), compression="jpeg", compressionargs=options)
        yield _ADD.refused(f"jpeg-{name}", data, variety, "JPEG of the rare kind")


def predictors() -> Samples:
    """Horizontal and floating-point prediction."""
    for predictor, names in (
        (2, ("grey8", "grey16", "grey32", "grey64", "rgb16")),
        (3, ("float16", "float32", "float64")),
    ):
        for name in names:
            for order in "<>" if name in ("grey16", "float32") else "<":
                options: Options = {"predictor": predictor, "byteorder": order, "compression": "deflate", **_TILE}
                file = f"predictor{predictor}-{name}" + "-big-endian" * (order == ">")
                yield _ADD(file, tiff(squeezed(name), **options), f"predictor {predictor}", name)
