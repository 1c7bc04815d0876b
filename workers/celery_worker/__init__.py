"""A Celery worker as maskq runs it: start, reconnect, events, shutdown."""
