"""Result formats: what a result can be saved as. A format is a module with a `FORMAT`, listed in `registry`.

The modules import what they need when they write, so that importing `maskq` stays fast.
"""
