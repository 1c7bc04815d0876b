"""Polygons of a label image's objects: outlines along pixel edges, as polygons with holes. Needs only numpy."""
