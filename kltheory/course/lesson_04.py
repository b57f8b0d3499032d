"""Lesson 4: recovery."""

from __future__ import annotations

from kltheory.teaching import Exercise

__all__ = ["EXERCISES"]


def _error(observation: str, **constants: str) -> float:
    from kltheory.numeric.recovery import signal_error

    return float(signal_error(observation, mu="0.2", noise="0.05", **constants).value)


EXERCISES = (
    Exercise("4.1", "(4.2) with μ = 0.2, ‖ε‖ = 0.05, ψ(L) = 0.01?", lambda: _error("0.01"),
             mistakes={"0.06": "divide by μ: the operator makes small what was large",
                       "0.26": "the noise is divided by μ too, and so is the training term"}),
    Exercise("4.2", "The least that (4.2) promises then?", lambda: _error("0"),
             mistakes={"0": "the noise stays",
                       "0.05": "the noise is divided by μ"}),
    Exercise("4.3", "And with dist = 0.1, L_F = 1?",
             lambda: _error("0.01", lip_f="1", dist="0.1"),
             mistakes={"0.4": "L_F/μ multiplies the distance too",
                       "0.8": "the 1 of 1 + L_F/μ is missing"}),
)  # fmt: skip
