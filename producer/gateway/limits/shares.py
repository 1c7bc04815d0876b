"""Shares of what the gateway has a limited amount of, so that no single sender can hold all of it."""

import ipaddress

from fastapi import Request

from ..errors import GatewayBusy

#: One sender may hold this share of a limit at most, unless a setting says otherwise.
SHARE = 0.75


def sender_of(request: Request) -> str:
    """Who sends a request: the address that a trusted proxy reports, or that of the connection.

    Of IPv6 the network of 64 bits, since one client may use all of its addresses.
    """
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


class Shares:
    """Counts what senders hold of one thing. Not thread-safe: one event loop uses it."""

    def __init__(self, limit: int, sender_limit: int, what: str, setting: str = "") -> None:
        """All senders together may hold `limit`, and each `sender_limit`.

        Errors say `what` there is too much of, and the `setting` that allows a sender more.
        """
        self._limit, self._sender_limit, self._what, self._setting = limit, sender_limit, what, setting
        self._held: dict[str, int] = {}
        #: What all senders hold.
        self.total = 0

    def take(self, sender: str, amount: int) -> None:
        """Count an amount for the sender, after which it has to be given back. Raises `GatewayBusy`."""
        if self._held.get(sender, 0) + amount > self._sender_limit:
            more = f"; {self._setting} allows more" if self._setting else ""
            raise GatewayBusy(
                f"{self._sender_limit:,} {self._what} from {sender or 'one address'}, which is the limit for one: wait "
                f"until some of them have ended{more}"
            )
        if self.total + amount > self._limit:
            raise GatewayBusy(f"{self._limit:,} {self._what}, which is the limit: try again later")
        self.total += amount
        self._held[sender] = self._held.get(sender, 0) + amount

    def give(self, sender: str, amount: int) -> None:
        """Give an amount back."""
        self.total -= amount
        left = self._held.pop(sender, 0) - amount
        if left:
            self._held[sender] = left
