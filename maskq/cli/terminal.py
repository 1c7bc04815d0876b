"""Standard output, standard error, and what is shown while processes start and images are run."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from maskq.producer.client.paths import skipped

#: Characters that steer a terminal, or turn the direction of what it shows: others choose the names of jobs and files.
UNPRINTABLE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")


class PrintableConsole(Console):
    """A console that shows unprintable characters as Python writes them, such as `\\x1b`."""

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """As rich renders it, with printable text."""
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else segment._replace(text=UNPRINTABLE.sub(_escaped, segment.text))


def _escaped(character: re.Match[str]) -> str:
    return repr(character[0])[1:-1]


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
    stderr.print(message, style="red", markup=False)


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
