"""Convergence and recovery bounds for unsupervised neural networks in inverse problems.

The public names are loaded on first use, so that `import kltheory` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "1.0.0"

_HOME = {
    "rate": "kltheory.rates",
    "losses": "kltheory.symbolic.losses",
    "loss": "kltheory.symbolic.losses",
    "from_radial": "kltheory.symbolic.losses",
    "from_growth": "kltheory.symbolic.losses",
    "from_uniform_convexity": "kltheory.symbolic.losses",
    "kl_test": "kltheory.numeric.kl_test",
    "sharp_bound": "kltheory.numeric.sharp",
    "descent_bound": "kltheory.numeric.sharp",
    "signal_error": "kltheory.numeric.recovery",
    "local_signal_error": "kltheory.numeric.recovery",
    "guarantees": "kltheory.numeric.recovery",
    "measurements": "kltheory.numeric.sample_complexity",
    "estimate_from_gradients": "kltheory.numeric.estimate",
    "estimate_from_decay": "kltheory.numeric.estimate",
    "width": "kltheory.numeric.width",
    "check": "kltheory.checks",
    "check_trajectory": "kltheory.checks",
    "certify": "kltheory.certification",
    "explore": "kltheory.sliders",
    "reachability": "kltheory.numeric.reach",
    "box_limit": "kltheory.numeric.reach",
    "border_k": "kltheory.numeric.reach_width",
    "mirror_rate": "kltheory.numeric.reach_rate",
    "Problem": "kltheory.problem",
    "TwoLayerNetwork": "kltheory.empirical.network",
    "descend": "kltheory.empirical.dynamics",
    "flow": "kltheory.empirical.dynamics",
    "certified_flow": "kltheory.empirical.certified",
    "certified_distance": "kltheory.empirical.compare",
    "compare": "kltheory.empirical.compare",
    "reproduce": "kltheory.paper.figures",
    "audit": "kltheory.paper.audit",
    "RateLaw": "kltheory.rates",
    "Bound": "kltheory.rates",
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
