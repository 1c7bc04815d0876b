"""The ledger: the record of every job, moved by atomic transitions. It is the truth; Celery messages only wake workers.

A worker *claims* a stage and holds it under a lease that it renews. Finishing, failing or releasing the stage needs the
same claim. So a second delivery of a message finds the stage claimed or finished and is dropped, and a job whose worker
died comes back when the lease runs out. A transition that leaves a job waiting also puts it in line for its queue: no
crash can come between the two. A transition and its payloads share one round trip if the payload store is this Redis.
"""

from .bulk import Bulk, Entered, NewJob
from .claims import Claim, Granted, StageResult
from .endings import JobEnd, Outbox
from .gathering import AT_ONCE, MAX_BYTES, Found, Gathering
from .records import Cancellations
from .script import LedgerConfig
from .sharing import Shared, Sharing
from .stacks import Plane
from .submission import Identity
from .sweeps import Sweeps

__all__ = [
    "AT_ONCE",
    "MAX_BYTES",
    "Cancellations",
    "Claim",
    "Entered",
    "Found",
    "Granted",
    "Identity",
    "JobEnd",
    "Ledger",
    "LedgerConfig",
    "NewJob",
    "Plane",
    "Shared",
    "StageResult",
]


class Ledger(Bulk, Sharing, Gathering, Sweeps, Outbox):
    """Every transition of a job with its payloads, for producers, workers, clients and the reconciler."""
