"""Clustering of fields into objects, and the packed format of fields."""
