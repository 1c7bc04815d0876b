"""The process of one device: it batches images and runs networks on them."""
