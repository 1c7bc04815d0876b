"""Lengths in micrometres."""

#: Micrometres of each unit, by its name in OME-NGFF, OME-XML and ImageJ.
_MICROMETRES = {
    **dict.fromkeys(("angstrom", "å", "Å"), 1e-4),
    **dict.fromkeys(("picometer", "pm"), 1e-6),
    **dict.fromkeys(("nanometer", "nanometre", "nm"), 1e-3),
    **dict.fromkeys(("micrometer", "micrometre", "micron", "microns", "um", "µm", "μm"), 1.0),
    **dict.fromkeys(("millimeter", "millimetre", "mm"), 1e3),
    **dict.fromkeys(("centimeter", "centimetre", "cm"), 1e4),
    **dict.fromkeys(("meter", "metre", "m"), 1e6),
    **dict.fromkeys(("inch", "in"), 25_400.0),
}


def micrometres(value: float, unit: str | None) -> float | None:
    """The length in micrometres; None if it is not positive, or the unit is missing or no length."""
    factor = _MICROMETRES.get((unit or "").strip())
    return value * factor if factor and value > 0 else None
