"""Things to copy from, and pictures to try maskq on."""
