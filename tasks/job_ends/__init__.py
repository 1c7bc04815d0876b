"""What happens when a job ends: one file per hook, and the list of hooks.

The transition that ends a job (done, failed, cancelled, expired, dead) puts its end in the ledger's outbox, so no crash
comes between the two. The dispatcher of one worker process at a time calls every hook for it, then removes it. If that
process dies in between, the hooks are called again: a hook must tolerate an end that comes twice.

To add a hook (a webhook, a metric), write a file beside `log_line.py` and name it in `HOOKS`. A hook returns soon: slow
work belongs on a queue.
"""

from collections.abc import Callable
from typing import TypeAlias

from maskq.producer.state.ledger import JobEnd, Ledger

from .log_line import log_line

#: A hook gets the job's end, and the ledger to read the job's record from.
Hook: TypeAlias = Callable[[JobEnd, Ledger], None]

#: The hooks that are called for every job's end, in order.
HOOKS: tuple[Hook, ...] = (log_line,)
