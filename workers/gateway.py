"""The HTTP gateway as a part of a stack: `maskq serve` that ends with its supervisor.

Run as `python -m workers.gateway ADDRESS PORT`.
"""

from __future__ import annotations

import sys

from producer.gateway.serve import serve
from producer.settings import Settings

from .link import Link


def main(address: str, port: str) -> None:
    """Answer until told to stop."""
    link = Link(Settings().grace_s)
    serve(address, int(port), listening=lambda _: link.ready())


if __name__ == "__main__":
    main(*sys.argv[1:])
