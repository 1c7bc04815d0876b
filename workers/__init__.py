"""maskq's processes: device workers, the CPU worker, Flower and the gateway, their supervisor, the embedded stack.

`programs` has the command line and environment of each process; `device/`, `cluster`, `flower` and `gateway` are what
runs in them; `celery_worker/` is common to the two kinds of workers. `supervision/` keeps processes running, and
`local/` combines them all with a private Redis.
"""
