"""What makes submissions equal: digests of what a job computes, and of what was asked for under an idempotency key."""

import hashlib
import json
import socket
from urllib.parse import quote

from ..schema import JobSpec
from ..state.ledger import Identity
from .upload import StoredImage


def identify(
    image: bytes | StoredImage, spec: JobSpec, *, key: str | None, sender: str | None, reuse: bool, across_clients: bool
) -> Identity:
    """The identity of a submission.

    Its owner is the client or, if that is anonymous, the `sender` (default: this host). Keys are the owner's, and
    unless `across_clients`, so is the work that jobs share.
    """
    if not (key or reuse):
        return Identity()
    owner = spec.client or f"@{quote(socket.gethostname() if sender is None else sender, safe='')}"
    wanted = {
        "image": image.sha256 if isinstance(image, StoredImage) else hashlib.sha256(image).hexdigest(),
        "model": spec.model,
        "options": spec.options.model_dump(),
    }
    # An image over a job's own limit is refused: so the limit is part of the result. A deadline is not.
    work = wanted | {"owner": None if across_clients else owner, "max_pixels": spec.limits.max_pixels}
    return Identity(
        same=_digest(work) if reuse else None,
        key=f"{owner}:{key}" if key else None,
        request=_digest(wanted | {"limits": spec.limits.model_dump()}) if key else "",
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
