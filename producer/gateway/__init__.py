"""The HTTP gateway, `maskq serve`: jobs in and masks out for those who are not Python. It needs `maskq[gateway]`.

Nothing else of the producer imports it. `app.py` puts it together from the routes of jobs (`jobs.py`), of their events
(`events.py`) and of operation (`operating.py`); `serve.py` is the process.
"""
