"""Processes: one per device, the CPU pool, what starts and restarts them, and the embedded stack.

`devices` reads a device specification; `owner` is the thread that owns a device and batches by shape; `device`,
`cluster` and `flower` are what the processes run; `supervisor` keeps them up; `redis_server` and `stack` make a whole
of them; `run` and `up` are the commands.
"""
