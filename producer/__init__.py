"""What a web backend talks to: the job schema, the client, the state in Redis, the HTTP gateway."""
