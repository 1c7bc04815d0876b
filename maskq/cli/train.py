"""What `maskq train` does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bar

from maskq.segmentation.dataset import SPLITS, Pair, divide, write_index
from maskq.segmentation.errors import InvalidModel, ModelExists
from maskq.segmentation.models import loading
from maskq.segmentation.models import spec as models_
from maskq.segmentation.models.registry import ModelRegistry, RegisteredModel, refuse_existing
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.training.augmentation import CropSampler
from maskq.segmentation.training.curves import Curves, Row
from maskq.segmentation.training.object_sizes import USUAL, areas, median_diameter, scale_for, smallest
from maskq.segmentation.training.trainer import Progress, Schedule, Trainer
from maskq.segmentation.training.validation import Validation

stderr = Console(stderr=True, highlight=False, markup=False)

#: In the model's folder: what only training needs.
_TRAINING = Path("training")
_CHECKPOINT = _TRAINING / "checkpoint.pt"


def train(
    data: Path,
    name: str,
    out: Path,
    index: Path | None,
    start: str | None,
    folders: Iterable[str | Path],
    scale: float | None,
    schedule: dict[str, float],
    every: int,
    device: str,
    compiled: bool,
) -> int:
    """Train a model and write its folder; a checkpoint beside it lets a stopped training go on."""
    folder = out / ModelSpec(name=name).name
    checkpoint = folder / _CHECKPOINT
    if checkpoint.is_file():
        refuse_existing(out, name, 1, own=folder)
    elif any(folder.glob(f"**/{models_.SPEC}")):
        raise ModelExists(f"{folder} has a model already; remove it, or choose another name or folder")
    learned, held = divide(data, index)
    base = _base(start, folders) if start else None
    spec = _spec(name, data.name, learned, base.spec if base else None, scale)
    origin = _digest(learned, held, base.spec.sha256 if base else "")
    trainer = Trainer(spec, Schedule(**schedule), device, compiled=compiled, origin=origin)  # type: ignore[arg-type]
    if checkpoint.is_file():
        trainer.resume(checkpoint)
    elif base:
        trainer.start_from(loading.network(base.spec, models_.read_weights(base.place, base.spec)))
    crops, validation = CropSampler(learned, spec, trainer.schedule.crop), Validation(held)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    write_index(folder / SPLITS, train=learned, val=held)
    stderr.print(
        f"{len(learned)} images to learn from, {len(held)} to validate on; objects about {spec.diameter:g} pixels "
        f"across, images resized by {spec.scale:g}; steps {trainer.step:,} to {trainer.schedule.steps:,}"
    )
    trainer.checkpoint(checkpoint)
    try:
        best = _train(trainer, folder, crops, validation, every)
    except KeyboardInterrupt:
        stderr.print(f"\nstopped; the same command goes on from {checkpoint}")
        raise
    validated = f"AP at IoU .5 on the images held out: {best.ap50:.3f}" if best else "validated on nothing"
    stderr.print(f"{folder}: {validated}. Use it with MASKQ_MODELS={out} and --model {name}")
    return 0


def _base(start: str, folders: Iterable[str | Path]) -> RegisteredModel:
    """The model to start from. Raises `UnknownModel`, and `InvalidModel` where it is none that can be trained on."""
    found = ModelRegistry(folders).find(start)
    if found.spec.network != "branched-erfnet":
        raise InvalidModel(f"{found.spec.ref} is a {found.spec.network}, which can't be trained further")
    return found


def _digest(learned: list[Pair], held: list[Pair], base: str) -> str:
    """Of what a training begins with: which images it learns from, which are held out, whose weights it starts from."""
    content = json.dumps([[p.name for p in learned], [p.name for p in held], base])
    return hashlib.sha256(content.encode()).hexdigest()


def _spec(name: str, source: str, data: list[Pair], start: ModelSpec | None, scale: float | None) -> ModelSpec:
    """The new model's: as its base sees images, resized so that the objects look as large as its base's."""
    base = start or ModelSpec(name=name)
    found = areas(data)
    diameter = median_diameter(found)
    mine = {
        "name": name,
        "version": 1,
        "summary": f"trained on {source}",
        "trained_on": f"{len(data)} images of {source}",
        "source": f"trained with maskq, starting from {start.ref}" if start else "trained with maskq",
        "licence": "",
        "sha256": "",
        "diameter": diameter,
        "pixel_size": 0.0,
        "scale": scale or scale_for(diameter, base.diameter * base.scale or USUAL),
        "min_pixels": min(base.min_pixels, smallest(found) // 2),
    }
    return ModelSpec.model_validate(base.model_dump() | mine)


def _train(trainer: Trainer, folder: Path, crops: CropSampler, validation: Validation, every: int) -> Row | None:
    """Run to the end; every so many steps validate, keep the model if it is the best, draw, write the checkpoint."""
    curves = Curves(folder / _TRAINING, trainer.step)
    last = trainer.schedule.steps
    with Bar(console=stderr) as bars:
        bar = bars.add_task("training", total=last, completed=trainer.step)
        for at in trainer.run(crops):
            if at.step % every and at.step != last:
                curves.add(at)
            else:
                curves.add(at, validation.ap(trainer.average, trainer.spec, str(trainer.device)))
                if curves.best in (None, curves.rows[-1]):  # the best so far, or nothing can tell
                    models_.write(folder, trainer.spec, trainer.weights())
                curves.save()
                trainer.checkpoint(folder / _CHECKPOINT)
            bars.update(bar, completed=at.step, description=_describe(at, curves))
    return curves.best


def _describe(at: Progress, curves: Curves) -> str:
    validated = f"  AP50 {curves.best.ap50:.3f}" if curves.best else ""
    return (
        f"loss {at.loss:.3f} = instance {at.instance:.3f} + 10 · variance {at.variance:.4f} + seed {at.seed:.3f}"
        f"{validated}"
    )
