"""The work of one job: the Celery app, its two tasks, and the rules of their delivery.

`delivery` claims a stage in the ledger, runs it under a lease and says how it ended; `embed` and `cluster` are the
stages; `reconcile` sends again what was lost; `app` makes Celery tasks of them. `outputs` writes a result's files.
"""
