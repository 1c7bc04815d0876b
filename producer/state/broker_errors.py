"""What an error of the broker means for a producer, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import BrokerUnavailable, MaskqError, StoreFull

#: The first word of an error of Redis for which redis-py 8 has no class → what it means.
_BY_CODE = {
    "ACL": "the Redis user may not do this; give it the permission (ACL SETUSER)",  # within a script
    "MISCONF": "Redis can't write to its disk, so it takes no writes: free space there (its log says where)",
    "BUSY": "Redis runs a script that does not end: look for another program on this Redis",
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write: bring them back, or lower it",
    "UNKILLABLE": "Redis runs a script that does not end: look for another program on this Redis",
}


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
            return BrokerUnavailable(f"the Redis user may not do this: {error}; give it the permission (ACL SETUSER)")
        case redis.ClusterError() | redis.MovedError() | redis.ClusterCrossSlotError():
            return BrokerUnavailable(f"this is a Redis Cluster: {error}; maskq needs a single Redis")
        case redis.OutOfMemoryError():
            return StoreFull(f"Redis is full: {error}; wait until workers have done more, or give it more (maxmemory)")
    text = str(error).rpartition("caused error: ")[2]  # of a pipeline, redis-py names the command first
    code = text.partition(" ")[0]
    return BrokerUnavailable(f"{_BY_CODE[code]}: {text}") if code in _BY_CODE else None
