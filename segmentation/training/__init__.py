"""Training: crops of labelled images, the loss, the optimiser, validation, curves."""
