"""What `maskq models`, `evaluate` and `train` do, one file each."""
