"""The work of one job: the Celery app, its two stages, and the rules by which a worker runs them.

`runner` runs a stage for one message, under a lease (`leases`); `embed` and `cluster` are the stages, with a
`field_payload` between them. `reconciler` and `job_ends` act without a message, each in a `periodic` thread.
"""
