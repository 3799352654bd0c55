"""Latitude and longitude to metres: an equirectangular projection around the centre, and how far it is off."""

from __future__ import annotations

import numpy as np

# WGS 84, National Imagery and Mapping Agency, TR8350.2 (2000), table 3.1: semi-major axis in metres, and flattening.
AXIS, FLATTENING = 6_378_137.0, 1 / 298.257223563
SQUARED_ECCENTRICITY = FLATTENING * (2 - FLATTENING)
MOST_COMPARED = 300  # places whose distances are compared


def centre_of(latitude: np.ndarray, longitude: np.ndarray) -> tuple[float, float]:
    """The middle of the smallest box around places, degrees; also where it crosses the 180th meridian."""
    turned = unwrapped(longitude)
    return (float(latitude.min() + latitude.max()) / 2, float(turned.min() + turned.max()) / 2)


def unwrapped(longitude: np.ndarray) -> np.ndarray:
    """Longitudes without a jump at the 180th meridian: all within 180 degrees of the first."""
    return np.asarray(longitude[0] + (longitude - longitude[0] + 180) % 360 - 180)


def project(latitude: np.ndarray, longitude: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Metres east and north of the centre: arcs on the ellipsoid with the two radii of curvature of the centre's latitude."""
    phi = np.radians(centre[0])
    root = np.sqrt(1 - SQUARED_ECCENTRICITY * np.sin(phi) ** 2)
    normal, meridian = AXIS / root, AXIS * (1 - SQUARED_ECCENTRICITY) / root**3
    east = (longitude - centre[1] + 180) % 360 - 180
    return normal * np.cos(phi) * np.radians(east), meridian * np.radians(latitude - centre[0])


def largest_error(latitude: np.ndarray, longitude: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """How far distances between projected places are off at most: metres, and as a share of the distance.

    The true distance is the arc over the straight line between two points of the ellipsoid. Compared are the outermost places
    and others, at most `MOST_COMPARED`.
    """
    outermost = [values.argmin() for values in (x, y, x + y, x - y)] + [
        values.argmax() for values in (x, y, x + y, x - y)
    ]
    some = np.linspace(0, len(x) - 1, min(len(x), MOST_COMPARED)).astype(int)
    chosen = np.unique(np.concatenate([outermost, some]))
    phi, lam, px, py = (np.asarray(values)[chosen] for values in (np.radians(latitude), np.radians(longitude), x, y))
    normal = AXIS / np.sqrt(1 - SQUARED_ECCENTRICITY * np.sin(phi) ** 2)
    space = np.stack([
        normal * np.cos(phi) * np.cos(lam), normal * np.cos(phi) * np.sin(lam),
        normal * (1 - SQUARED_ECCENTRICITY) * np.sin(phi),
    ])  # fmt: skip
    straight = np.sqrt(((space[:, :, None] - space[:, None, :]) ** 2).sum(0))
    true = 2 * AXIS * np.arcsin(np.minimum(straight / (2 * AXIS), 1))
    flat = np.hypot(px[:, None] - px[None, :], py[:, None] - py[None, :])
    off = np.abs(flat - true)
    far = true > 1.0
    return float(off.max()), float((off[far] / true[far]).max()) if far.any() else 0.0
