"""What a training said of itself, step by step: a table for machines and a picture for people."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..atomic_write import atomic_write
from .trainer import Progress

_TABLE, _PICTURE = "log.csv", "curves.png"


@dataclass(frozen=True)
class Row:
    """One step: its loss terms, and the average precision at IoU .5 and .75; NaN where it was not validated."""

    step: int
    loss: float
    instance: float
    variance: float
    seed: float
    ap50: float = math.nan
    ap75: float = math.nan

    @property
    def quality(self) -> float:
        """What models in training are compared by."""
        return (self.ap50 + self.ap75) / 2


class Curves:
    """The rows of one training, kept in a folder as `log.csv` and `curves.png`."""

    def __init__(self, folder: Path, until: int = 0) -> None:
        """Go on with the folder's table, of which steps after `until` are forgotten: they will come again."""
        self._folder = folder
        self.rows: list[Row] = []
        #: Where AP at IoU .5 and .75 together were highest, the first such; None before the first validation.
        self.best: Row | None = None
        if until and (folder / _TABLE).is_file():
            with (folder / _TABLE).open(newline="", encoding="utf-8") as file:
                for row in map(_parse, csv.DictReader(file)):
                    if row.step <= until:
                        self._append(row)

    def add(self, at: Progress, aps: tuple[float, float] = (math.nan, math.nan)) -> None:
        """Note a step, and with it AP at .5 and .75 if it was validated."""
        self._append(Row(at.step, at.loss, at.instance, at.variance, at.seed, *aps))

    def _append(self, row: Row) -> None:
        self.rows.append(row)
        if row.quality > (self.best.quality if self.best else -math.inf):  # never, of NaN
            self.best = row

    def save(self) -> None:
        """Write the table and draw the picture."""
        names = [field.name for field in fields(Row)]
        with atomic_write(self._folder / _TABLE) as part, part.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(names)
            table.writerows([getattr(row, name) for name in names] for row in self.rows)
        self._draw()

    def _draw(self) -> None:
        from matplotlib.figure import Figure  # half a second that only training pays

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        left = figure.subplots()
        steps = np.array([row.step for row in self.rows])
        for name in ("loss", "instance", "seed"):
            left.plot(steps, _smooth(np.array([getattr(row, name) for row in self.rows])), label=name)
        left.set(xlabel="step", ylabel="loss (mean of the last 50 steps)", yscale="log")
        left.legend(loc="lower left")
        checked = [row for row in self.rows if not math.isnan(row.ap50)]
        if checked:
            right = left.twinx()
            at = [row.step for row in checked]
            right.plot(at, [row.ap50 for row in checked], "k.-", label="AP at IoU .5")
            right.plot(at, [row.ap75 for row in checked], "k.:", label="AP at IoU .75")
            right.set(ylabel="validation AP, mean over images", ylim=(0, 1))
            right.legend(loc="lower right")
        figure.savefig(self._folder / _PICTURE, dpi=110)


def _parse(row: dict[str, str]) -> Row:
    return Row(int(row.pop("step")), **{name: float(value) for name, value in row.items()})


def _smooth(values: NDArray[np.float64], over: int = 50) -> NDArray[np.float64]:
    """The mean of each value and up to `over - 1` before it."""
    sums = np.concatenate([[0.0], values.cumsum()])
    upto = np.arange(1, len(values) + 1)
    begin = np.maximum(upto - over, 0)
    return np.asarray((sums[upto] - sums[begin]) / (upto - begin))
