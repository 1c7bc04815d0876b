"""Things are killed, stopped, filled and cut off under load; every accepted job still ends once, with its result."""
