"""Models as folders: their specs, storage locations, the registry, and import from other formats."""
