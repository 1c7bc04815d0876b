"""A log line for every job's end."""

import logging

from maskq.producer.state.ledger import JobEnd, Ledger

log = logging.getLogger(__name__)


def log_line(end: JobEnd, _: Ledger) -> None:
    """Log the job's id and final state at level INFO."""
    log.info("job %s has ended: %s", end.job_id, end.state)
