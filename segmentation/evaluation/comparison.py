"""A picture that shows where a segmentation errs: the image, its truth and what was found, side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..arrays import Labels, Pixels
from ..overlay import Picture, draw, outline, resized, side_by_side
from .metrics import assign, overlaps

#: Outlines of what is in both, of what only the truth has, and of what only was found. Orange and magenta stay apart
#: from green for eyes that take red for green.
MATCHED, MISSED, FALSE = (0, 200, 120), (255, 150, 0), (255, 70, 255)
#: The longer side of a panel, pixels: smaller images are enlarged, larger ones reduced.
_SHORTEST, _LONGEST = 512, 1024
_LINE, _MARGIN, _FONT = 24, 8, 15


def compare(pixels: Pixels, truth: Labels, found: Labels, title: str, threshold: float = 0.5) -> Picture:
    """(H, W, C) pixels and two (H, W) label maps → (h, w, 3): image, truth and found under a title and a legend.

    In the truth, objects that nothing found matches at the IoU threshold stand out; among what was found, those that
    match no true one. Raises `ValueError` where the shapes differ.
    """
    true_ids, found_ids = matched(truth, found, threshold)
    plain, small_truth = resized(pixels, truth, _SHORTEST, _LONGEST)
    _, small_found = resized(pixels[..., :1], found, _SHORTEST, _LONGEST)
    picture = draw(plain, np.zeros(small_truth.shape, np.int32))
    panels = side_by_side(
        picture,
        _outlined(picture, small_truth, true_ids, MISSED),
        _outlined(picture, small_found, found_ids, FALSE),
    )
    missed, false = (np.count_nonzero(np.unique(m)) - len(i) for m, i in ((truth, true_ids), (found, found_ids)))
    legend = [(MATCHED, f"matched {len(true_ids)}"), (MISSED, f"missed {missed}"), (FALSE, f"false {false}")]
    return _headed(panels, f"{title}     image | truth | found", legend)


def matched(truth: Labels, found: Labels, threshold: float) -> tuple[Labels, Labels]:
    """The labels (K,) in the truth and those (K,) found that match, as `metrics.match` counts them; both ascending."""
    pairs = overlaps(truth, found)
    places = assign(pairs, threshold)
    return _ids(truth)[np.sort(pairs.rows[places])], _ids(found)[np.sort(pairs.columns[places])]


def _ids(labels: Labels) -> Labels:
    """The objects' labels, ascending."""
    return np.unique(labels[labels != 0])


def _outlined(picture: Picture, labels: Labels, good: NDArray[np.int32], colour: tuple[int, int, int]) -> Picture:
    """The picture with its matched objects outlined as such, and the others in `colour`."""
    drawn = picture.copy()
    fine = np.isin(labels, good)
    outline(drawn, np.where(fine, labels, 0), MATCHED)
    outline(drawn, np.where(fine, 0, labels), colour)
    return drawn


def _headed(panels: Picture, title: str, legend: list[tuple[tuple[int, int, int], str]]) -> Picture:
    """The panels under a line of title and a line of legend; wider, where the lines need it."""
    font = ImageFont.load_default(_FONT)
    widths = [round(font.getlength(text)) + _LINE + _MARGIN for _, text in legend]
    width = max(panels.shape[1], round(font.getlength(title)) + 2 * _MARGIN, sum(widths) + 2 * _MARGIN)
    canvas = Image.new("RGB", (width, panels.shape[0] + 2 * _LINE), "white")
    canvas.paste(Image.fromarray(panels), (0, 2 * _LINE))
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, _MARGIN // 2), title, "black", font)
    left = _MARGIN
    for (colour, text), wide in zip(legend, widths, strict=True):
        pen.rectangle((left, _LINE + 4, left + 14, _LINE + 18), fill=colour)
        pen.text((left + _LINE, _LINE + 2), text, "black", font)
        left += wide
    return np.asarray(canvas, np.uint8)
