"""The three-term loss of Neven et al. 2019 (equations 5 to 11), its Lovász term over windows, all objects at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

#: Pixels around an object's box that its Lovász term sees: as good as the same loss for a tenth of the time. Farther
#: away φ and the hinge are 0, unless a margin is beyond a dozen pixels or an offset carries a pixel across the window.
WINDOW = 48
#: Outside the object, a pixel whose φ is below 1e-4 adds nothing worth sorting: its hinge is 2φ. This is -ln φ.
_FARTHEST = 9.21
#: Of 10 σ. Beyond it exp overflows float32, and infinity times a distance of 0 is NaN.
_STEEPEST = 80.0


class Terms(NamedTuple):
    """The loss's terms, each a scalar tensor, unweighted."""

    instance: Tensor
    variance: Tensor
    seed: Tensor

    def total(self) -> Tensor:
        """Their sum with the published weights, 1, 10 and 1."""
        return self.instance + 10 * self.variance + self.seed


class _Windows(NamedTuple):
    """The pixels in the windows of K objects, one object after another."""

    #: (P,) int64: where in the flattened batch.
    pixel: Tensor
    #: (P,) int64: whose window, 0 to K - 1.
    owner: Tensor
    #: (P,) bool: whether the pixel is the owner's.
    inside: Tensor
    #: (K,) int64: the image that the object is in.
    image: Tensor


def lovasz_hinge(logits: Tensor, truth: Tensor, owner: Tensor, count: int) -> Tensor:
    """(count,) the Lovász extension of the Jaccard loss, on hinge errors, of each owner's pixels.

    `logits`: (P,) float, > 0 means inside; `truth`: (P,) float, 0 or 1; `owner`: (P,) int64, 0 to count - 1.
    Berman et al., CVPR 2018, algorithm 1, for all owners in one sort.
    """
    errors = 1 - logits * (2 * truth - 1)
    order = _by_owner_then_largest(errors.detach(), owner)
    errors, inside, owner = F.relu(errors[order]), truth[order], owner[order]
    gradient = _jaccard_steps(inside, owner, count)
    return errors.new_zeros(count).index_add(0, owner, errors * gradient)


def _by_owner_then_largest(errors: Tensor, owner: Tensor) -> Tensor:
    if not len(errors):
        return owner
    span = (errors.max() - errors.min()).double() + 1
    return torch.argsort(owner * span - errors)


def _jaccard_steps(inside: Tensor, owner: Tensor, count: int) -> Tensor:
    """(P,) by how much each pixel of a sorted row, taken as wrong, raises its owner's Jaccard loss."""
    sizes = torch.bincount(owner, minlength=count)
    totals = inside.new_zeros(count, dtype=torch.float64).index_add(0, owner, inside.double())
    before = (totals.cumsum(0) - totals)[owner]
    first = (sizes.cumsum(0) - sizes)[owner]
    place = torch.arange(1, len(owner) + 1, device=owner.device)
    wrong_inside = inside.double().cumsum(0) - before
    wrong_outside = place - first - wrong_inside
    jaccard = 1 - (totals[owner] - wrong_inside) / (totals[owner] + wrong_outside)
    steps = jaccard.diff(prepend=jaccard.new_zeros(1))
    return torch.where(place == first + 1, jaccard, steps).to(inside.dtype)


def grid(height: int, width: int, unit: float) -> Tensor:
    """(2, height, width) float32: each pixel's x and y in grid units (`unit` pixels each)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).float() / unit


def boxes(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(N, H, W) labels → (K, 6), for each object its image, its label, its first row and the row after its last, and
    likewise its columns.
    """
    found = [
        (image, label, rows.start, rows.stop, columns.start, columns.stop)
        for image, own in enumerate(labels)
        for label, box in enumerate(ndimage.find_objects(own), 1)
        if box is not None
        for rows, columns in (box,)
    ]
    return np.array(found, np.int64).reshape(-1, 6)


def batch_loss(raw: Tensor, labels: Tensor, objects: Tensor, unit: float, window: int | None = WINDOW) -> Terms:
    """The mean of the images' losses.

    `raw`: (N, 2 + bandwidths + 1, H, W) as BranchedERFNet gives; `labels`: (N, H, W) int, 0 is background; `objects`:
    what `boxes` says of them; all on one device. `unit`: pixels per grid unit. An object's centre is its mean pixel
    coordinate. `window=None` takes the Lovász term over the full images.
    """
    number, _, height, width = raw.shape
    fields = raw.permute(0, 2, 3, 1).flatten(0, 2)
    coordinates = grid(height, width, unit).to(raw.device).flatten(1).T.repeat(number, 1)
    embedding = torch.tanh(fields[:, :2]) + coordinates
    sigma, seediness = fields[:, 2:-1], torch.sigmoid(fields[:, -1])
    near = _windows(labels, objects, window)
    count = len(near.image)
    own, whose = near.pixel[near.inside], near.owner[near.inside]
    own_sigma = sigma.index_select(0, own)
    mean = _means(own_sigma, whose, count)
    spread = (own_sigma - mean.detach().index_select(0, whose)).square().mean(1, keepdim=True)
    centre, precision = _means(coordinates[own], whose, count), torch.exp((10 * mean).clamp(max=_STEEPEST))
    near = _active(near, embedding, centre, precision)
    phi = torch.exp(-_apart(near, embedding, centre, precision))
    instance = lovasz_hinge(2 * phi - 1, near.inside.to(phi.dtype), near.owner, count)
    share = 1 / (torch.bincount(near.image, minlength=number)[near.image] * number)
    wrong = seediness.index_select(0, own) - phi[near.inside].detach()
    seed = (seediness * (labels.flatten() == 0)).square().sum() + 10 * wrong.square().sum()
    variance = _means(spread, whose, count)[:, 0]
    return Terms((instance * share).sum(), (variance * share).sum(), seed / labels.numel())


def _windows(labels: Tensor, objects: Tensor, window: int | None) -> _Windows:
    """Every object's box with `window` pixels more on each side, cut at the image's border."""
    _, height, width = labels.shape
    image, label = objects[:, 0], objects[:, 1]
    top, bottom = _widened(objects[:, 2:4], window, height)
    left, right = _widened(objects[:, 4:6], window, width)
    row, whose = _ranges(top, bottom - top)
    pixel, strip = _ranges((image[whose] * height + row) * width + left[whose], (right - left)[whose])
    owner = whose[strip]
    return _Windows(pixel, owner, labels.flatten()[pixel] == label[owner], image)


def _widened(ends: Tensor, by: int | None, length: int) -> tuple[Tensor, Tensor]:
    """(K, 2) first places and those after the last, with `by` more on both sides, inside [0, length)."""
    by = length if by is None else by
    return (ends[:, 0] - by).clamp(min=0), (ends[:, 1] + by).clamp(max=length)


def _ranges(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers from first[i] on, count[i] of them, one i after another; and each one's i."""
    which = torch.arange(len(count), device=count.device).repeat_interleave(count)
    shift = first - (count.cumsum(0) - count)
    return shift[which] + torch.arange(len(which), device=count.device), which


@torch.no_grad()
def _active(near: _Windows, embedding: Tensor, centre: Tensor, precision: Tensor) -> _Windows:
    """Only the pixels that can have a hinge error: the objects' own, and those that embed near the centre."""
    keep = (near.inside | (_apart(near, embedding, centre, precision) < _FARTHEST)).nonzero()[:, 0]
    return _Windows(near.pixel[keep], near.owner[keep], near.inside[keep], near.image)


def _apart(near: _Windows, embedding: Tensor, centre: Tensor, precision: Tensor) -> Tensor:
    """(P,) -ln φ: the squared distance of each pixel's embedding from its owner's centre, in bandwidths."""
    away = embedding.index_select(0, near.pixel) - centre.index_select(0, near.owner)
    return (away.square() * precision.index_select(0, near.owner)).sum(1)


def _means(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """(P, C) values → (count, C) means over each owner's."""
    sizes = torch.bincount(owner, minlength=count).clamp(min=1)
    return values.new_zeros(count, values.shape[1]).index_add(0, owner, values) / sizes[:, None]
