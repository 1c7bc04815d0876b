"""Standard output, standard error, and what is shown while processes start and images are run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from maskq.producer.client.paths import skipped
from maskq.producer.printable import printable

#: A column of text is at least as wide as its header, or this many characters.
_MIN_COLUMN = 6

#: Wider than any table, characters.
_UNBOUNDED = 1_000_000


class PrintableConsole(Console):
    """A console that shows unprintable characters as Python writes them, such as `\\x1b`."""

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """As rich renders it, with printable text."""
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def show(self, table: "PlainTable") -> None:
        """Print a table: on a terminal in its width, in a pipe or a file as wide as its content."""
        if not self.is_terminal:
            table.width = self.measure(table, options=self.options.update(max_width=_UNBOUNDED)).maximum
        elif table.narrowest > self.width:
            table.width = table.narrowest
        self.print(table, crop=False)


class PlainTable(Table):
    """A table of text: what is too long for its column goes on in the next line, and nothing is read as markup."""

    def __init__(self, *headers: str, whole: str = "", **options: Any) -> None:
        """The cells of the column `whole`, such as job ids, are never split; `options` are those of rich's table."""
        super().__init__(**options)
        for header in headers:
            width = min(len(header), _MIN_COLUMN)
            self.add_column(Text(printable(header)), overflow="fold", no_wrap=header == whole, min_width=width)

    @property
    def narrowest(self) -> int:
        """The width with which rich leaves no column out, characters."""
        return 1 + sum((column.min_width or 1) + 3 for column in self.columns)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of text; a cell that is a rich `Text` keeps its style."""
        texts = [Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells]
        for column, text in zip(self.columns, texts, strict=False):
            if column.no_wrap:
                column.min_width = max(column.min_width or 0, text.cell_len)
        super().add_row(*texts, **options)


stdout, stderr = PrintableConsole(highlight=False), PrintableConsole(stderr=True, highlight=False)

#: At most this many skipped files are named.
_SHOWN = 3
#: What a process does before it is ready. A name that is not here is a device's.
_STARTUP = {
    "redis": "starting redis",
    "cluster": "compiling kernels",
    "flower": "starting Flower",
    "gateway": "starting the gateway",
}


def print_error(message: str) -> None:
    """Print what went wrong with one image or job on standard error, in red."""
    stderr.print(message, style="red", markup=False, soft_wrap=True)


def show_skipped(paths: Iterable[str], *, recursive: bool = False) -> None:
    """Say on standard error how many files and subfolders of the folders are not segmented, if there are any."""
    found = skipped(paths, recursive=recursive)
    folders = [path for path in found if path.is_dir()]
    _show_skipped("file", "as no image by its name", [path for path in found if path not in folders])
    _show_skipped("subfolder", "use --recursive for the images in it", folders)


def _show_skipped(kind: str, why: str, paths: list[Path]) -> None:
    if not paths:
        return
    count = f"1 {kind} is skipped" if len(paths) == 1 else f"{len(paths):,} {kind}s are skipped"
    names = ", ".join(path.name for path in paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
    stderr.print(f"{count}, {why}: {names}", markup=False, soft_wrap=True)


def startup(processes: Iterable[str]) -> str:
    """What the processes that are not ready do, such as `compiling kernels, importing torch …`."""
    activities = dict.fromkeys(_STARTUP.get(name, "importing torch") for name in processes)
    return f"{', '.join(activities)} …"


class _Rate(ProgressColumn):
    """Images per second while images are run. The table that follows has those of the whole command."""

    def render(self, task: Task) -> Text:
        speed = None if task.finished else task.speed
        return Text(f"{speed:.1f} images/s" if speed else "", style="progress.data.speed")


def image_progress(*, hidden: bool) -> Progress:
    """A progress bar over images on standard error; none if `hidden`, or if that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),  # as wide as the rest leaves room for
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=stderr, disable=hidden or not stderr.is_terminal, expand=True)
