"""Example code to copy, and sample images."""
