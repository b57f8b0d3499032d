"""What `certify` and `check` share: the options that make a problem and a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kltheory.cli.options import EXACT, param_option
from kltheory.errors import InputError, brief

if TYPE_CHECKING:
    from kltheory.empirical.network import TwoLayerNetwork
    from kltheory.problem import Problem

_F = TypeVar("_F", bound=Callable[..., Any])

MAX_ENTRIES = 2**27
"""Entries that a random operator may have."""

MAX_SEED = 2**63 - 1
"""The largest seed."""

_SIZE = re.compile(r"([0-9]{1,9})[x×]([0-9]{1,9})")

_OPTIONS = (
    click.option("--operator", metavar="FILE", help="The matrix A: .npy, .csv or .mtx."),
    click.option("--gaussian", metavar="MxN", help="Or a random A, variance 1/N, and a random x̄."),
    click.option("--observation", metavar="FILE", help="y: .npy or .csv; else y = A x̄ + ε."),
    click.option(
        "--noise-level", type=EXACT, default="0", show_default=True,
        help="β: the noise of a random y is uniform on [-β, β].",
    ),
    click.option("--k", type=EXACT, default="200", show_default=True, help="Neurons."),
    click.option("--d", type=EXACT, help="Size of the input u (default: n)."),
    click.option("--activation", default="sigmoid", show_default=True, help="Its name."),
    click.option(
        "--train", type=click.Choice(["hidden", "both"]), default="hidden", show_default=True,
        help="The layers that are trained.",
    ),
    click.option(
        "--output-init", type=click.Choice(["rademacher", "uniform", "zero"]),
        default="rademacher", show_default=True, help="The law of V(0).",
    ),
    click.option("--loss", default="mse", show_default=True, help="Name of the loss."),
    param_option,
    click.option("--seed", type=EXACT, default="0", show_default=True, help="Of all chance."),
)  # fmt: skip


def instance_options(command: _F) -> _F:
    """Give a command the options that `instance` reads."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def instance(
    *,
    operator: str | None,
    gaussian: str | None,
    observation: str | None,
    noise_level: Fraction,
    k: Fraction,
    d: Fraction | None,
    activation: str,
    train: str,
    output_init: str,
    loss: str,
    params: dict[str, Fraction],
    seed: Fraction,
) -> tuple[Problem, TwoLayerNetwork]:
    """Return the problem and the network that the options describe.

    A random A has independent N(0, 1/N) entries, x̄ is N(0, I) and y = A x̄ + ε; A, x̄, ε and the
    network are four independent children of the seed, so that one does not change with another.

    Raises InputError for options that contradict each other or do not fit.
    """
    import numpy as np

    from kltheory.empirical.network import TwoLayerNetwork
    from kltheory.empirical.seeded import HELD_ENTRIES
    from kltheory.files import read_matrix, read_vector
    from kltheory.problem import Problem

    whole = _whole("seed", seed, 0, MAX_SEED)
    if (operator is None) == (gaussian is None):
        raise InputError("give one of --operator FILE and --gaussian MxN.")
    level = _real("--noise-level", noise_level)
    if level < 0:
        raise InputError(f"--noise-level: got {level:g}; β is a number >= 0.")
    if observation is not None and level:
        raise InputError("--noise-level goes with a random y; --observation has its own noise.")
    rngs = [
        np.random.default_rng(np.random.SeedSequence(whole, spawn_key=(9, role)))
        for role in range(3)
    ]
    matrix: Any
    if gaussian is not None:
        m, n = _size(gaussian)
        matrix = rngs[0].standard_normal((m, n)) / np.sqrt(n)
    else:
        assert operator is not None
        matrix = read_matrix(operator)
    m, n = (int(side) for side in matrix.shape)
    signal = noise = None
    if observation is None:
        signal = rngs[1].standard_normal(n)
        noise = rngs[2].uniform(-level, level, m)
        y = matrix @ signal + noise
    else:
        y = read_vector(observation)
    values = {name: _real(f"--param {name}", value) for name, value in params.items()}
    problem = Problem(matrix, y, loss=loss, signal=signal, noise=noise, loss_parameters=values)
    neurons = _whole("k", k, 1, 10**9)
    inputs = _whole("d", d, 1, 10**9) if d is not None else n
    if neurons * max(n, inputs) > 64 * HELD_ENTRIES:
        raise InputError(
            f"a network with k = {neurons}, n = {n}, d = {inputs} is too large for one call."
        )
    network = TwoLayerNetwork.draw(
        n=n, k=neurons, d=inputs, activation=activation, output=output_init, seed=whole
    )
    return problem, network


def _real(name: str, value: Fraction) -> float:
    if abs(value) >= 10**150:
        raise InputError(f"{name}: the number is too large; at most 1e150 is taken.")
    return float(value)


def _whole(name: str, value: Fraction, least: int, most: int) -> int:
    if value.denominator != 1 or not least <= value <= most:
        raise InputError(
            f"--{name}: got {brief(value)}; give a whole number from {least} to {most}."
        )
    return int(value)


def _size(text: str) -> tuple[int, int]:
    """Read MxN.

    >>> _size("10x60")
    (10, 60)
    """
    match = _SIZE.fullmatch(text.strip().lower())
    m, n = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (m and n) or m * n > MAX_ENTRIES:
        raise InputError(
            f"--gaussian: got {text[:40]!r}; give MxN such as 10x60, at most {MAX_ENTRIES} entries."
        )
    return m, n
