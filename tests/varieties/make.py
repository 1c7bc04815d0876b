"""Writes files/ and expected.csv anew: `python -m tests.varieties.make`, by hand, in an environment of its own.

    pip install rasterio==1.4.4 pyvips[binary]==3.2.0 opencv-python-headless==5.0.0.93 SimpleITK==2.5.7 \
        tifffile==2026.3.3 imagecodecs==2026.3.6 pillow==13.0.0 pillow-heif==1.8.1 pillow-jxl-plugin==1.3.8 \
        bioio-ome-tiff==1.4.0 imageio==2.38.1 scikit-image==0.26.0 pypng==0.20220715.0 nibabel==5.4.2 pydicom==3.0.2 \
        pynrrd==1.1.3 h5py==3.16.0 astropy==8.0.2 numpy==2.4.6

The maskq environment needs none of them: the tests read the files, which are kept. All pictures are formulas
(`pictures.py`), so the files have no other author.
"""

import shutil
import warnings
from collections.abc import Callable

from .expected import FILES, write_expected
from .writers import (
    bmp,
    jpeg,
    microscopes,
    newer_photos,
    other_formats,
    plain_arrays,
    png,
    tiff_compressions,
    tiff_gdal,
    tiff_others,
    tiff_pages,
    tiff_samples,
    tiff_stacks,
)
from .writers.sample import Samples

_WRITERS: tuple[Callable[[], Samples], ...] = (
    png.pillow_png, png.pypng, png.opencv_png, png.other_png,
    jpeg.pillow_jpeg, jpeg.other_jpeg, jpeg.imagecodecs_jpeg,
    newer_photos.webp, newer_photos.jpeg2000, newer_photos.jpeg_xl, newer_photos.not_read,
    bmp.bmp, bmp.colours_by_hand, bmp.palettes_by_hand, plain_arrays.npy, plain_arrays.pnm,
    tiff_samples.types, tiff_samples.layout, tiff_samples.channels, tiff_samples.white_is_zero, tiff_samples.colours,
    tiff_samples.palettes, tiff_compressions.compressions, tiff_compressions.predictors,
    tiff_pages.several, tiff_pages.copies_and_masks, tiff_pages.shaped, tiff_pages.slides,
    tiff_stacks.imagej, tiff_stacks.ome,
    tiff_gdal.samples, tiff_gdal.compressions, tiff_gdal.colours, tiff_gdal.copies_and_masks,
    tiff_others.pillow_layout, tiff_others.pillow_colours, tiff_others.libvips_layout, tiff_others.libvips_colours,
    tiff_others.opencv, tiff_others.science, tiff_others.bioio,
    microscopes.microscopes, other_formats.volumes, other_formats.pictures_and_documents,
)  # fmt: skip


def main() -> None:
    """Write all files anew."""
    warnings.simplefilter("ignore")
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    rows = []
    for write in _WRITERS:
        for expected, data in write():
            if (FILES / expected.file).exists():
                raise SystemExit(f"two files {expected.file}")
            (FILES / expected.file).write_bytes(data)
            rows.append(expected)
    write_expected(rows)
    size = sum(path.stat().st_size for path in FILES.iterdir())
    print(f"{len(rows)} files, {len({(row.format, row.variety) for row in rows})} varieties, {size:,} bytes")


if __name__ == "__main__":
    main()
