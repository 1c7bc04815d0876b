"""The three-term loss of Neven et al. 2019 (equations 5 to 11), its Lovász term in windows, vectorised over objects."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

#: Margin around an object's box in which its Lovász term is computed, pixels: practically the same loss in a tenth of
#: the time. Beyond it φ and the hinge are 0, unless an object's margin is over a dozen pixels or an offset crosses the
#: window.
WINDOW = 48
#: Maximum -ln φ of pixels outside the object: beyond it φ is below 1e-4, and the hinge, 2φ, is negligible.
_MAX_DISTANCE = 9.21
#: Maximum of 10 σ: beyond it exp overflows float32, and infinity times a distance of 0 is NaN.
_MAX_LOG_PRECISION = 80.0


class Terms(NamedTuple):
    """The loss terms, unweighted scalar tensors."""

    instance: Tensor
    variance: Tensor
    seed: Tensor

    def total(self) -> Tensor:
        """The sum of the terms with the published weights: 1, 10 and 1."""
        return self.instance + 10 * self.variance + self.seed


class _Windows(NamedTuple):
    """The P pixels in the windows of K objects, sorted by object."""

    #: (P,) int64: index into the flattened batch.
    pixel: Tensor
    #: (P,) int64: the object of the window, 0 to K - 1.
    owner: Tensor
    #: (P,) bool: whether the pixel belongs to that object.
    inside: Tensor
    #: (K,) int64: the object's image.
    image: Tensor


def lovasz_hinge(logits: Tensor, truth: Tensor, owner: Tensor, count: int) -> Tensor:
    """(count,) Lovász hinge of each owner's pixels: the Lovász extension of the Jaccard loss on hinge errors.

    `logits`: (P,) float, > 0 means inside; `truth`: (P,) float, 0 or 1; `owner`: (P,) int64, 0 to count - 1.
    Berman et al., CVPR 2018, algorithm 1, for all owners in one sort.
    """
    errors = 1 - logits * (2 * truth - 1)
    order = _sort_by_owner_and_error(errors.detach(), owner)
    errors, inside, owner = F.relu(errors[order]), truth[order], owner[order]
    gradient = _jaccard_steps(inside, owner, count)
    return errors.new_zeros(count).index_add(0, owner, errors * gradient)


def _sort_by_owner_and_error(errors: Tensor, owner: Tensor) -> Tensor:
    """(P,) indices that sort by owner, then by error, largest first."""
    if not len(errors):
        return owner
    span = (errors.max() - errors.min()).double() + 1
    return torch.argsort(owner * span - errors)


def _jaccard_steps(inside: Tensor, owner: Tensor, count: int) -> Tensor:
    """(P,) increase of the owner's Jaccard loss by each pixel, if that pixel and those before it are mispredicted."""
    sizes = torch.bincount(owner, minlength=count)
    totals = inside.new_zeros(count, dtype=torch.float64).index_add(0, owner, inside.double())
    before = (totals.cumsum(0) - totals)[owner]
    first = (sizes.cumsum(0) - sizes)[owner]
    position = torch.arange(1, len(owner) + 1, device=owner.device)
    wrong_inside = inside.double().cumsum(0) - before
    wrong_outside = position - first - wrong_inside
    jaccard = 1 - (totals[owner] - wrong_inside) / (totals[owner] + wrong_outside)
    steps = jaccard.diff(prepend=jaccard.new_zeros(1))
    return torch.where(position == first + 1, jaccard, steps).to(inside.dtype)


def grid(height: int, width: int, unit: float) -> Tensor:
    """(2, height, width) float32: each pixel's x and y in grid units of `unit` pixels."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).float() / unit


def boxes(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(N, H, W) labels → (K, 6) int64, per object: image, label, row start and stop, column start and stop."""
    result = [
        (image, label, rows.start, rows.stop, columns.start, columns.stop)
        for image, image_labels in enumerate(labels)
        for label, box in enumerate(ndimage.find_objects(image_labels), 1)
        if box is not None
        for rows, columns in (box,)
    ]
    return np.array(result, np.int64).reshape(-1, 6)


def batch_loss(raw: Tensor, labels: Tensor, objects: Tensor, unit: float, window: int | None = WINDOW) -> Terms:
    """The loss of a batch: the mean over its images.

    `raw`: (N, 2 + bandwidths + 1, H, W), the output of `BranchedERFNet`; `labels`: (N, H, W) int, 0 is background;
    `objects`: the result of `boxes(labels)`; all on one device. `unit`: pixels per grid unit. An object's centre is
    its mean pixel coordinate. With `window=None` the Lovász term covers the full images.
    """
    number, _, height, width = raw.shape
    fields = raw.permute(0, 2, 3, 1).flatten(0, 2)
    coordinates = grid(height, width, unit).to(raw.device).flatten(1).T.repeat(number, 1)
    embedding = torch.tanh(fields[:, :2]) + coordinates
    sigma, seediness = fields[:, 2:-1], torch.sigmoid(fields[:, -1])
    windows = _windows(labels, objects, window)
    count = len(windows.image)
    pixel, owner = windows.pixel[windows.inside], windows.owner[windows.inside]
    inside_sigma = sigma.index_select(0, pixel)
    mean = _means(inside_sigma, owner, count)
    spread = (inside_sigma - mean.detach().index_select(0, owner)).square().mean(1, keepdim=True)
    centre, precision = _means(coordinates[pixel], owner, count), torch.exp((10 * mean).clamp(max=_MAX_LOG_PRECISION))
    windows = _drop_distant(windows, embedding, centre, precision)
    phi = torch.exp(-_distances(windows, embedding, centre, precision))
    instance = lovasz_hinge(2 * phi - 1, windows.inside.to(phi.dtype), windows.owner, count)
    weight = 1 / (torch.bincount(windows.image, minlength=number)[windows.image] * number)
    seed_error = seediness.index_select(0, pixel) - phi[windows.inside].detach()
    seed = (seediness * (labels.flatten() == 0)).square().sum() + 10 * seed_error.square().sum()
    variance = _means(spread, owner, count)[:, 0]
    return Terms((instance * weight).sum(), (variance * weight).sum(), seed / labels.numel())


def _windows(labels: Tensor, objects: Tensor, margin: int | None) -> _Windows:
    """Each object's box, extended by `margin` pixels on all sides and clipped to the image."""
    _, height, width = labels.shape
    image, label = objects[:, 0], objects[:, 1]
    top, bottom = _extend(objects[:, 2:4], margin, height)
    left, right = _extend(objects[:, 4:6], margin, width)
    row, row_owner = _ranges(top, bottom - top)
    pixel, strip = _ranges((image[row_owner] * height + row) * width + left[row_owner], (right - left)[row_owner])
    owner = row_owner[strip]
    return _Windows(pixel, owner, labels.flatten()[pixel] == label[owner], image)


def _extend(ranges: Tensor, margin: int | None, length: int) -> tuple[Tensor, Tensor]:
    """(K, 2) starts and stops, extended by `margin` (None: without limit) and clipped to [0, length]."""
    margin = length if margin is None else margin
    return (ranges[:, 0] - margin).clamp(min=0), (ranges[:, 1] + margin).clamp(max=length)


def _ranges(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The concatenated ranges start[i], …, start[i] + count[i] - 1, and the i of each element."""
    index = torch.arange(len(count), device=count.device).repeat_interleave(count)
    shift = start - (count.cumsum(0) - count)
    return shift[index] + torch.arange(len(index), device=count.device), index


@torch.no_grad()
def _drop_distant(windows: _Windows, embedding: Tensor, centre: Tensor, precision: Tensor) -> _Windows:
    """Keep the pixels that can have a hinge error: those inside the object, and those that embed near its centre."""
    near = _distances(windows, embedding, centre, precision) < _MAX_DISTANCE
    keep = (windows.inside | near).nonzero()[:, 0]
    return _Windows(windows.pixel[keep], windows.owner[keep], windows.inside[keep], windows.image)


def _distances(windows: _Windows, embedding: Tensor, centre: Tensor, precision: Tensor) -> Tensor:
    """(P,) -ln φ: each pixel's squared distance from its owner's centre in embedding space, in bandwidths."""
    offset = embedding.index_select(0, windows.pixel) - centre.index_select(0, windows.owner)
    return (offset.square() * precision.index_select(0, windows.owner)).sum(1)


def _means(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """(P, C) values → (count, C) mean over each owner's pixels."""
    sizes = torch.bincount(owner, minlength=count).clamp(min=1)
    return values.new_zeros(count, values.shape[1]).index_add(0, owner, values) / sizes[:, None]
