"""A CPU worker whose clustering blocks while a file exists. Run like `maskq.workers.cluster`.

The environment variable `SLOWLY` names the file.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from maskq.segmentation.clustering.cluster import cluster as original
from maskq.tasks import cluster as stage
from maskq.workers.cluster import main

SLOWLY = "SLOW_CLUSTER_WHILE"


def cluster(*arguments: Any) -> Any:
    """`maskq.segmentation.clustering.cluster.cluster` after a wait that checks for no cancellation or signal."""
    while Path(os.environ[SLOWLY]).exists():
        time.sleep(0.05)
    return original(*arguments)


if __name__ == "__main__":
    stage.cluster = cluster  # type: ignore[attr-defined, assignment]
    main()
