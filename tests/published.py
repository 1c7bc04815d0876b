"""The published clustering, transcribed step by step from the paper's description (Neven et al. 2019, section 3.3).

It is the oracle of the tests and the yardstick of the benchmark: plain torch, every seed against every foreground
pixel, nothing clever.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def cluster_published(
    embedding: Floats,
    precision: Floats,
    seediness: Floats,
    *,
    seed_threshold: float = 0.9,
    min_pixels: int = 36,
    min_unclustered: int = 0,
) -> tuple[NDArray[np.int32], list[float]]:
    """Labels (H, W) and scores of dense fields: (2, H, W), (1 or 2, H, W) and (H, W)."""
    mask = seediness > 0.5
    found, scores = cluster_foreground(
        embedding[:, mask], precision[:, mask], seediness[mask], seed_threshold, min_pixels, min_unclustered
    )
    labels = np.zeros(seediness.shape, np.int32)
    labels[mask] = found
    return labels, scores


def cluster_foreground(
    embedding: Floats,
    precision: Floats,
    seediness: Floats,
    seed_threshold: float = 0.9,
    min_pixels: int = 36,
    min_unclustered: int = 0,
) -> tuple[NDArray[np.int32], list[float]]:
    """The labels of the foreground pixels alone, (N,), and the scores: what the published loop works on."""
    e, s, seeds = torch.from_numpy(embedding), torch.from_numpy(precision), torch.from_numpy(seediness)
    unclustered = torch.ones(len(seeds), dtype=torch.bool)
    found = torch.zeros(len(seeds), dtype=torch.int32)
    scores: list[float] = []
    while unclustered.sum() > min_unclustered:
        candidates = torch.where(unclustered, seeds, torch.tensor(-1.0))
        best = candidates.max()
        if best < np.float32(seed_threshold):
            break
        seed = int((candidates == best).nonzero()[0])  # ties: the first in row-major order
        unclustered[seed] = False
        phi = torch.exp(-((e - e[:, seed : seed + 1]).pow(2) * s[:, seed : seed + 1]).sum(0))
        proposal = phi > 0.5
        size = proposal.sum()
        if size > min_pixels and (unclustered & proposal).sum().float() / size.float() > 0.5:
            scores.append(float(best))
            found[proposal] = len(scores)
        unclustered[proposal] = False
    return found.numpy(), scores
