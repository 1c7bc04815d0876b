"""The work of one job: the Celery app, its two tasks, and the rules of their delivery.

`delivery` claims a stage in the ledger, runs it under a lease and says how it ended: `leases` are renewed while it
goes on, and `isolation` has suspects run alone. `embed` and `cluster` are the stages, with a `handover` between them;
`reconcile` does, `every` second or so, what has to happen without anyone asking; `app` makes Celery tasks of them;
`trace` notes what is done when. `outputs` writes a result's files.
"""
