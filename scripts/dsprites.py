"""Draws sprites with the factors of dSprites (Matthey et al. 2017): shape, scale, orientation and position.

This is a re-rendering, not the published file: factors, their order and their values are dSprites', and so are the 64×64 pixels of
two colors and that orientations 0 and 39 (0 and 2π) look the same. The outlines are this script's own, so single pixels differ, and
figures on these images are not figures on dSprites.
"""

import numpy as np

SIZE = 64  # pixels a side
SHAPES = ["square", "ellipse", "heart"]
SCALES = np.linspace(0.5, 1.0, 6)
ORIENTATIONS = np.linspace(0.0, 2.0 * np.pi, 40)
POSITIONS = np.linspace(0.0, 1.0, 32)
FACTOR_SIZES = (len(SHAPES), len(SCALES), len(ORIENTATIONS), len(POSITIONS), len(POSITIONS))  # shape, scale, orientation, x, y
COUNT = int(np.prod(FACTOR_SIZES))  # 737,280

# In pixels at scale 1. No point of a sprite is further than RADIUS from its center, and centers stay that far from the border.
RADIUS = 15.5
HALF_SIDE = RADIUS / np.sqrt(2.0)
SEMI_AXES = (RADIUS, RADIUS / 2.0)
HEART_UNIT = RADIUS / 1.425  # the curve below reaches 1.424 from its center


def factors(index):
    """The five factors' indices of image `index` (an array is allowed), in dSprites' order: y varies fastest."""
    return np.stack(np.unravel_index(index, FACTOR_SIZES), axis=-1)


def inside(shape, u, v):
    """Whether points, in pixels at scale 1 from the center (v points down), are inside a sprite that is not turned."""
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= HALF_SIDE
    if shape == "ellipse":
        return (u / SEMI_AXES[0]) ** 2 + (v / SEMI_AXES[1]) ** 2 <= 1.0
    x, y = u / HEART_UNIT, -v / HEART_UNIT  # the sextic heart: (x² + y² - 1)³ <= x² y³
    return (x * x + y * y - 1.0) ** 3 <= x * x * y**3


def draw(index):
    """Image `index`: uint8 `[64, 64]`, 0 or 255."""
    shape, scale, orientation, x, y = factors(index)
    center_x, center_y = RADIUS + (SIZE - 2.0 * RADIUS) * np.array([POSITIONS[x], POSITIONS[y]])
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    dx, dy = (columns - center_x) / SCALES[scale], (rows - center_y) / SCALES[scale]
    cosine, sine = np.cos(ORIENTATIONS[orientation]), np.sin(ORIENTATIONS[orientation])
    return inside(SHAPES[shape], cosine * dx + sine * dy, cosine * dy - sine * dx).astype(np.uint8) * 255


def location_label(index):
    """The class of VTAB's dsprites_loc: the x position in 16 steps."""
    return factors(index)[..., 3] * 16 // len(POSITIONS)


def orientation_label(index):
    """The class of VTAB's dsprites_ori: the orientation in 16 steps, of two or three of the 40 each."""
    return factors(index)[..., 2] * 16 // len(ORIENTATIONS)
