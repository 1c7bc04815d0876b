"""`maskq train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress as ProgressBar

from .labelled import Channel, check_labels, show_reading, tell, with_channel
from .options import read_settings
from .terminal import stderr
from .writable import expanded, output_folder

if TYPE_CHECKING:
    from maskq.segmentation.training.curves import Row
    from maskq.segmentation.training.session import TrainingSession

app = typer.Typer()


@app.command()
def train(
    data: Annotated[
        Path, typer.Argument(callback=expanded, help="Folder with images/ and labels/, and optionally index.csv.")
    ],
    name: Annotated[str, typer.Option("--model", "-m", help="Name of the new model.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", callback=output_folder, help="Folder in which the model's folder is created.")
    ] = Path("models"),
    index: Annotated[
        Path | None,
        typer.Option(
            callback=expanded,
            help="CSV file with columns id and split (train, val). Default: DATA/index.csv, else every fifth is val.",
        ),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Start from the weights of this model.")] = None,
    scale: Annotated[float | None, typer.Option(min=0.0625, max=16, help="Factor by which images are resized.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 5000,
    batch: Annotated[int, typer.Option(min=1, help="Crops per step.")] = 8,
    crop: Annotated[int, typer.Option(min=32, help="Side of a crop, pixels; a multiple of 8.")] = 160,
    rate: Annotated[float, typer.Option(min=0, help="Initial learning rate; it falls to 0.")] = 1e-3,
    every: Annotated[int, typer.Option(min=1, help="Steps between validations, each with a checkpoint.")] = 250,
    channel: Channel = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile: a minute to start, then faster.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over instead of resuming: the old training's model is replaced.")
    ] = False,
) -> None:
    """Train a model on labelled images. The same command resumes a training that was stopped.

    Writes to OUT/MODEL: the weights with the best validation score, and the progress as training/curves.png.
    """
    from maskq.segmentation.dataset import train_val_split
    from maskq.segmentation.training import session
    from maskq.segmentation.training.origin import Origin
    from maskq.segmentation.training.trainer import Schedule, Trainer
    from maskq.workers.device.hardware import cores

    schedule = Schedule(steps=steps, batch=batch, crop=crop, rate=rate, seed=seed)
    folder = session.new_model_folder(out, name)
    learned, held_out = (with_channel(part, channel) for part in train_val_split(data, index, tell))
    facts = check_labels([*learned, *held_out])
    base = session.find_base(start, read_settings().model_folders) if start else None
    spec = session.new_spec(name, data.resolve().name, facts[: len(learned)], base, scale)
    origin = Origin.of(learned, held_out, base.spec.sha256 if base else "")
    trainer = Trainer(spec, schedule, device, compiled=compiled, origin=origin, cores=cores())
    training = session.TrainingSession(folder, trainer, learned, held_out, base, show_reading, fresh=fresh)
    sizes = f"objects about {spec.diameter:g} pixels across, images resized by {spec.scale:g}"
    counts = f"{len(learned)} images to learn from, {len(held_out)} to validate on"
    stderr.print(f"{counts}; {sizes}; steps {trainer.step:,} to {steps:,}", markup=False)
    best = _run(training, every)
    score = f"AP at IoU .5 on the images held out: {best.ap50:.3f}" if best else "not validated"
    stderr.print(f"{folder}: {score}. Use it with MASKQ_MODELS={out} and --model {name}", markup=False)


def _run(session: TrainingSession, every: int) -> Row | None:
    """Train with a progress bar, and return the best step. On Ctrl-C, print how to resume."""
    trainer = session.trainer
    try:
        with ProgressBar(console=stderr) as bars:
            bar = bars.add_task("training", total=trainer.schedule.steps, completed=trainer.step)
            for progress in session.run(every):
                terms = f"{progress.instance:.3f} + 10 · variance {progress.variance:.4f} + seed {progress.seed:.3f}"
                score = f"  AP50 {session.best.ap50:.3f}" if session.best else ""
                description = f"loss {progress.loss:.3f} = instance {terms}{score}"
                bars.update(bar, completed=progress.step, description=description)
    except KeyboardInterrupt:
        stderr.print(f"\nstopped; the same command goes on from {session.checkpoint}", markup=False)
        raise
    return session.best
