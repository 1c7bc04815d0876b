"""A Celery worker as maskq runs it: start, reconnection, event batching, graceful shutdown."""
