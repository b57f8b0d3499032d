"""The closure of φ(ℝ): what a neuron can give."""

from __future__ import annotations

import math

from kltheory.activation import Activation

__all__ = ["image"]

# GELU and SiLU have their minimum where φ' vanishes; the values are rounded away from the image.
_IMAGES = {
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "sin": (-1.0, 1.0),
    "arctan": (-math.pi / 2, math.pi / 2),
    "softplus": (0.0, math.inf),
    "gelu": (-0.16997120747991, math.inf),
    "silu": (-0.27846454276108, math.inf),
}


def image(activation: Activation) -> tuple[float, float] | None:
    """Return (inf φ, sup φ); None for a user's activation, where it is not known.

    >>> from kltheory.activation import get
    >>> image(get("softplus"))
    (0.0, inf)
    """
    return _IMAGES.get(activation.name)
