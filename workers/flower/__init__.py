"""Flower: maskq's jobs and workers on web pages and as metrics. Made for Flower 2.2, parts of which it replaces."""
