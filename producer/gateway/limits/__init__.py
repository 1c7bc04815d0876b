"""Bounds on what one request may take: bytes in memory, seconds on a connection."""
