"""The interface of a result format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import FormatNotApplicable, FormatUnavailable
from .atomic_file import atomic_file

if TYPE_CHECKING:
    from ..client.job import Result


@dataclass(frozen=True)
class FormatOptions:
    """How to write a result. A format ignores what does not concern it."""

    image: bytes = b""
    """The image file that was submitted, for formats that draw it."""
    simplify: float = 0.0
    """Leave out corners of polygons that are nearer than this to the line without them, pixels; 0 keeps all, so that
    the polygons are the labels exactly."""


class Dataset(Protocol):
    """A data set of many images in a folder, written one result at a time in constant memory."""

    def add(self, result: Result, name: str, options: FormatOptions) -> Path:
        """Add a result under the image's `name` without ending; returns the file that it is in, or will be in."""

    def close(self) -> None:
        """Complete the data set."""


@dataclass(frozen=True)
class ResultFormat:
    """A kind of file that represents the result of a job."""

    #: The name that `--format`, `Result.to` and `?format=` take.
    name: str
    #: What the file is, for people.
    title: str
    #: The file name endings that `ending` can return, each with its media type.
    media_types: Mapping[str, str]
    #: The file's bytes, in pieces.
    chunks: Callable[[Result, FormatOptions], Iterable[bytes]]
    #: The ending of a result's file, if there are several.
    choose_ending: Callable[[Result], str] | None = None
    #: Whether the pieces are made one after the other, so that the file is never in memory as a whole.
    streamable: bool = False
    #: Whether `FormatOptions.image` is needed.
    needs_image: bool = False
    #: Whether stacks can be written.
    stacks: bool = True
    #: The packages that writing needs, and the extra of maskq that installs them.
    packages: tuple[str, ...] = ()
    extra: str = "formats"
    #: Begins a data set of many images in a folder, if the format has one; `chunks` then gives a data set of one image.
    dataset: Callable[[Path], Dataset] | None = None
    #: Writes a folder instead of a file, if the format is one; its ending is `folder_ending`, and `chunks` gives a zip.
    write_folder: Callable[[Result, Path, FormatOptions], None] | None = None
    folder_ending: str = ""

    def ending(self, result: Result) -> str:
        """The ending of the file that `chunks` gives, such as `.labels.png`."""
        return self.choose_ending(result) if self.choose_ending else next(iter(self.media_types))

    def media_type(self, result: Result) -> str:
        """The media type of the file that `chunks` gives."""
        return self.media_types[self.ending(result)]

    def encode(self, result: Result, options: FormatOptions = FormatOptions()) -> bytes:
        """The whole file. Raises the errors of `check`."""
        self.check(result, options)
        return b"".join(self.chunks(result, options))

    def write(self, result: Result, path: Path, options: FormatOptions = FormatOptions()) -> None:
        """Write the file or, if the format is one and the path isn't that of a zip, the folder.

        Raises the errors of `check`.
        """
        self.check(result, options)
        with atomic_file(path) as part:
            if self.write_folder and path.suffix != ".zip":
                self.write_folder(result, part, options)
            else:
                with part.open("wb") as file:
                    file.writelines(self.chunks(result, options))

    def check(self, result: Result, options: FormatOptions = FormatOptions()) -> None:
        """Raises `FormatNotApplicable` or `FormatUnavailable` if this result can't be written."""
        self.check_installed()
        if result.planes and not self.stacks:
            raise FormatNotApplicable(f"the format {self.name} has no stacks, and {result.job.spec.name} is one")
        if self.needs_image and not options.image:
            raise FormatNotApplicable(f"the format {self.name} draws the image: give the image file, as of `Job.image`")

    def check_installed(self) -> None:
        """Raises `FormatUnavailable` if a package is missing."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            raise FormatUnavailable(
                f'the format {self.name} needs {", ".join(missing)}: pip install "maskq[{self.extra}]"'
            )
