"""The Celery app: two tasks, JSON only, acknowledged late, one message in hand per slot."""

from typing import Any

from celery import Celery

from maskq.producer.schema import Stage
from maskq.producer.settings import Settings
from maskq.producer.state.broker_url import BrokerUrl
from maskq.producer.state.celery_config import celery_settings
from maskq.producer.state.routing import TASKS

from .runner import StageFailed, StageReleased, StageRunner
from .transport import use_plain_transport


def create_app(settings: Settings) -> Celery:
    """An app on the settings' broker, without tasks: enough for Flower."""
    url, ssl = BrokerUrl.parse(settings.broker_url).for_celery if settings.broker_url else (None, {})
    use_plain_transport()
    app = Celery("maskq", broker=url, set_as_current=True)
    app.conf.update(celery_settings(), **ssl)
    app.conf.update(worker_hijack_root_logger=True, worker_cancel_long_running_tasks_on_connection_loss=False)
    # A Redis that is full, or a replica for a while, refuses commands: wait as for one that is away.
    app.conf.update(broker_channel_error_retry=True, broker_connection_max_retries=None)
    return app


def add_stage(app: Celery, stage: Stage, runner: StageRunner, **options: Any) -> None:
    """Register the stage as a task of the app: `tasks.embed` or `tasks.cluster`."""

    def run(job_id: str) -> str:
        return runner(job_id)

    # `throws`: the ledger already knows these; Celery logs one line, no traceback.
    app.task(name=TASKS[stage], throws=(StageFailed, StageReleased), **options)(run)
