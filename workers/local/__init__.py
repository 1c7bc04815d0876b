"""The embedded stack on this machine, with its private Redis."""
