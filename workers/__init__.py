"""Processes: one per device, the CPU pool, what starts and restarts them, and the embedded stack.

`devices` reads a device specification, and `probe` finds what there is. `device` is a device's process: `owner` is the
thread that owns the device, `batching` says what it runs next, `forward` runs it, `cudnn` chooses whether to search,
`lanes` sees that both lanes are served, and `counters` and `pool` tell of it. `cluster` and `flower` are the other
processes. `supervisor` keeps them up, over a `link`; `redis_server` and `stack` make a whole of them; `run`, `up` and
`bench` (with its `timeline`) are the commands.
"""
