"""What `maskq train` does."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from .. import model as models_
from ..dataset import pairs

stderr = Console(stderr=True, highlight=False)


def train(data: Path, name: str, out: Path, split: str | None, steps: int, device: str, seed: int) -> int:
    """Train a model and write its folder; a checkpoint beside it lets a stopped training go on."""
    from rich.progress import Progress

    from ..training import Schedule, Trainer

    spec = models_.ModelSpec(name=name, trained_on=data.name)
    trainer = Trainer(spec, Schedule(steps=steps, seed=seed), device)
    checkpoint = out / name / "checkpoint.pt"
    if checkpoint.is_file():
        trainer.resume(checkpoint)
        stderr.print(f"going on at step {trainer.step:,} of {steps:,}")
    with Progress(console=stderr) as progress:
        bar = progress.add_task("training", total=steps, completed=trainer.step)
        for report in trainer.run(pairs(data, split)):
            terms = f"instance {report.instance:.3f}  variance {report.variance:.4f}  seed {report.seed:.3f}"
            progress.update(bar, completed=report.step, description=f"loss {report.loss:.3f}  {terms}")
            if report.step % 250 == 0:
                trainer.checkpoint(checkpoint)
    trainer.checkpoint(checkpoint)
    written = models_.write(out / name, spec, trainer.weights())
    stderr.print(f"{out / name}: {written.sha256[:12]}; use it with MASKQ_MODELS={out}")
    return 0
