"""Models as things: where they are, which versions there are, how they are loaded and imported."""
