"""Flower on maskq's broker, read-only. Run as `python -m maskq.workers.flower ADDRESS PORT`."""

import os
import sys

from maskq.producer.settings import Settings
from maskq.tasks.celery_app import create_app

from .supervision.heartbeat import Heartbeat


def main(address: str, port: str) -> None:
    """Serve Flower until SIGTERM."""
    settings = Settings()
    heartbeat = Heartbeat(settings.grace_s)
    app = create_app(settings)
    heartbeat.ready()
    # By default Flower executes `flowerconfig.py` in the current folder.
    os.environ.setdefault("FLOWER_CONF", os.devnull)
    # `FLOWER_PORT=tcp://…` is in every pod of a Kubernetes namespace with a service named flower.
    os.environ.pop("FLOWER_PORT", None)
    options = [f"--address={address}", f"--port={port}", "--read_only=True", "--purge_offline_workers=60"]
    app.start(["flower", *options, f"--logging={settings.log_level.lower()}"])


if __name__ == "__main__":
    main(*sys.argv[1:])
