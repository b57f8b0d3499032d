"""What the certificates claim about the trajectory from their start: their laws, and Theorem M.

P, S3 and S1 are the corrected and the sharp form of Theorem 3.2 and are checked there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kltheory.certification import Survey
from kltheory.checks.claims import Claim
from kltheory.checks.observed import Observed
from kltheory.errors import LimitReached
from kltheory.loss_functions import Radial, RadialLoss
from kltheory.numeric.certificate import Certificate, ladder
from kltheory.numeric.certificate_law import is_concave
from kltheory.numeric.reach import product_error
from kltheory.numeric.reach_rate import mirror_rate
from kltheory.numeric.recovery import Assumption

if TYPE_CHECKING:
    from kltheory.empirical.network import TwoLayerNetwork
    from kltheory.problem import Problem
    from kltheory.symbolic.desingularizer import Desingularizer

__all__ = ["certificate_claims"]

Array = NDArray[np.float64]

_CHECKED = {"hidden": ("S4Q", "S4A", "q"), "both": ("V", "C", "C0")}


def certificate_claims(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str,
    psi: Desingularizer,
    observed: Observed,
) -> Iterator[Claim]:
    """The laws of the certificates from the network on, and for V fixed those of Theorem M."""
    if network.k * network.n > 4_000_000:
        return
    try:
        survey = Survey(problem, network, train, psi)
        facts = survey.facts(network)
    except LimitReached:
        return
    names = _CHECKED[train] if problem.linear or train == "both" else ()
    for certificate in ladder(facts, names=names):
        yield from _law(certificate, psi, survey.floor)
    if observed.decrease is not None:
        factor = Fraction(observed.decrease)
        concave = facts.void is None and is_concave(psi, facts.loss0)
        needed = Assumption("ψ concave", "met" if concave else "violated", "on [0, L0]")
        for certificate in ladder(facts, c=factor, names=names):
            for claim in _law(certificate, psi, survey.floor):
                named = replace(claim, bound=f"{claim.bound} descent", law="descent")
                yield replace(named, hypotheses=(needed, *claim.hypotheses))
    if train == "hidden" and problem.linear and survey.floor == 0.0 and survey.void is None:
        yield from _mirror(problem, network, survey.left)


def _law(found: Certificate, psi: Desingularizer, floor: float) -> Iterator[Claim]:
    """Loss, parameters and path of one certificate."""
    rests = (Assumption(found.name, "met" if found.holds else "violated", found.reason),)
    if not found.holds:
        yield Claim(
            found.name, "sharp", "loss", f"L(y(t)) ≤ the law of {found.name}", _nothing, rests
        )
        return
    law = found.law(psi)

    def loss(o: Observed) -> Array:
        return np.asarray(law.loss(o.t)) + floor

    def parameters(o: Observed) -> Array:
        return np.asarray(law.parameters(o.t))

    def length(o: Observed) -> Array:
        return np.full(o.t.size, math.inf if found.path_length is None else found.path_length)

    yield Claim(found.name, "sharp", "loss", f"L(y(t)) ≤ the law of {found.name}", loss, rests)
    yield Claim(
        f"{found.name}, θ", "sharp", "parameters", "‖θ(t) - θ∞‖ ≤ ∫ dp/s from 0 to p(t)",
        parameters, rests,
    )  # fmt: skip
    yield Claim(
        f"{found.name}, path", "sharp", "path", "∫‖θ'‖ ≤ ∫ dp/s from 0 to ψ(L0)", length, rests
    )


def _nothing(observed: Observed) -> Array:
    return np.full(observed.t.size, math.inf)


def _mirror(problem: Problem, network: TwoLayerNetwork, left: Array | None) -> Iterator[Claim]:
    """Theorem M: D_h/t, and the dual decay of the residual."""
    loss = problem.loss
    if isinstance(loss, Radial) or not (loss.convex or isinstance(loss, RadialLoss)):
        return
    if not (network.activation.dphi(network.z) != 0.0).all():
        return
    matrix, y = network.observe(problem) / math.sqrt(network.k), problem.observation
    norms = network.columns.norms() / math.sqrt(network.k)
    error = product_error(np.full(problem.m, problem.norm_F), norms, problem.m + network.n)
    if left is not None:
        matrix, y = left.T @ matrix, left.T @ y
        rows = np.full(y.size, 2 * problem.norm_F)
        error = product_error(rows, norms, 4 * (problem.m + network.n))
    found = mirror_rate(
        matrix, y, network.z, network.activation,
        loss=loss, omega=network.omega, matrix_error=error,
    )  # fmt: skip
    rests = (Assumption("M", "met" if found.proved else "violated", found.reason),)

    def divergence(o: Observed) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(found.divergence / (found.homogeneity * found.omega * o.t))

    yield Claim("M", "sharp", "loss", "L(y(t)) ≤ D_h/(κωt)", divergence, rests)
    if isinstance(loss, RadialLoss):
        yield Claim(
            "M, dual", "sharp", "observation", "‖y(t) - y‖ ≤ min(‖r(0)‖e^(-∫λ), ‖S*‖/τ, √(D_h/ωτ))",
            lambda o: np.asarray(found.residual_bound(o.t)), rests,
        )  # fmt: skip
