"""The state in Redis: the ledger of jobs, the payload store, queues, statistics."""
