"""The embedded stack on one machine: a private Redis and all processes."""
