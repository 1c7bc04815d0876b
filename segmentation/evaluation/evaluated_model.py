"""A model as `maskq evaluate` runs it: with the options of a job, next to a baseline, and with tuned parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast, get_args

from .. import torch_devices
from ..arrays import Labels, Pixels
from ..dataset import SPLITS, Pair, has_splits
from ..errors import SegmentationError
from ..models.storage import Location
from ..network.preprocessing import to_input
from ..network.tiling import Bounds
from ..segmenter import Precision, Segmenter
from .baseline import otsu_watershed
from .parameters import check_writable, store
from .scores import Evaluation, Method, evaluate_with
from .tuning import FieldCache, Progress, SegmenterReader, Tuning, tune


class UnknownBaseline(SegmentationError):
    """No baseline has this name."""


class UnknownPrecision(SegmentationError):
    """No precision has this name."""


@dataclass(frozen=True)
class RunOptions:
    """How the model runs. Raises `UnknownPrecision`."""

    tta: bool = False
    #: The objects' diameter, pixels; None: that of the model's training images.
    diameter: float | None = None
    device: str = "cpu"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UnknownPrecision(f"no precision {self.precision!r}; there are: {', '.join(get_args(Precision))}")

    @property
    def default(self) -> bool:
        """Whether the model gives the fields of a job without options."""
        return not self.tta and self.diameter is None


class EvaluatedModel:
    """A loaded model with `RunOptions`, and the clustering parameters that it segments with."""

    def __init__(self, folder: Location, options: RunOptions, bounds: Bounds) -> None:
        """Load the model in `folder`. Raises `NoSuchDevice`, `InvalidModel`, `InvalidDiameter`."""
        self.folder, self.options = folder, options
        device = str(torch_devices.device(options.device))
        segmenter = Segmenter.load(folder, device, cast(Precision, options.precision))
        self._reader = SegmenterReader(segmenter, options.tta, options.diameter, bounds)
        #: Name and version.
        self.ref = segmenter.spec.ref
        self.parameters = self._reader.parameters

    def segment(self, pixels: Pixels) -> Labels:
        """(H, W, C) pixels → (H, W) labels. Raises the errors of `Segmenter.fields`."""
        return self._reader.read(self._reader.unpack(self._reader.embed(pixels)), self.parameters)

    def evaluate(
        self, data: Sequence[Pair], baselines: Mapping[str, Method], progress: Progress, tuning: Tuning | None = None
    ) -> dict[str, Evaluation]:
        """Score the model and then the baselines, by name. With `tuning`, its scores are used: the network has run.

        Raises the errors of `Pair.read` and `segment`.
        """
        if tuning is None:
            methods: dict[str, Method] = {self.ref: self.segment, **baselines}
            return evaluate_with(methods, progress(data, "evaluating", len(data)))
        return {self.ref: tuning.evaluation} | (evaluate_with(baselines, data) if baselines else {})

    def tune(self, data: Sequence[Pair], progress: Progress) -> Tuning:
        """Choose the clustering parameters on labelled images; store them in the model if the options are `default`.

        Raises `ModelNotWritable`, before the network runs, and the errors of `Pair.read` and `segment`.
        """
        folder = check_writable(self.folder) if self.options.default else None
        with TemporaryDirectory(prefix="maskq-") as cache:
            tuning = tune(FieldCache(data, self._reader, Path(cache), progress), self.parameters, progress)
        self.parameters = tuning.after.parameters
        if folder:
            store(folder, self.parameters)
        return tuning


def baseline_methods(name: str | None) -> dict[str, Method]:
    """The baseline by name; empty for None. Raises `UnknownBaseline`."""
    if name is None:
        return {}
    if name != "otsu":
        raise UnknownBaseline(f"no baseline {name!r}; there is: otsu")
    return {name: lambda pixels: otsu_watershed(to_input(pixels, "grey", "percentile")[0])}


def model_index(folder: Location, data: Path) -> Path | None:
    """The `split.csv` of the model in `folder`, if it has one and the data set has no splits of its own."""
    index = folder / SPLITS
    return index if isinstance(index, Path) and index.is_file() and not has_splits(data) else None
