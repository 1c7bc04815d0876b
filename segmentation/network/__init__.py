"""The network: preprocessing of images, architectures, inference, and resampling of its fields."""
