"""The training loop: object-centred crops, the three-term loss, AdamW with a decaying rate, averaged weights."""

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .. import torch_devices as hardware
from ..atomic_write import atomic_write
from ..errors import InvalidModel, InvalidSchedule, StaleCheckpoint
from ..models.spec import ModelSpec
from ..network.shape_buckets import STRIDE
from .augmentation import CropSampler
from .crop_loader import Batch, CropLoader, default_processes
from .loss import Terms, batch_loss
from .origin import Origin

#: Decay of the exponential moving average of the weights.
_EMA_DECAY = 0.999
#: Initial margin of all objects, pixels: about the radius of a small nucleus.
_INITIAL_MARGIN = 8.0


@dataclass(frozen=True)
class Schedule:
    """Hyperparameters of a training. Raises `InvalidSchedule` if `crop` is not a multiple of 8."""

    #: Optimiser steps.
    steps: int = 12_000
    #: Crops per step.
    batch: int = 8
    #: Side of a crop, pixels; a multiple of 8.
    crop: int = 160
    #: Initial learning rate; it falls to 0 as (1 - step/steps)^0.9.
    rate: float = 1e-3
    #: Weight decay of AdamW.
    decay: float = 1e-2
    #: Maximum norm of the gradient; a longer one is clipped.
    clip: float = 1.0
    #: Seed of all random choices.
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crop % STRIDE:
            raise InvalidSchedule(f"the sides of a crop are a multiple of {STRIDE}, not {self.crop}")


@dataclass(frozen=True)
class Progress:
    """The report of one step: the weighted loss, its unweighted terms, and the step's duration."""

    step: int
    loss: float
    instance: float
    variance: float
    seed: float
    seconds: float


class Trainer:
    """One training: the network, the average of its weights, and the optimiser.

    `checkpoint` saves the complete state and `resume` restores it. A step's crops depend on the seed and the step only.
    """

    def __init__(
        self,
        spec: ModelSpec,
        schedule: Schedule,
        device: str = "cpu",
        *,
        compiled: bool = False,
        origin: Origin = Origin(),
        cores: int = 1,
        processes: int | None = None,
    ) -> None:
        """Build a network with random weights.

        `origin` is the data and the initial weights: `resume` refuses a checkpoint of another origin.
        `processes` load crops; None chooses the number for the device and the `cores` that this process may use. Raises
        `NoSuchDevice`.
        """
        torch.manual_seed(schedule.seed)
        self.spec, self.schedule, self.device = spec, schedule, hardware.device(device)
        self.step, self._origin = 0, origin
        self._processes = default_processes(self.device, cores) if processes is None else processes
        self._half = hardware.supports_bfloat16(self.device)
        assert spec.architecture.untrained, f"{spec.architecture.name} can't be trained"
        network = spec.architecture.untrained(spec, _INITIAL_MARGIN / spec.unit)
        self._network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward = torch.compile(self._network) if compiled else self._network
        self.average = copy.deepcopy(self._network).eval().requires_grad_(False)
        # Not Adam: it normalises the decay together with the gradient, so a weight with a small gradient shrinks by a
        # full step each time until whole blocks are dead (with the published decay of 1e-4: three of the encoder's
        # eight dilated blocks after 8,750 steps).
        self._adam = torch.optim.AdamW(
            self._network.parameters(), lr=schedule.rate, weight_decay=schedule.decay, fused=True
        )

    def start_from(self, other: nn.Module) -> None:
        """Copy the initial weights from another network. Raises `InvalidModel` if they don't fit."""
        for network in (self._network, self.average):
            try:
                network.load_state_dict(other.state_dict())
            except RuntimeError as error:
                raise InvalidModel(f"these weights are another network's: {error}") from error

    def run(self, crops: CropSampler) -> Iterator[Progress]:
        """Train up to the last step of the schedule; yield a report after each. Crops are loaded in the background."""
        self._network.train()
        with CropLoader(crops, self.schedule.batch, self.schedule.seed, self._processes) as loader:
            start = time.perf_counter()
            for batch in loader.batches(range(self.step, self.schedule.steps)):
                terms = self._advance(batch)
                instance, variance, seed, total = (t.item() for t in (*terms, terms.total()))
                yield Progress(self.step, total, instance, variance, seed, time.perf_counter() - start)
                start = time.perf_counter()

    def _advance(self, batch: Batch) -> Terms:
        """Run one optimiser step; return its loss terms, on the CPU."""
        for group in self._adam.param_groups:
            group["lr"] = self.schedule.rate * (1 - self.step / self.schedule.steps) ** 0.9
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            raw = self._forward(batch.images.to(self.device, memory_format=torch.channels_last))
        labels, objects = batch.labels.to(self.device), batch.objects.to(self.device)
        terms = batch_loss(raw.float(), labels, objects, self.spec.unit)
        self._adam.zero_grad()
        terms.total().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), self.schedule.clip)
        self._adam.step()
        self.step += 1
        self._update_average()
        return Terms(*torch.stack(terms).detach().cpu())  # one copy, because each waits for the GPU

    @torch.no_grad()
    def _update_average(self) -> None:
        """Update the exponential moving average of the weights; its decay is lower in the first steps."""
        decay = min(_EMA_DECAY, (1 + self.step) / (10 + self.step))
        average, current = self.average.state_dict(), self._network.state_dict()
        floats = [name for name, tensor in average.items() if tensor.is_floating_point()]
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update([average[name] for name in floats], [current[name] for name in floats], None)
        for name in average.keys() - floats:  # batch counts
            average[name].copy_(current[name])

    def checkpoint(self, path: Path) -> None:
        """Write the complete state for `resume`, atomically."""
        state = {
            "step": self.step,
            "schedule": json.dumps(asdict(self.schedule)),
            "model": json.dumps(self._model()),
            "origin": json.dumps(asdict(self._origin)),
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "adam": self._adam.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "device_rng": hardware.rng_state(self.device),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            torch.save(state, part)

    def weights(self) -> bytes:
        """The averaged weights as float16 safetensors."""
        state = self.average.state_dict()
        return save_tensors({n: t.half().contiguous().cpu() for n, t in state.items() if t.is_floating_point()})

    def _model(self) -> dict[str, str | float]:
        """The model's fields that a checkpoint must share with the training that resumes from it."""
        names = ("channels", "normalisation", "scale", "unit", "bandwidths", "min_pixels")
        return {name: getattr(self.spec, name) for name in names}

    def resume(self, path: Path) -> None:
        """Continue as if never interrupted. Raises `StaleCheckpoint` if schedule, model input or origin differ."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if difference := self._difference(state):
            raise StaleCheckpoint(f"{path}: {difference}; remove it to start over (maskq train --fresh)")
        self.step = state["step"]
        self._network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._adam.load_state_dict(state["adam"])
        torch.set_rng_state(state["torch_rng"].cpu())
        hardware.set_rng_state(self.device, state.get("device_rng"))  # for dropout

    def _difference(self, state: dict[str, Any]) -> str | None:
        """How the training of a checkpoint differs from this one; None if it is the same."""
        if state.keys() & {"model", "origin"} != {"model", "origin"}:
            return "was made by another version of maskq"
        if changes := Origin.parse(json.loads(state["origin"])).changes(self._origin):
            return f"since it was made, {changes}"
        if state["schedule"] != json.dumps(asdict(self.schedule)):
            return f"was made by another schedule, {state['schedule']}"
        if state["model"] != json.dumps(self._model()):
            return f"was made for another model, {state['model']}"
        return None
