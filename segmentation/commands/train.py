"""What `maskq train` does."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bar

from ..catalogue import model as models_
from ..catalogue.model import ModelSpec
from ..catalogue.repository import find
from ..dataset import SPLITS, Pair, divide, write_index
from ..errors import ModelNotWritable
from ..training.crops import Crops
from ..training.curves import Curves
from ..training.sizes import USUAL, areas, median_diameter, scale_for, smallest
from ..training.trainer import Progress, Schedule, Trainer
from ..training.validation import Validation

stderr = Console(stderr=True, highlight=False)


#: In the model's folder: what only training needs.
_TRAINING = Path("training")
_CHECKPOINT = _TRAINING / "checkpoint.pt"


def train(
    data: Path,
    name: str,
    out: Path,
    index: Path | None,
    start: str | None,
    folders: tuple[Path, ...],
    scale: float | None,
    schedule: dict[str, float],
    every: int,
    device: str,
    compiled: bool,
) -> int:
    """Train a model and write its folder; a checkpoint beside it lets a stopped training go on."""
    folder = out / name
    if (folder / "model.toml").exists() and not (folder / _TRAINING).exists():
        raise ModelNotWritable(f"{folder} is a model already; remove it, or choose another name or folder")
    (folder / _TRAINING).mkdir(parents=True, exist_ok=True)
    learned, held = divide(data, index)
    base = find(start, folders) if start else None
    spec = _spec(name, data.name, learned, models_.read_spec(base) if base else ModelSpec(name=name), scale)
    trainer = Trainer(spec, Schedule(**schedule), device, compiled=compiled)  # type: ignore[arg-type]
    if (folder / _CHECKPOINT).is_file():
        trainer.resume(folder / _CHECKPOINT)
    elif base:
        trainer.start_from(models_.read_weights(base))
    write_index(folder / SPLITS, train=learned, val=held)
    stderr.print(
        f"{len(learned)} images to learn from, {len(held)} to validate on; objects about {spec.diameter:g} pixels "
        f"across, images resized by {spec.scale:g}; steps {trainer.step:,} to {trainer.schedule.steps:,}"
    )
    try:
        best = _train(trainer, folder, Crops(learned, spec, trainer.schedule.crop), Validation(held), every)
    except KeyboardInterrupt:
        stderr.print(f"\nstopped; the same command goes on from {folder / _CHECKPOINT}")
        raise
    validated = f"AP at IoU .5 on the images held out: {best:.3f}" if held else "validated on nothing"
    stderr.print(f"{folder}: {validated}. Use it with MASKQ_MODELS={out} and --model {name}")
    return 0


def _spec(name: str, source: str, data: list[Pair], base: ModelSpec, scale: float | None) -> ModelSpec:
    """The new model's: as its base sees images, resized so that the objects look as large as its base's."""
    found = areas(data)
    diameter = median_diameter(found)
    own = base.diameter * base.scale or USUAL
    return base.model_copy(
        update={
            "name": name,
            "version": 1,
            "summary": f"trained on {source}",
            "trained_on": f"{len(data)} images of {source}",
            "licence": "",
            "sha256": "",
            "diameter": diameter,
            "scale": scale or scale_for(diameter, own),
            "min_pixels": min(base.min_pixels, smallest(found) // 2),
        }
    )


def _train(trainer: Trainer, folder: Path, crops: Crops, validation: Validation, every: int) -> float:
    """Run to the end; every so many steps validate, keep the model if it is the best, draw, write the checkpoint."""
    curves = Curves(folder / _TRAINING, trainer.step)
    last = trainer.schedule.steps
    with Bar(console=stderr) as bars:
        bar = bars.add_task("training", total=last, completed=trainer.step)
        for at in trainer.run(crops):
            if at.step % every and at.step != last:
                curves.add(at)
            else:
                curves.add(at, _keep_if_best(trainer, folder, validation, curves))
                curves.save()
                trainer.checkpoint(folder / _CHECKPOINT)
            bars.update(bar, completed=at.step, description=_describe(at, curves))
    return curves.best


def _keep_if_best(trainer: Trainer, folder: Path, validation: Validation, curves: Curves) -> tuple[float, float]:
    """Validate the averaged weights; write the model where they are the best so far, or where nothing can tell."""
    ap50, ap75 = validation.ap(trainer.average, trainer.spec, str(trainer.device))
    if math.isnan(ap50) or ap50 > curves.best:
        models_.write(folder, trainer.spec, trainer.weights())
    return ap50, ap75


def _describe(at: Progress, curves: Curves) -> str:
    validated = f"  AP50 {curves.best:.3f}" if curves.best >= 0 else ""
    return (
        f"loss {at.loss:.3f} = instance {at.instance:.3f} + 10 · variance {at.variance:.4f} + seed {at.seed:.3f}"
        f"{validated}"
    )
