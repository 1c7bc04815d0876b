"""kombu's Redis transport, whose connections send nothing that an older Redis refuses."""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

from maskq.producer.state.handshake import plain_handshake


class Channel(redis.Channel):
    """A channel with maskq's options of connections."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        return parameters | plain_handshake()


class Transport(redis.Transport):
    """The transport of `redis://`, `rediss://` and `redis+socket://` in maskq's own processes."""

    Channel = Channel


def use_plain_transport() -> None:
    """Let every later connection of kombu in this process use this transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
