"""A CPU worker whose clustering takes as long as a file is there. Run as `maskq.workers.cluster` is.

The environment's `SLOWLY` names the file.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from maskq.tasks import cluster as stage
from maskq.workers.cluster import main

SLOWLY = "SLOW_CLUSTER_WHILE"


def cluster(*arguments: Any, own: Any = stage.cluster) -> Any:
    """`maskq.segmentation.clustering.cluster.cluster`, but slow: as code that looks at nothing until it is done."""
    while Path(os.environ[SLOWLY]).exists():
        time.sleep(0.05)
    return own(*arguments)


if __name__ == "__main__":
    stage.cluster = cluster
    main()
