"""Evaluation: what a model finds beside the truth, in numbers and pictures, and parameters chosen by it."""
