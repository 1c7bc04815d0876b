"""A worker's transitions without a worker: jobs of a real ledger end as a test says."""

from __future__ import annotations

import numpy as np

from maskq import Settings
from maskq.producer.schema import Failure, Objects, Stage
from maskq.producer.state.connections import Connections
from maskq.producer.state.ledger import Claim, Granted, Ledger, StageResult
from maskq.producer.state.store import Payload
from tests.conftest import png


def finish(job_id: str, settings: Settings) -> bytes:
    """Take a job through both stages; returns its labels file."""
    connections, labels = Connections.open(settings), png(np.eye(4, dtype=np.uint8))
    objects = Objects(height=4, width=4, model="nuclei@3", objects=())
    payloads = {
        Stage.EMBED: {Payload.FIELDS: b"fields"},
        Stage.CLUSTER: {Payload.LABELS: labels, Payload.OBJECTS: objects.model_dump_json().encode()},
    }
    for stage, made in payloads.items():
        claim = _claim(connections.ledger, job_id, stage)
        assert connections.ledger.finish(claim, StageResult("done", made))
    connections.close()
    return labels


def fail(job_id: str, settings: Settings, failure: Failure) -> None:
    """End a job in its first stage."""
    connections = Connections.open(settings)
    assert connections.ledger.fail(_claim(connections.ledger, job_id, Stage.EMBED), failure)
    connections.close()


def _claim(ledger: Ledger, job_id: str, stage: Stage) -> Claim:
    claim = Claim(job_id, stage)
    assert isinstance(ledger.claim(claim, Payload.IMAGE, "worker"), Granted)
    return claim
