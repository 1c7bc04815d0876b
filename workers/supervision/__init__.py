"""Processes that are started, watched by a heartbeat, restarted and stopped."""
