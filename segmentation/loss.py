"""The three-term loss of Neven et al. 2019 (equations 5 to 11), its Lovász term over windows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

#: Pixels around an object's box that its Lovász term sees: as good as the same loss for a tenth of the time. Farther
#: away φ and the hinge are 0, unless a margin is beyond a dozen pixels or an offset carries a pixel across the window.
WINDOW = 48
#: Outside the object, a pixel whose φ is below this adds nothing worth sorting: its hinge is 2φ.
_ACTIVE = 1e-4
#: Of 10 σ. Beyond it exp overflows float32, and infinity times a distance of 0 is NaN.
_STEEPEST = 80.0


class Terms(NamedTuple):
    """The loss's terms, each a scalar tensor, unweighted."""

    instance: Tensor
    variance: Tensor
    seed: Tensor
    #: Not in the paper: how far the embeddings are from their centres, in starting margins; see `Terms.total`.
    pull: Tensor

    def total(self, pull: float = 0.0) -> Tensor:
        """Their sum with the published weights, 1, 10 and 1.

        Early in a training the Lovász term hardly tells an offset where to go; `pull` adds a plain regression of the
        offsets, which does, and is taken back to 0 as the training goes on.
        """
        return self.instance + 10 * self.variance + self.seed + pull * self.pull


def lovasz_hinge(logits: Tensor, truth: Tensor) -> Tensor:
    """The Lovász extension of the Jaccard loss, on hinge errors (Berman et al., CVPR 2018, algorithm 1).

    `logits`: (P,) float, > 0 means inside; `truth`: (P,) float, 0 or 1.
    """
    errors = 1 - logits * (2 * truth - 1)
    errors, order = torch.sort(errors, descending=True)
    inside = truth[order]
    total = inside.sum()
    jaccard = 1 - (total - inside.cumsum(0)) / (total + (1 - inside).cumsum(0))
    gradient = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return F.relu(errors) @ gradient


def grid(height: int, width: int, unit: float) -> Tensor:
    """(2, height, width) float32: each pixel's x and y in grid units (`unit` pixels each)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).float() / unit


def image_loss(raw: Tensor, labels: Tensor, coordinates: Tensor, window: int | None = WINDOW) -> Terms:
    """The loss of one image.

    `raw`: (2 + bandwidths + 1, H, W) as BranchedERFNet gives; `labels`: (H, W) int, 0 is background;
    `coordinates`: (2, H, W) from `grid`. An object's centre is its mean pixel coordinate. `window=None` takes the
    Lovász term over the full image.
    """
    height, width = labels.shape
    embedding = torch.tanh(raw[:2]) + coordinates
    sigma, seediness = raw[2:-1], torch.sigmoid(raw[-1])
    instance = variance = pull = raw.new_zeros(())
    seed = seediness[labels == 0].square().sum()
    boxes = [(n, box) for n, box in enumerate(ndimage.find_objects(labels.numpy(force=True)), 1) if box is not None]
    for label, box in boxes:
        rows, columns = (_widen(s, window, n) for s, n in zip(box, (height, width), strict=True))
        inside = labels[rows, columns] == label
        centre = coordinates[:, rows, columns][:, inside].mean(1)
        own = sigma[:, rows, columns][:, inside]
        mean = own.mean(1)
        variance = variance + (own - mean.detach()[:, None]).square().mean()
        distance = (embedding[:, rows, columns] - centre[:, None, None]).square()
        pull = pull + distance.sum(0)[inside].add(1e-12).sqrt().mean()
        phi = torch.exp(-(distance * torch.exp((10 * mean).clamp(max=_STEEPEST))[:, None, None]).sum(0))
        active = inside | (phi > _ACTIVE)
        instance = instance + lovasz_hinge(2 * phi[active] - 1, inside[active].float())
        seed = seed + 10 * (seediness[rows, columns][inside] - phi[inside].detach()).square().sum()
    objects = max(len(boxes), 1)
    return Terms(instance / objects, variance / objects, seed / (height * width), pull / objects)


def _widen(side: slice, by: int | None, length: int) -> slice:
    """The slice with `by` more on both ends, inside [0, length)."""
    if by is None:
        return slice(0, length)
    return slice(max(side.start - by, 0), min(side.stop + by, length))


def batch_loss(raw: Tensor, labels: Tensor, unit: float) -> Terms:
    """The mean of `image_loss` over a batch: `raw` (N, C, H, W), `labels` (N, H, W), `unit` pixels per grid unit."""
    _, height, width = labels.shape
    coordinates = grid(height, width, unit).to(raw.device)
    each = [image_loss(r, t, coordinates) for r, t in zip(raw, labels, strict=True)]
    return Terms(*(torch.stack(term).mean() for term in zip(*each, strict=True)))
