"""Lesson 7: what width really decides."""

from __future__ import annotations

import math

from kltheory.teaching import Exercise

__all__ = ["EXERCISES"]

_COLUMNS = ((1.0, 2.0, -1.0, -3.0),)


def _end(low: float) -> float:
    """The largest N a with low ≤ a_i ≤ 1, by a linear program."""
    import numpy as np
    from scipy.optimize import linprog

    columns = np.array(_COLUMNS[0])
    return float(columns @ linprog(-columns, bounds=(low, 1.0)).x)


def _limit() -> float:
    from kltheory.numeric.reach import box_limit

    return box_limit(_COLUMNS, [5.0], 0.0, 1.0).upper


def _ratio() -> float:
    """(1 + E a²)/(E g a)² for a = 1 where g > 0, by integrals over the density of g."""
    from scipy.integrate import quad

    def density(g: float) -> float:
        return math.exp(-0.5 * g**2) / math.sqrt(2 * math.pi)

    square = quad(density, 0, math.inf)[0]
    mean = quad(lambda g: g * density(g), 0, math.inf)[0]
    return float((1 + square) / mean**2)


EXERCISES = (
    Exercise("7.1", "The upper end of the zonotope of (1, 2, -1, -3)?", lambda: _end(0.0),
             mistakes={"7": "with the sigmoid no a_i is negative",
                       "-1": "that is N a for a = (1, 1, 1, 1): some neurons are better off"}),
    Exercise("7.2", "And with tanh?", lambda: _end(-1.0),
             mistakes={"3": "the neurons with N_i < 0 help now, with a_i near -1"}),
    Exercise("7.3", "The limit of ½(Na - y)² for y = 5?", _limit,
             mistakes={"4": "the loss has a factor ½",
                       "0": "5 is outside the zonotope"}),
    Exercise("7.4", "k/m of (7.4) for a = 1 where g > 0?", _ratio,
             mistakes={"9.2": "that is for the best function",
                       "3.76": "E g a is squared in (7.4)"}),
)  # fmt: skip
