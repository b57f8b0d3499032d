"""ψ' at a loss, as a number: for the KL test and for estimates from data."""

from __future__ import annotations

from typing import Any

import mpmath

from kltheory.errors import InputError
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.evaluate import EvaluationError, compile_expr

__all__ = ["Slope"]


class Slope:
    """s -> ψ'(s), correctly rounded up to a few units of the last place.

    >>> slope = Slope(Desingularizer.from_psi("sqrt(2*s)"))
    >>> slope(0.5)
    1.0
    """

    def __init__(self, desingularizer: Desingularizer) -> None:
        d = desingularizer
        if d.parameters:
            names = ", ".join(str(q) for q in d.parameters)
            raise InputError(f"ψ has the parameters {names}; give them values by with_values(...)")
        self.desingularizer = d
        self._ctx = mpmath.MPContext()
        self._ctx.prec = 80
        self._slope = compile_expr(d.derivative, d.symbol)
        self._loss = None if d.explicit else compile_expr(d.loss, d.symbol)
        self._radius = float(d.radius)
        self._last = self._ctx.zero

    @property
    def radius(self) -> float:
        """r0: ψ is defined on [0, r0[."""
        return self._radius

    def __call__(self, loss: float) -> float:
        """ψ'(loss), for 0 < loss < r0."""
        if not 0 < loss < self._radius:
            raise InputError(f"the loss is {loss}; it must lie between 0 and r0 = {self._radius}")
        p = self._ctx.mpf(loss)
        if self._loss is not None:
            p = self._ctx.exp(-self._root(p))
        return float(self._slope(self._ctx, p))

    def _root(self, loss: Any) -> Any:
        """y with S(e^{-y}) = loss, from the last one on: bisection with secant steps."""
        ctx = self._ctx
        target = ctx.log(loss)

        def miss(y: Any) -> Any:
            assert self._loss is not None
            try:
                return ctx.log(self._loss.at_exp(ctx, y)) - target
            except EvaluationError:
                return ctx.inf if y < 0 else ctx.ninf

        low = high = self._last
        step = ctx.one / 4
        at_low = at_high = miss(low)
        while at_low < 0:  # towards larger p
            high, at_high = low, at_low
            low, step = low - step, 2 * step
            at_low = miss(low)
        while at_high > 0:
            low, at_low = high, at_high
            high, step = high + step, 2 * step
            at_high = miss(high)
        for count in range(300):
            if high - low <= max(abs(low), abs(high), ctx.one) * ctx.ldexp(1, -70):
                break
            middle = (low + high) / 2
            if count % 3 and ctx.isfinite(at_low - at_high):
                middle = low + (high - low) * at_low / (at_low - at_high)
                nudge = (high - low) * ctx.ldexp(1, -24)  # so that both ends move
                middle += nudge if count % 2 else -nudge
                if not low < middle < high:
                    middle = (low + high) / 2
            value = miss(middle)
            if value >= 0:
                low, at_low = middle, value
            if value <= 0:
                high, at_high = middle, value
        self._last = (low + high) / 2
        return self._last
