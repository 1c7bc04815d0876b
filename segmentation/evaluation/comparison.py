"""Draw a segmentation's errors: the image, the truth and the prediction, side by side."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..arrays import Labels, Pixels
from ..overlay import Picture, draw, outline, resized, side_by_side
from .metrics import assign, overlaps

_Colour = tuple[int, int, int]

#: Outline colours of objects in both label maps (green), only in the truth (orange) and only in the prediction
#: (magenta). Red-green colour blindness does not confuse orange and magenta with this green.
MATCHED, MISSED, FALSE = (0, 200, 120), (255, 150, 0), (255, 70, 255)
#: Bounds of a panel's longer side, pixels: smaller images are enlarged, larger ones reduced.
_SHORTEST, _LONGEST = 512, 1024
_LINE, _MARGIN, _FONT = 24, 8, 15


def compare(pixels: Pixels, truth: Labels, predicted: Labels, title: str, threshold: float = 0.5) -> Picture:
    """(H, W, C) pixels and two (H, W) label maps → (h, w, 3): image, truth and prediction under a title and a legend.

    Objects without a match at the IoU threshold are outlined in their own colour: `MISSED` in the truth, `FALSE` in the
    prediction. Raises `ValueError` if the shapes differ.
    """
    true_ids, predicted_ids = matched(truth, predicted, threshold)
    small_pixels, small_truth = resized(pixels, truth, _SHORTEST, _LONGEST)
    _, small_predicted = resized(pixels[..., :1], predicted, _SHORTEST, _LONGEST)
    picture = draw(small_pixels, np.zeros(small_truth.shape, np.int32))
    panels = side_by_side(
        picture,
        _outlined(picture, small_truth, true_ids, MISSED),
        _outlined(picture, small_predicted, predicted_ids, FALSE),
    )
    missed, false = len(_ids(truth)) - len(true_ids), len(_ids(predicted)) - len(predicted_ids)
    legend = [(MATCHED, f"matched {len(true_ids)}"), (MISSED, f"missed {missed}"), (FALSE, f"false {false}")]
    return _with_heading(panels, f"{title}     image | truth | found", legend)


def matched(truth: Labels, predicted: Labels, threshold: float) -> tuple[Labels, Labels]:
    """The matched labels (K,) of the truth and of the prediction, by `metrics.match`; both ascending."""
    pairs = overlaps(truth, predicted)
    indices = assign(pairs, threshold)
    return _ids(truth)[np.sort(pairs.rows[indices])], _ids(predicted)[np.sort(pairs.columns[indices])]


def _ids(labels: Labels) -> Labels:
    """The objects' labels, ascending."""
    return np.unique(labels[labels != 0])


def _outlined(picture: Picture, labels: Labels, matched_ids: Labels, unmatched_colour: _Colour) -> Picture:
    """A copy of the picture with its objects outlined, unmatched ones in `unmatched_colour`."""
    copy = picture.copy()
    is_matched = np.isin(labels, matched_ids)
    outline(copy, np.where(is_matched, labels, 0), MATCHED)
    outline(copy, np.where(is_matched, 0, labels), unmatched_colour)
    return copy


def _with_heading(panels: Picture, title: str, legend: list[tuple[_Colour, str]]) -> Picture:
    """The panels below a line of title and a line of legend, widened if a line needs it."""
    font = ImageFont.load_default(_FONT)
    widths = [round(font.getlength(text)) + _LINE + _MARGIN for _, text in legend]
    width = max(panels.shape[1], round(font.getlength(title)) + 2 * _MARGIN, sum(widths) + 2 * _MARGIN)
    canvas = Image.new("RGB", (width, panels.shape[0] + 2 * _LINE), "white")
    canvas.paste(Image.fromarray(panels), (0, 2 * _LINE))
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, _MARGIN // 2), title, "black", font)
    left = _MARGIN
    for (colour, text), entry_width in zip(legend, widths, strict=True):
        pen.rectangle((left, _LINE + 4, left + 14, _LINE + 18), fill=colour)
        pen.text((left + _LINE, _LINE + 2), text, "black", font)
        left += entry_width
    return np.asarray(canvas, np.uint8)
