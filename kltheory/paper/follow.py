"""A gradient flow for a witness: whole, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.flow import flow
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.trajectory import Trajectory
from kltheory.errors import LimitReached
from kltheory.problem import Problem

__all__ = ["follow"]


def follow(
    problem: Problem,
    network: TwoLayerNetwork,
    times: Sequence[float] | NDArray[np.float64],
    train: str = "hidden",
) -> Trajectory:
    """`kl.flow` up to the last of the times.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed on the way; half a flow is no evidence.
        LimitReached: the flow ended before.
    """
    run = flow(problem, network, train, times=times)
    if run.reason.startswith("interrupted"):
        raise KeyboardInterrupt
    if not run.t[-1] >= times[-1]:
        raise LimitReached(f"a flow of the audit ended early: {run.reason}")
    return run
