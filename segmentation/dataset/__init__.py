"""Data sets of labelled images: folders as people keep them, paired by name, split, and checked before long work.

A data set is a folder with `images/` and `labels/`, whose files are paired by stem. Labels are integer masks, 0 is
background. An optional `index.csv` with the columns `id` (the stem) and `split` assigns images to splits. Other names
and layouts are understood if their meaning is certain; docs/train.md lists them.
"""

from ..errors import InvalidDataset
from .checks import (
    Facts,
    examine,
    label_warnings,
    object_areas,
    refuse_foreground_masks,
    refuse_numbered_background,
)
from .members import has_splits, pairs, train_val_split
from .pair import Pair
from .splits import INDEX, SPLITS, write_index

__all__ = [
    "INDEX",
    "SPLITS",
    "Facts",
    "InvalidDataset",
    "Pair",
    "examine",
    "has_splits",
    "label_warnings",
    "object_areas",
    "pairs",
    "refuse_foreground_masks",
    "refuse_numbered_background",
    "train_val_split",
    "write_index",
]
