"""Standard output, standard error, and what is shown while processes start and images are run."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

stdout, stderr = Console(highlight=False), Console(stderr=True, highlight=False)

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


def startup(processes: Iterable[str]) -> str:
    """What the processes that are not ready do, such as `compiling kernels, importing torch …`."""
    activities = dict.fromkeys(_STARTUP.get(name, "importing torch") for name in processes)
    return f"{', '.join(activities)} …"


class _Rate(ProgressColumn):
    """Images per second, once there are some."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
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
