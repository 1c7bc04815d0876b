"""What an error of the broker means for a producer, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import BrokerUnavailable, MaskqError, StoreFull
from .permissions import rules_for
from .pieces import MAKE_ROOM

#: The first word of an error of Redis for which redis-py 8 has no class → what it means.
_BY_CODE = {
    "MISCONF": "Redis can't write to its disk, so it takes no writes: free space there (its log says where)",
    "BUSY": "Redis runs a script that does not end: look for another program on this Redis",
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write: bring them back, or lower it",
    "UNKILLABLE": "Redis runs a script that does not end: look for another program on this Redis",
}
#: How Redis 7.2 and Redis 7.0 begin to say that the user may not run a command of a script.
_REFUSED_IN_SCRIPT = ("ACL failure in script", "The user executing the script")


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn errors of a broker that is away or refuses commands into `BrokerUnavailable` or `StoreFull`.

    Their messages name the remedy. Works as a decorator too. Errors that are the program's own stay as they are.
    """
    try:
        yield
    except MaskqError:  # first, so that a client without a broker (`maskq.testing`) never imports redis
        raise
    except Exception as error:
        from redis.exceptions import RedisError

        if isinstance(error, RedisError) and (explained := explain(error)):
            raise explained from error
        raise


def explain(error: Exception) -> MaskqError | None:
    """The typed error for an error of redis-py, after its retries; None for one that is the program's own."""
    from redis import exceptions as redis

    if "unknown command" in str(error) and "HELLO" in str(error):
        return BrokerUnavailable(f"this Redis is older than 6: {error}; maskq needs Redis 6.2 or newer, or Valkey")
    match error:
        case redis.AuthenticationError() | redis.AuthorizationError():
            return BrokerUnavailable(f"Redis refuses the login: {error}; correct the password in MASKQ_BROKER_URL")
        case redis.BusyLoadingError():
            return BrokerUnavailable(f"Redis still loads its data: {error}; try again in a while")
        case redis.ConnectionError() | redis.TimeoutError():
            return BrokerUnavailable(f"the broker does not answer: {error}")
        case redis.ReadOnlyError():
            return BrokerUnavailable(f"this Redis is a replica: {error}; MASKQ_BROKER_URL has to name the primary")
        case redis.NoPermissionError():
            return _forbidden(str(error))
        case redis.ClusterError() | redis.MovedError() | redis.ClusterCrossSlotError():
            return BrokerUnavailable(f"this is a Redis Cluster: {error}; maskq needs a single Redis")
        case _ if isinstance(error, redis.OutOfMemoryError) or "OOM command not allowed" in str(error):
            return StoreFull(f"Redis is full: {error}; {MAKE_ROOM}")
    text = str(error).rpartition("caused error: ")[2]  # of a pipeline, redis-py names the command first
    if text.startswith(_REFUSED_IN_SCRIPT):
        return _forbidden(text)
    code = text.partition(" ")[0]
    return BrokerUnavailable(f"{_BY_CODE[code]}: {text}") if code in _BY_CODE else None


def _forbidden(message: str) -> BrokerUnavailable:
    """The error of a missing permission, with the rules that give it."""
    rules = rules_for(message)
    remedy = f"ACL SETUSER NAME {rules}" if rules else "docs/places.md has the least that maskq needs"
    return BrokerUnavailable(f"the Redis user may not do this: {message}; give it the permission ({remedy})")
