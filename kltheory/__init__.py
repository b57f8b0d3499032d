"""Convergence and recovery bounds for unsupervised neural networks in inverse problems.

The public names are loaded on first use, so that `import kltheory` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "rate": "kltheory.rates",
    "losses": "kltheory.symbolic.losses",
    "loss": "kltheory.symbolic.losses",
    "width": "kltheory.numeric.width",
    "Problem": "kltheory.problem",
    "TwoLayerNetwork": "kltheory.empirical.network",
    "descend": "kltheory.empirical.dynamics",
    "flow": "kltheory.empirical.dynamics",
    "RateLaw": "kltheory.rates",
    "Bound": "kltheory.numeric.guarantees",
    "Desingularizer": "kltheory.symbolic.desingularizer",
    "KLTheoryError": "kltheory.errors",
    "InputError": "kltheory.errors",
    "ParseError": "kltheory.errors",
    "NotDesingularizing": "kltheory.errors",
    "LimitReached": "kltheory.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'kltheory' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
