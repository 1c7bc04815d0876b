"""From fields to objects: the packed fields and the clustering."""
