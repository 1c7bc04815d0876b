"""Polygons with fewer corners, for programs that draw or send them. They are no longer the labels exactly."""

import numpy as np
import shapely

from .outlines import Rings, polygons_of


def simplified(rings: Rings, tolerance: float) -> Rings:
    """Leave out corners that are at most `tolerance` pixels off the line without them.

    Every polygon stays valid, and no part or hole is lost. The corners that remain are not moved. Neighbours that
    shared an edge may overlap or gape by twice the tolerance.
    """
    points, sizes, labels, exterior = [np.empty((0, 2), np.int32)], [0], [], []
    for number, polygons in polygons_of(rings):
        shape = shapely.MultiPolygon([(polygon[0], polygon[1:]) for polygon in polygons])
        for part in shapely.get_parts(shapely.orient_polygons(shapely.simplify(shape, tolerance))):
            for is_hole, ring in enumerate((part.exterior, *part.interiors)):
                corners = shapely.get_coordinates(ring)[:-1].astype(np.int32)
                points.append(corners)
                sizes.append(len(corners))
                labels.append(number)
                exterior.append(not is_hole)
    return Rings(np.concatenate(points), np.cumsum(sizes), np.array(labels, np.int32), np.array(exterior, np.bool_))
