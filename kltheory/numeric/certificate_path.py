"""How the kernel can fall along q = ∫‖∇L‖, for V fixed and F = A: λ(q) from below.

Along the flow Z(z) = Z(z(0)) - ω Mᵀ S/√k with Z' = 1/φ' and S = ∫∇L, so that Z(z_i) stays within
ω‖M_i‖q/√k of its start; |φ'| rises and falls once on a monotone branch, so that its least value is
at an end of that interval.  Without Z, |z_i - z_i(0)| ≤ ω B1‖M_i‖q/√k, in descent as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kltheory.numeric.certificate_facts import EPS, Facts, Observed, gram_floor

__all__ = ["Profile", "profile"]

Array = NDArray[np.float64]

_WORK = 1e9
"""Multiplications that one profile may cost, in the end."""
_DEAD = 1e-7
"""A neuron whose φ' has fallen to this share is counted as lost."""
_DEPTH = 1e-4
"""The profile ends where λ has fallen to this share of λ(0)."""


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A lower staircase of λ(q)."""

    widths: Array
    """The lengths of the stairs along q."""
    floors: Array
    """A lower bound on λ on each; they do not rise."""

    @property
    def area(self) -> float:
        """∫ λ dq, a lower bound."""
        return math.fsum((self.widths * self.floors).tolist()) * (1 - 1e-15)


def profile(facts: Facts, seen: Observed, *, along_flow: bool, stairs: int = 100) -> Profile:
    """Return λ(q) = λ_min(ω/k Σ l_i(q) M_i M_iᵀ) as a staircase whose steps fall by a few per cent.

    `along_flow` says that z moves by the flow itself, so that Z may be used; a φ that is given by
    the user is bounded by its B1 and B2 in any case.  `stairs`: about how many, at most.
    """
    reach = facts.omega * seen.norms() / math.sqrt(facts.k)
    slopes = _Slopes(facts, reach, along_flow and facts.activation.built_in)
    scale = facts.omega / facts.k

    def floor(q: float) -> float:
        weights = np.square(slopes(q)) * scale
        value = math.sqrt(gram_floor(seen.columns, weights))
        value -= seen.error * math.sqrt(float(weights.max()))
        return max(0.0, value) ** 2 * (1 - 1e-9)

    first = last = floor(0.0)
    cost = facts.k * (seen.rank**2 + 200.0)
    count = int(min(stairs, max(24, _WORK / cost)))
    drop = -math.log(_DEPTH) / count
    positive = reach[reach > 0]
    step = drop / float(positive.max()) if positive.size else 0.0
    widths: list[float] = []
    floors: list[float] = []
    q = 0.0
    while first > 0 and step > 0 and len(floors) < 2 * count and last > _DEPTH * first:
        value = floor(q + step)
        fall = math.log(last / value) if value > 0 else math.inf
        if fall > 3 * drop and step > 1e-9 * (q + step):
            step /= 2 if fall > 6 * drop else 1.5
            continue
        if not value > 0:
            break
        widths.append(step * (1 - 4 * EPS))
        floors.append(value)
        q, last = q + step, value
        step *= min(3.0, max(0.5, drop / max(fall, 1e-12)))
    return Profile(np.array(widths), np.minimum.accumulate(np.array(floors)))


class _Slopes:
    """q -> lower bounds on |φ'(z_i)|."""

    def __init__(self, facts: Facts, reach: Array, through_z: bool) -> None:
        self.activation, self.z, self.reach = facts.activation, facts.z, reach
        self.through_z = through_z
        self.slack = 1e-15 * self.activation.B1
        with np.errstate(all="ignore"):
            slope = np.asarray(self.activation.dphi(self.z), dtype=float)
            self.start = np.abs(slope)
            if through_z:
                branches = self.activation.branches
                self.low, self.high = branches.interval(self.z)
                self.rising = np.sign(slope)
                self.Z0 = np.asarray(branches.Z(self.z), dtype=float)
                self.ends = [self.z, self.z]

    def __call__(self, q: float) -> Array:
        with np.errstate(all="ignore"):
            if not self.through_z:
                move = self.activation.B2 * self.activation.B1 * self.reach * q
                found = self.start - move * (1 + 1e-12)
            else:
                move = self.reach * q * (1 + 1e-9) + 1e-12 * np.abs(self.Z0)
                found = self.start
                for i, side in enumerate((-1.0, 1.0)):
                    self.ends[i] = self._end(self.ends[i], side, self.Z0 + side * move)
                    found = np.minimum(found, self._slope(self.ends[i]))
        return np.asarray(np.maximum(found * (1 - 1e-9) - self.slack, 0.0))

    def _slope(self, z: Array) -> Array:
        slope = np.abs(np.asarray(self.activation.dphi(z), dtype=float))
        inside = (z > self.low) & (z < self.high) & np.isfinite(slope)
        return np.asarray(np.where(inside, slope, 0.0))

    def _end(self, z: Array, side: float, target: Array) -> Array:
        """A z beyond Z⁻¹(target), seen from the start: Newton's steps from the last one, a nudge
        outward, and a look at Z there.  NaN, for good, where φ' is as good as 0."""
        live = np.flatnonzero(np.isfinite(z))
        out, z, target = np.full(z.shape, np.nan), z[live], target[live]
        low, high, outward = self.low[live], self.high[live], side * self.rising[live]
        Z, dphi = self.activation.branches.Z, self.activation.dphi
        for _ in range(4):
            ahead = z + dphi(z) * (target - Z(z))
            ahead = np.where(ahead > low, ahead, 0.5 * (z + low))
            z = np.where(ahead < high, ahead, 0.5 * (z + high))
        z = z + outward * 1e-10 * (1 + np.abs(z))
        good = side * (Z(z) - target) >= 0
        bad = ~good & (np.abs(dphi(z)) > _DEAD * self.start[live])
        if bad.any():
            inverse = self.activation.branches.Z_inverse
            again = np.asarray(inverse(target[bad], self.z[live][bad]), dtype=float)
            z[bad] = again + outward[bad] * 1e-8 * (1 + np.abs(again))
            good = side * (Z(z) - target) >= 0
        good &= np.abs(dphi(z)) > _DEAD * self.start[live]
        out[live] = np.where(good, z, np.nan)
        return out
