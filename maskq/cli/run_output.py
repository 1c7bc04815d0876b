"""The output of `maskq run`: result files, a progress bar, a line of JSON per image, and a summary."""

import time
from collections.abc import Callable
from json import dumps
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.markup import escape

from maskq.producer.client.job import Result
from maskq.producer.client.paths import ImagePath, result_names
from maskq.producer.formats.folder import ResultFolder
from maskq.producer.schema import JobStatus

from .notes import Notes
from .result_files import Summary, failure_kind, json_entry
from .terminal import PlainTable, image_progress, stderr


class RunOutput:
    """Writes the results of images to a folder and reports them; a context manager, which shows the progress bar."""

    def __init__(self, images: list[ImagePath], out: Path, files: ResultFolder, as_json: bool) -> None:
        self._names, self._out, self._files, self._as_json = result_names(images), out, files, as_json
        self._summary, self._notes = Summary(images=len(images)), Notes()
        self._progress = image_progress(hidden=as_json)
        self._bar = self._progress.add_task("starting …", total=len(images))
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._files.__enter__()
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.describe("")
        self._progress.stop()
        self._files.__exit__(kind, error, at)

    def describe(self, activity: str) -> None:
        """Show next to the progress bar what is being done or waited for."""
        self._progress.update(self._bar, description=activity, refresh=True)

    def add(self, image: ImagePath, outcome: Result | Exception, submitted: Callable[[], bytes]) -> None:
        """Write an image's result files, or record why it has none. `submitted` gives the file that was segmented."""
        entry = {"image": str(image)} | (
            self._failure(image, outcome) if isinstance(outcome, Exception) else self._result(image, outcome, submitted)
        )
        if self._as_json:
            print(dumps(entry), flush=True)
        self._progress.update(self._bar, advance=1, description="segmenting")

    def show_planes(self, job: JobStatus) -> None:
        """Show how far the stack is that is waited for."""
        if job.planes:
            self.describe(f"segmenting, {job.planes.done} of {job.planes.total} planes")

    def _result(self, image: ImagePath, result: Result, submitted: Callable[[], bytes]) -> dict[str, object]:
        submitted_file = submitted() if self._files.needs_image else b""
        files, refusal = self._files.write_possible(result, image=submitted_file, name=self._names[image])
        self._summary.add_result(result)
        self._notes.add(str(image), result)
        failure = self._failure(image, refusal) if refusal else {}
        return json_entry(result, files) | {"timings": result.job.timings} | failure

    def _failure(self, image: ImagePath, error: Exception) -> dict[str, object]:
        kind = failure_kind(error)
        self._summary.add_failure(image, kind, str(error))
        stderr.print(f"[red]{kind}[/] {escape(str(error))}", soft_wrap=True)
        return {"error": {"type": kind, "message": str(error)}}

    def finish(self, interrupted: bool) -> int:
        """Write `summary.json` and print a summary; returns the exit status."""
        summary = self._summary
        summary.seconds = time.monotonic() - self._began
        summary.write(self._out)
        if self._as_json:
            print(dumps(summary.as_dict()), flush=True)
        else:
            if interrupted:
                stderr.print(f"[yellow]stopped[/]: {summary.done} of {summary.images} images were finished")
            self._notes.show()
            self._print_table()
        return 130 if interrupted else 1 if summary.failures else 0

    def _print_table(self) -> None:
        summary = self._summary
        header, path = ("overlays", self._out / "*.overlay.*") if self._files.needs_image else ("folder", self._out)
        counts = (summary.images, summary.done, len(summary.failures), summary.objects)
        speed = (f"{summary.seconds:.1f}", f"{summary.images_per_second:.2f}")
        table = PlainTable("images", "done", "failed", "objects", "seconds", "images/s", header)
        table.add_row(*map(str, counts), *speed, str(path))
        stderr.show(table)
