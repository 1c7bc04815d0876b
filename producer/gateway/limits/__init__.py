"""Limits per request and in total: bytes in memory, throughput, idle time of connections."""
