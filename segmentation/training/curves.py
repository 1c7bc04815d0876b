"""The training log: one row per step as `log.csv`, and the loss and validation curves as `curves.png`."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..atomic_write import atomic_write
from .trainer import Progress

_TABLE, _PICTURE = "log.csv", "curves.png"


class Row(NamedTuple):
    """One step: its loss terms, and the validation's AP at IoU .5 and .75; NaN if the step was not validated."""

    step: int
    loss: float
    instance: float
    variance: float
    seed: float
    ap50: float = math.nan
    ap75: float = math.nan

    @property
    def quality(self) -> float:
        """The mean of both APs, by which the best model is chosen."""
        return (self.ap50 + self.ap75) / 2


class Curves:
    """The log of one training, in a folder as `log.csv` and `curves.png`."""

    def __init__(self, folder: Path, until: int = 0) -> None:
        """Continue the folder's table up to step `until`; later rows are dropped, as their steps are repeated."""
        self._folder = folder
        self.rows: list[Row] = []
        #: The first row of the highest `quality`; None before the first validation.
        self.best: Row | None = None
        if until and (folder / _TABLE).is_file():
            with (folder / _TABLE).open(newline="", encoding="utf-8") as file:
                for row in map(_parse, csv.DictReader(file)):
                    if row.step <= until:
                        self._append(row)

    def add(self, step: Progress, aps: tuple[float, float] = (math.nan, math.nan)) -> None:
        """Add a step and, if it was validated, its AP at IoU .5 and .75."""
        self._append(Row(step.step, step.loss, step.instance, step.variance, step.seed, *aps))

    def _append(self, row: Row) -> None:
        self.rows.append(row)
        if row.quality > (self.best.quality if self.best else -math.inf):  # False for NaN
            self.best = row

    def save(self) -> None:
        """Write the table and draw the picture."""
        with atomic_write(self._folder / _TABLE) as part, part.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(Row._fields)
            table.writerows(self.rows)
        self._draw()

    def _draw(self) -> None:
        from matplotlib.figure import Figure  # takes 0.5 s to import

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        losses = figure.subplots()
        steps = np.array([row.step for row in self.rows])
        for name in ("loss", "instance", "seed"):
            losses.plot(steps, _smooth(np.array([getattr(row, name) for row in self.rows])), label=name)
        losses.set(xlabel="step", ylabel="loss (mean of the last 50 steps)", yscale="log")
        losses.legend(loc="lower left")
        validated = [row for row in self.rows if not math.isnan(row.ap50)]
        if validated:
            aps = losses.twinx()
            validated_steps = [row.step for row in validated]
            aps.plot(validated_steps, [row.ap50 for row in validated], "k.-", label="AP at IoU .5")
            aps.plot(validated_steps, [row.ap75 for row in validated], "k.:", label="AP at IoU .75")
            aps.set(ylabel="validation AP, mean over images", ylim=(0, 1))
            aps.legend(loc="lower right")
        figure.savefig(self._folder / _PICTURE, dpi=110)


def _parse(row: dict[str, str]) -> Row:
    return Row(int(row.pop("step")), **{name: float(value) for name, value in row.items()})


def _smooth(values: NDArray[np.float64], window: int = 50) -> NDArray[np.float64]:
    """The moving average over each value and up to `window - 1` before it."""
    sums = np.concatenate([[0.0], values.cumsum()])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(stop - window, 0)
    return np.asarray((sums[stop] - sums[start]) / (stop - start))
