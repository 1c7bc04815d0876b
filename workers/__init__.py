"""Processes: one per device, the CPU pool, what starts and restarts them, and the embedded stack.

`devices` reads a device specification, and `probe` finds what there is. `device` is a device's process: `owner` is the
thread that owns the device, `batching` says what it runs next, `forward` runs it, `cudnn` chooses whether to search,
`models` are those that are loaded, `lanes` sees that both lanes are served, and `counters` and `pool` tell of it.
`cluster`, `flower` and `gateway` are the other processes. `node` makes Celery workers of the first two: `reconnect` and
`events` are about their connection, `parting` about their end. `supervisor` keeps all of them up, over a `link`;
`redis_server`, `ports` and `stack` make a whole of them; `commands`, `run`, `up` and `bench` (with its `timeline`) are
what a user starts.
"""
