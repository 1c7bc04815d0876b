"""Whole slides as sources, in the structures that the vendors write."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from maskq import InvalidJob, Options
from maskq.producer.settings import ClientSettings
from maskq.testing import FakeClient
from tests.container_files import slide_picture, write_ndpi, write_ome_pyramid, write_scn, write_svs
from tests.containers import Sent

PICTURE = slide_picture()
STAINS = np.random.default_rng(1).integers(0, 3000, (3, 200, 300), dtype=np.uint16)


def refused(source: Any, settings: ClientSettings | None = None, **options: Any) -> str:
    with pytest.raises(InvalidJob) as raised:
        FakeClient(settings=settings).submit(source, options=Options(**options))
    return str(raised.value)


@pytest.fixture(scope="module")
def svs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_svs(tmp_path_factory.mktemp("svs") / "slide.svs", PICTURE)


def test_an_aperio_slide_is_its_full_image_in_colour(svs: Path) -> None:
    sent = Sent(svs)
    assert sent.axes == "YXS"
    assert np.array_equal(sent.pixels, PICTURE)
    assert sent.pixel_size == (0.5, 0.5)
    assert sent.spec.name == "slide.svs"


def test_a_level_of_a_slide(svs: Path) -> None:
    sent = Sent(svs, level=1)
    assert np.array_equal(sent.pixels, PICTURE[::4, ::4])
    assert sent.pixel_size == (2.0, 2.0)


def test_a_region_is_given_in_pixels_of_the_full_image(svs: Path) -> None:
    sent = Sent(svs, region=(100, 200, 300, 400))
    assert np.array_equal(sent.pixels, PICTURE[200:600, 100:400])
    sent = Sent(svs, region=(100, 200, 300, 400), level=1)
    assert np.array_equal(sent.pixels, PICTURE[200:600:4, 100:400:4])
    assert sent.spec.name == "slide.svs [level 1, x=100 y=200 w=300 h=400]"
    assert sent.spec.options == Options()


def test_a_resolution_is_the_next_finer_level_resized(svs: Path) -> None:
    sent = Sent(svs, resolution=1)
    assert sent.pixels.shape == (600, 800, 3)
    assert sent.pixel_size == (1.0, 1.0)
    assert sent.spec.name == "slide.svs [1 µm per pixel]"
    blocks = PICTURE.reshape(600, 2, 800, 2, 3).mean(axis=(1, 3))
    assert abs(sent.pixels.astype(float) - blocks).mean() < 2
    assert Sent(svs, resolution=2.6).pixels.shape == (231, 308, 3)  # 300 × 400 of 2 µm


def test_a_level_of_nearly_the_resolution_is_not_resized(svs: Path) -> None:
    sent = Sent(svs, resolution=1.99)
    assert np.array_equal(sent.pixels, PICTURE[::4, ::4])
    assert sent.pixel_size == (2.0, 2.0)


def test_what_a_slide_does_not_have_is_refused_with_what_it_has(svs: Path) -> None:
    levels = "level 0 is 1600 × 1200 (0.5 µm per pixel), level 1 is 400 × 300 (2 µm per pixel)"
    assert refused(svs, level=2) == f"slide.svs: no level 2; {levels}"
    assert refused(svs, resolution=0.1) == f"slide.svs: no level is as fine as 0.1 µm per pixel; {levels}"
    assert "level or resolution, not both" in refused(svs, resolution=1, level=0)
    assert "is not inside the full image of 1600 × 1200" in refused(svs, region=(1500, 0, 200, 100))
    assert "no scene 2; it has 1" in refused(svs, scene=2)


def test_a_slide_over_the_limits_is_refused_with_its_levels(svs: Path) -> None:
    message = refused(svs, ClientSettings(max_pixels=1_000_000))
    assert "1600 × 1200 is over the limit of 1,000,000 pixels" in message
    assert "level, resolution or region" in message
    assert "level 1 is 400 × 300" in message
    assert Sent(svs, ClientSettings(max_pixels=1_000_000), level=1).pixels.shape == (300, 400, 3)


def test_without_a_pixel_size_the_resolution_is_refused(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", PICTURE, micrometres=None)
    assert Sent(path).pixel_size is None
    assert "its pixel size is unknown, so give the option level" in refused(path, resolution=1)


@pytest.mark.parametrize("restart", [False, True], ids=["one JPEG", "restart markers"])
def test_a_hamamatsu_slide_without_its_macro(tmp_path: Path, restart: bool) -> None:
    path = write_ndpi(tmp_path / "a.ndpi", PICTURE, restart)
    sent = Sent(path, region=(0, 100, 1600, 1000))
    assert abs(sent.pixels.astype(int) - PICTURE[100:1100]).mean() < 2.5  # JPEG of a noisy picture
    assert sent.pixel_size == pytest.approx((0.46, 0.46), rel=1e-6)
    assert Sent(path, level=1).pixels.shape == (300, 400, 3)


def test_a_leica_slide_without_its_macro(tmp_path: Path) -> None:
    path = write_scn(tmp_path / "a.scn", PICTURE)
    sent = Sent(path)
    assert np.array_equal(sent.pixels, PICTURE)
    assert sent.pixel_size == (0.5, 0.5)
    assert np.array_equal(Sent(path, level=1).pixels, PICTURE[::4, ::4])


def test_a_fluorescence_pyramid_keeps_its_channels(tmp_path: Path) -> None:
    path = write_ome_pyramid(tmp_path / "a.ome.tif", STAINS).rename(tmp_path / "a.qptiff")
    sent = Sent(path, level=1, channels="stain 1")
    assert (sent.axes, sent.channels) == ("CYX", ["stain 0", "stain 1", "stain 2"])
    assert np.array_equal(sent.pixels[1], STAINS[1, ::2, ::2])
    assert sent.pixels[0].max() == sent.pixels[2].max() == 0
    assert sent.pixel_size == (0.65, 0.65)


def test_an_akoya_slide_names_its_channels(tmp_path: Path) -> None:
    names = ("DAPI", "CD8", "PanCK")
    with tifffile.TiffWriter(tmp_path / "a.qptiff") as file:
        for stain, name in zip(STAINS, names, strict=True):
            xml = f"<?xml version='1.0'?><PerkinElmer-QPI-ImageDescription><Name>{name}</Name>"
            file.write(
                stain,
                description=f"{xml}</PerkinElmer-QPI-ImageDescription>",
                software="PerkinElmer-QPI",
                tile=(64, 64),
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    sent = Sent(tmp_path / "a.qptiff", channels="CD8")
    assert sent.channels == list(names)
    assert np.array_equal(sent.pixels[1], STAINS[1])
    assert sent.pixel_size == (0.5, 0.5)


def test_a_generic_pyramid_of_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.qptiff") as file:
        tiled: dict[str, Any] = {"tile": (64, 64), "metadata": None}
        file.write(STAINS[0], resolution=(20_000, 10_000), resolutionunit="CENTIMETER", **tiled)
        file.write(STAINS[0, ::2, ::2], subfiletype=1, **tiled)
        file.write(STAINS[0, ::4, ::4], subfiletype=1, **tiled)
    sent = Sent(tmp_path / "a.qptiff", level=2)
    assert np.array_equal(sent.pixels, STAINS[0, ::4, ::4])
    assert sent.pixel_size == (4.0, 2.0)


def test_aperio_jpeg_2000_of_another_colour_space_becomes_rgb(tmp_path: Path) -> None:
    stored = np.array(Image.fromarray(PICTURE[300:556, 300:556]).convert("YCbCr"))
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        file.write(
            stored,
            photometric="rgb",
            tile=(256, 256),
            compression=33003,
            compressionargs={"level": 90},
            description="Aperio Image Library v10|MPP = 0.5",
            metadata=None,
        )
    sent = Sent(tmp_path / "a.svs")
    assert abs(sent.pixels.astype(int) - PICTURE[300:556, 300:556]).mean() < 3  # lossy, of a noisy picture


def test_missing_tiles_of_a_slide_are_white(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        file.write(
            iter([PICTURE[:256, :256], None]),
            shape=(256, 512, 3),
            dtype=np.uint8,
            photometric="rgb",
            tile=(256, 256),
            description="Aperio Image Library v10|MPP = 0.5",
            metadata=None,
        )
    sent = Sent(tmp_path / "a.svs")
    assert np.array_equal(sent.pixels[:, :256], PICTURE[:256, :256])
    assert sent.pixels[:, 256:].min() == 255


@pytest.mark.parametrize(
    ("shape", "metadata"),
    [((201, 303), {}), ((201, 303, 3), {}), ((2, 201, 303), {}), ((201, 303), None), ((201, 303, 3), None)],
)
def test_levels_in_subifds(tmp_path: Path, shape: tuple[int, ...], metadata: Any) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, shape, dtype=np.uint8)
    colour = shape[-1] == 3
    options: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb" if colour else "minisblack"}
    axes = {"axes": "ZYX"} if len(shape) == 3 and not colour else {}
    with tifffile.TiffWriter(tmp_path / "a.qptiff") as file:
        file.write(pixels, subifds=2, metadata=None if metadata is None else axes, **options)
        for step in (2, 4):
            reduced = pixels[::step, ::step] if not axes else pixels[:, ::step, ::step]
            file.write(reduced, subfiletype=1, metadata=metadata, **options)
    assert np.array_equal(Sent(tmp_path / "a.qptiff", level=2, planes="all").pixels, reduced)


def test_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.qptiff", 4095 - STAINS[0], photometric="miniswhite")
    assert np.array_equal(Sent(tmp_path / "a.qptiff", region=(0, 0, 300, 200)).pixels, 65_535 - (4095 - STAINS[0]))


def test_a_tiff_without_a_part_is_sent_as_it_is(tmp_path: Path) -> None:
    path = write_ome_pyramid(tmp_path / "a.ome.tif", STAINS)
    job = FakeClient().submit(path)
    assert job.image() == path.read_bytes()


def test_a_tiff_that_is_too_large_to_send_names_its_levels(tmp_path: Path) -> None:
    path = write_ome_pyramid(tmp_path / "a.ome.tif", STAINS)
    settings = ClientSettings(max_bytes=50_000)
    assert "choose less with the options" in refused(path, settings, channels=1)
    assert Sent(path, settings, channels=1, level=1).pixels.shape == (3, 100, 150)


def test_bytes_of_a_tiff_are_read_if_only_the_client_can(tmp_path: Path) -> None:
    data = write_ome_pyramid(tmp_path / "a.ome.tif", STAINS, micrometres=0.5).read_bytes()
    assert Sent(data, resolution=1, channels=1).pixels.shape == (3, 100, 150)
    assert "resolution is for slides" in refused(b"\x89PNG", resolution=1)
    assert "region=tissue is for slides" in refused(np.zeros((4, 4), np.uint8), region="tissue")


def test_a_file_that_is_no_slide_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"no slide")
    assert refused(tmp_path / "a.svs").startswith("a.svs: can't be read as whole slide (")


def test_equal_parts_are_equal_bytes(svs: Path) -> None:
    assert Sent(svs, level=1).data == Sent(svs, level=1).data


@pytest.mark.parametrize(
    ("pixels", "written"),
    [
        (PICTURE[:64, :64], {"photometric": "ycbcr", "compression": "zlib"}),
        (np.dstack([PICTURE[:64, :64], STAINS[0, :64, :64]]), {"photometric": "rgb", "extrasamples": ["unspecified"]}),
        (np.dstack([STAINS[0]] * 2), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
        (PICTURE[:64, :64, 0], {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}),
        (np.dstack([PICTURE[:64, :64]] * 2)[..., :4], {"photometric": "separated"}),
        (STAINS[0].astype(np.float16), {"photometric": "minisblack"}),
        (STAINS[0] > 1500, {"photometric": "minisblack"}),
    ],
)
def test_kinds_that_only_workers_read_are_refused_if_the_client_must_read(
    tmp_path: Path, pixels: Any, written: Any
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, metadata=None, **written)
    said = refused(path, ClientSettings(max_bytes=100))
    assert "can't be sent; store them as" in said or "leave out the options resolution and region=tissue" in said
    assert refused(path, region="tissue").startswith("a.tif: ")


@pytest.mark.parametrize("value", [-9999.0, float(np.finfo(np.float32).min)])
def test_floats_without_data_are_nan_as_workers_read_them(tmp_path: Path, value: float) -> None:
    pixels = np.ones((20, 30), np.float32)
    pixels[2, 3] = value
    tifffile.imwrite(tmp_path / "a.qptiff", pixels, metadata=None, extratags=[(42113, 2, 0, repr(value), True)])
    sent = Sent(tmp_path / "a.qptiff", region=(0, 0, 10, 10), nan_as_background=True)
    assert np.isnan(sent.pixels[2, 3]) and np.isnan(sent.pixels).sum() == 1


def test_the_pixel_size_of_a_printer_is_not_believed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.qptiff", STAINS[0], resolution=(2400, 2400), resolutionunit="INCH", metadata=None)
    assert Sent(tmp_path / "a.qptiff", region=(0, 0, 10, 10)).pixel_size is None


@pytest.mark.parametrize("unit", ["\\u00B5m", "micron", "microns"])
def test_imagejs_names_of_the_micrometre_are_known(tmp_path: Path, unit: str) -> None:
    tifffile.imwrite(tmp_path / "a.qptiff", STAINS[0], imagej=True, resolution=(2, 4), metadata={"unit": unit})
    assert Sent(tmp_path / "a.qptiff", region=(0, 0, 10, 10)).pixel_size == (0.25, 0.5)


def test_a_tiff_without_resolution_tags_has_no_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.qptiff", STAINS[0], imagej=True, metadata={"unit": "micron"}, byteorder="<")
    data = (tmp_path / "a.qptiff").read_bytes()
    for tag in (282, 283):  # becomes another number
        data = data.replace(struct.pack("<HH", tag, 5), struct.pack("<HH", 65_000 + tag, 5))
    (tmp_path / "a.qptiff").write_bytes(data)
    assert Sent(tmp_path / "a.qptiff").pixel_size is None


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.btf"])
def test_the_part_of_a_tiff_is_left_to_workers(tmp_path: Path, name: str) -> None:
    tifffile.imwrite(tmp_path / name, STAINS[0], photometric="miniswhite", imagej=False)
    for options in (Options(region=(0, 0, 9, 9)), Options(level=0), Options(level=0, region=(0, 0, 9, 9))):
        job = FakeClient().submit(tmp_path / name, options=options, reuse=False)
        assert job.image() == (tmp_path / name).read_bytes()
        assert (job.status().spec.options, job.status().spec.name) == (options, name)
