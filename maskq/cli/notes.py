"""What was done to the values of images, on the terminal: each note once, with the images that have it."""

import re

from maskq.producer.client.job import Result

from .terminal import stderr

#: At most this many lines; the rest is in the files of objects.
_MAX_LINES = 12
_NUMBER = re.compile(r"\d[\d,.]*(?<!\.)")
_NO_LUMINANCE = "No object in its luminance: choose a channel with --channels red, green or blue."


class Notes:
    """Collects the notes of results and prints them, grouped; notes that differ in their numbers only are one group."""

    def __init__(self) -> None:
        self._groups: dict[str, list[tuple[str, str]]] = {}

    def add(self, image: str, result: Result) -> None:
        """Collect the notes of an image's result, and a hint if it is a colour image without objects."""
        hints = (_NO_LUMINANCE,) if not result.count and result.channels == ("RGB as luminance",) else ()
        for note in (*result.notes, *hints):
            self._groups.setdefault(_NUMBER.sub("0", note), []).append((image, note))

    def lines(self) -> list[str]:
        """Such as `a.tif: The TIFF …` or `12 images: The TIFF …`, in the order in which they came."""
        lines = [_line(group) for group in self._groups.values()]
        more = len(lines) - _MAX_LINES
        return lines if more <= 0 else [*lines[:_MAX_LINES], f"{more} more kinds of notes are in the .json files"]

    def show(self) -> None:
        """Print the lines on standard error."""
        for line in self.lines():
            stderr.print(line, markup=False, soft_wrap=True)


def _line(group: list[tuple[str, str]]) -> str:
    first, note = group[0]
    images = len({image for image, _ in group})
    if images == 1:
        return f"{first}: {note}"
    same = len({text for _, text in group}) == 1
    return f"{images} images: {note}" if same else f"{images} images, such as {first}: {note}"
