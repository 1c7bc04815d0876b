"""Supervision of processes: start, heartbeat, restart, log files, stop."""
