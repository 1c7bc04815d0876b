"""Flower on maskq's broker, read-only. Run as `python -m maskq.workers.flower ADDRESS PORT`."""

import logging
import os
import signal
import sys

from flower.command import extract_settings, setup_logging
from flower.options import options
from tornado.log import enable_pretty_logging
from tornado.options import parse_config_file

from maskq.producer.settings import Settings
from maskq.tasks.celery_app import create_app

from ..celery_worker.broker_log import BrokerErrors
from ..supervision.heartbeat import Heartbeat
from .application import Application

log = logging.getLogger(__name__)

#: Upper bounds of `flower_task_runtime_seconds`: a small image takes milliseconds, a stack of planes minutes.
_RUNTIME_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0)
#: Flower remembers so many tasks, the last; each takes 6 kB.
_MAX_TASKS = 20_000
#: A worker that is gone for so long leaves Flower's list of workers, seconds.
_OFFLINE_S = 60


def main(address: str, port: str) -> None:
    """Serve Flower until SIGTERM."""
    settings = Settings()
    heartbeat = Heartbeat(settings.grace_s)
    ignored = _take_own_variables(settings)
    configure(settings, address, int(port))
    if ignored:
        log.warning("%s: another application's; maskq's own begin with MASKQ_FLOWER_", ", ".join(ignored))
    application = Application(create_app(settings), settings.flower_hosts)
    application.start_http_server()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    heartbeat.ready()
    try:
        application.start()
    finally:
        application.stop()


def configure(settings: Settings, address: str, port: int) -> None:
    """Set Flower's options: defaults, then those of the user's file, then those that have a setting."""
    options.task_runtime_metric_buckets = list(_RUNTIME_S)
    options.max_tasks, options.purge_offline_workers = _MAX_TASKS, _OFFLINE_S
    options.logging = settings.log_level.lower()
    if settings.flower_conf:
        parse_config_file(str(settings.flower_conf), final=False)
    options.address, options.port, options.read_only = address, port, True
    if settings.flower_basic_auth:
        options.basic_auth = [settings.flower_basic_auth]  # as text, Flower takes a comma for the end of the password
    if settings.flower_url_prefix:
        options.url_prefix = settings.flower_url_prefix
    extract_settings()
    enable_pretty_logging()
    setup_logging()
    for handler in logging.getLogger().handlers:
        handler.addFilter(BrokerErrors())


def _take_own_variables(settings: Settings) -> list[str]:
    """Remove Flower's variables from the environment and return their names: they are another application's."""
    found = sorted(name for name in os.environ if name.startswith("FLOWER_"))
    for name in found:
        del os.environ[name]
    if settings.flower_unauthenticated_api:
        os.environ["FLOWER_UNAUTHENTICATED_API"] = "true"  # Flower has no option for it
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
