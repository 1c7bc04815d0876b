"""The client: submit images, wait for results."""
