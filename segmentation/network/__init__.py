"""The network: what it is shown, how it runs, and how its output comes back to the image."""
