"""Units of length in micrometres."""

import math

#: Micrometres of a unit, by the names that programs write, in lower case.
_MICROMETRES = {
    "å": 1e-4, "pm": 1e-6, "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3, "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "m": 1e6, "meter": 1e6, "metre": 1e6, "inch": 25_400.0, "in": 25_400.0,
}  # fmt: skip


def pixel_size_of(
    height: float, width: float, unit: str, y_unit: str | None = None, x_unit: str | None = None
) -> tuple[float, float] | None:
    """Height and width of a pixel in micrometres; None if the unit is not one of length, or the size not positive."""
    scales = [_MICROMETRES.get((one or unit).strip().lower()) for one in (y_unit, x_unit)]
    sizes = [value * scale for value, scale in zip((height, width), scales, strict=True) if scale is not None]
    if len(sizes) < 2 or not all(math.isfinite(size) and size > 0 for size in sizes):
        return None
    return sizes[0], sizes[1]
