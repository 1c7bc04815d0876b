"""A training in a model's folder: its preparation, and a loop that writes the best model, a log and checkpoints."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ..dataset import SPLITS, Facts, Pair, object_areas, write_index
from ..errors import InvalidModel, ModelExists
from ..evaluation.metrics import score, summarise
from ..models.registry import ModelRegistry, RegisteredModel, refuse_existing
from ..models.spec import SPEC, ModelSpec, read_weights, write_model
from ..segmenter import Segmenter
from .augmentation import CropSampler
from .curves import Curves, Row
from .trainer import Progress, Trainer

#: In the model's folder: the files that only training needs.
_TRAINING = Path("training")
_CHECKPOINT = _TRAINING / "checkpoint.pt"
#: Default object diameter in the network's input, pixels.
_DIAMETER = 24.0
#: Images are not resized if their objects are up to this many times smaller or larger: augmentation covers that.
_TOLERANCE = 1.6


#: Wraps pairs that are read, to show progress.
Show = Callable[[Sequence[Pair]], Iterable[Pair]]


def _show_nothing(data: Sequence[Pair]) -> Iterable[Pair]:
    return data


class TrainingSession:
    """Trains a model in its folder, on `train`, validated on `val`. Resumes from the folder's checkpoint, if any.

    With `fresh`, starts over.
    """

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        train: list[Pair],
        val: list[Pair],
        base: RegisteredModel | None,
        show: Show = _show_nothing,
        *,
        fresh: bool = False,
    ) -> None:
        """Read all images; `show` wraps their pairs to show how many are read.

        The weights are those of the checkpoint, else of `base`, else the trainer's.

        Raises `StaleCheckpoint`, `InvalidModel`, `InvalidDataset`, and the errors of `Pair.read`.
        """
        self.folder, self.checkpoint, self.trainer = folder, folder / _CHECKPOINT, trainer
        if self.checkpoint.is_file() and not fresh:
            trainer.resume(self.checkpoint)
        elif base:
            weights = read_weights(base.location, base.spec)
            trainer.start_from(base.spec.architecture.load(base.spec, weights, "cpu"))
        self._train, self._val = train, val
        members = iter(show([*train, *val]))
        self._crops = CropSampler(islice(members, len(train)), trainer.spec, trainer.schedule.crop)
        self._validation = [pair.read() for pair in members]
        self._curves = Curves(folder / _TRAINING, trainer.step)

    @property
    def best(self) -> Row | None:
        """The step whose weights the model has; None before the first validation, and without images for it."""
        return self._curves.best

    def run(self, every: int) -> Iterator[Progress]:
        """Train to the last step; yield a report of each.

        After `every` steps, and after the last: validate, write the model if it is the best, the log, a checkpoint.
        """
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_index(self.folder / SPLITS, train=self._train, val=self._val)
        self.trainer.checkpoint(self.checkpoint)
        for progress in self.trainer.run(self._crops):
            if progress.step % every and progress.step != self.trainer.schedule.steps:
                self._curves.add(progress)
            else:
                self._validate(progress)
            yield progress

    def _validate(self, progress: Progress) -> None:
        trainer = self.trainer
        self._curves.add(progress, self._validation_ap())
        if self.best in (None, self._curves.rows[-1]):  # None without validation images: then the latest is written
            write_model(self.folder, trainer.spec, trainer.weights())
        self._curves.save()
        trainer.checkpoint(self.checkpoint)

    def _validation_ap(self) -> tuple[float, float]:
        """AP at IoU .5 and .75 of the averaged weights, means over images; NaN without images."""
        if not self._validation:
            return math.nan, math.nan
        trainer = self.trainer
        segmenter = Segmenter(copy.deepcopy(trainer.average), trainer.spec, str(trainer.device))
        scores = [score(truth, segmenter.segment(pixels)[0], (0.5, 0.75)) for pixels, truth in self._validation]
        at_50, at_75 = summarise(scores).mean
        return at_50.ap, at_75.ap


def new_model_folder(out: Path, name: str) -> Path:
    """The folder of a new or unfinished model `out/NAME`. Raises `ModelExists`; `ValidationError` for a bad name."""
    folder = out / ModelSpec(name=name).name
    if (folder / _CHECKPOINT).is_file():
        refuse_existing(out, name, 1, ignore=folder)
    elif any(folder.glob(f"**/{SPEC}")):
        raise ModelExists(f"{folder} has a model already; remove it, or choose another name or folder")
    return folder


def find_base(ref: str, folders: Iterable[str | Path]) -> RegisteredModel:
    """The model to start from. Raises `UnknownModel`, and `InvalidModel` if it is broken or can't be trained."""
    base = ModelRegistry(folders).find(ref)
    if base.spec.architecture.untrained is None:
        raise InvalidModel(f"{base.spec.ref} is a {base.spec.network}, which can't be trained further")
    return base


def new_spec(
    name: str, source: str, train: Sequence[Facts], base: RegisteredModel | None, scale: float | None
) -> ModelSpec:
    """The spec of a model trained on images of `source`: that of `base`, with the objects' sizes of `train`.

    Without `scale`, images are resized so that objects are about as large as in the training of `base`.
    Raises `InvalidDataset` if there is no object.
    """
    start = base.spec if base else ModelSpec(name=name)
    areas = object_areas(train)
    diameter = round(float(2 * np.sqrt(np.median(areas) / np.pi)), 1)
    factor = (start.diameter * start.scale or _DIAMETER) / diameter
    if 1 / _TOLERANCE <= factor <= _TOLERANCE:
        factor = 1.0
    fields = {
        "name": name,
        "version": 1,
        "summary": f"trained on {source}",
        "trained_on": f"{len(train)} images of {source}",
        "source": f"trained with maskq, starting from {start.ref}" if base else "trained with maskq",
        "licence": "",
        "sha256": "",
        "diameter": diameter,
        "pixel_size": 0.0,
        "scale": scale or round(min(max(factor, 1 / 16), 16), 2),
        # Objects far below the first percentile of the areas are noise or annotation errors.
        "min_pixels": min(start.min_pixels, int(np.percentile(areas, 1)) // 2),
    }
    return ModelSpec.model_validate(start.model_dump() | fields)
