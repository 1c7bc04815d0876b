"""The producer side, used by web backends: job schema, client, state in Redis, HTTP gateway."""
