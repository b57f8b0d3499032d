"""From a real operator to a sentence: deblurring, tomography, compressed sensing.

    python docs/examples/recover.py

The picture is the photograph that scikit-image ships, made small.  The network is x = U g(u, θ)
with a fixed matrix U (the identity, or cosine waves), two layers, and its output layer trained.
Its Jacobian is constant then, σ_J = ‖φ(z)‖/√k and Λ = 0, so that the sharp bound needs no condition
on the width, and the gradient flow has a closed form to compare with: y(t) - y = e^{-tK}(y(0) - y)
with K = σ_J² (FU)(FU)ᵀ.  Every number of a sentence is a guarantee; the truth is printed beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

import kltheory as kl
from kltheory.numeric.inverse_questions import time_to_signal_error
from kltheory.numeric.sample_complexity import width_subspace

NOISE = 0.01
"""The standard deviation of the noise; the picture has values from 0 to 1."""


@dataclass(frozen=True)
class Story:
    """What the theory promises for one problem, and what happens."""

    name: str
    sentence: str
    stop: float
    promised: float
    happened: float
    observation_promised: float
    observation_happened: float


def picture(side: int) -> np.ndarray:
    """The photograph, averaged over squares."""
    from skimage import data

    image = data.camera()
    block = image.shape[0] // side
    cut = image[: block * side, : block * side].reshape(side, block, side, block)
    return cut.mean(axis=(1, 3)) / 255


def matrix_of(operator: Callable[[np.ndarray], np.ndarray], side: int) -> np.ndarray:
    """The matrix of a linear map of pictures, column by column."""
    return np.stack([operator(e.reshape(side, side)).ravel() for e in np.eye(side * side)], axis=1)


def cosines(side: int, count: int) -> np.ndarray:
    """The lowest cosine waves of a square, orthonormal, as columns."""
    waves = [fft.idctn(e.reshape(side, side), norm="ortho").ravel() for e in np.eye(side * side)]
    order = np.argsort([sum(divmod(i, side)) for i in range(side * side)], kind="stable")
    return np.stack([waves[i] for i in order[:count]], axis=1)


def recover(
    name: str, forward: np.ndarray, basis: np.ndarray, truth: np.ndarray, seed: int = 0
) -> Story:
    """Stop when the optimisation error is as small as the noise, and compare with the flow."""
    rng = np.random.default_rng(seed)
    clean = forward @ truth
    y = clean + NOISE * rng.standard_normal(clean.shape)
    composed = forward @ basis
    left, singular, _ = np.linalg.svd(composed, full_matrices=False)
    y = left @ (left.T @ y)  # what no picture of the model explains cannot be reduced
    network = kl.TwoLayerNetwork.draw(n=basis.shape[1], k=400, d=10, seed=seed)
    sigma_j = np.linalg.norm(network.activation.phi(network.z)) / np.sqrt(network.z.size)
    start = composed @ network.forward()

    nearest = basis @ (basis.T @ truth)
    distance = float(np.linalg.norm(truth - nearest))
    noise = float(np.linalg.norm(y - left @ (left.T @ clean)))
    outside = float(np.linalg.norm(forward @ (truth - nearest)))
    bound = kl.sharp_bound(
        kl.loss("mse"),
        sigma_f=float(singular[-1]),
        sigma_j=float(sigma_j),
        deviation=0,
        loss0=float(np.sum((start - y) ** 2) / 2),
        noise=noise,
        mu=float(singular[-1]),
        lip_f=outside / distance if distance > 1e-9 else 0,
        dist=distance,
    )
    stop = bound.stopping_time()
    residual = left @ (np.exp(-stop * sigma_j**2 * singular**2) * (left.T @ (start - y)))
    found = basis @ np.linalg.lstsq(composed, y + residual, rcond=None)[0]
    promised, happened = bound.signal(stop), float(np.linalg.norm(found - truth))
    p = bound.observation(stop)
    tenth = time_to_signal_error(bound, 1.1 * bound.signal(10 * stop))
    size = float(np.linalg.norm(truth))
    sentence = (
        f"{name}: F is {forward.shape[0]} x {forward.shape[1]}, σ_F = {singular[-1]:.3g},"
        f" σ_J = {sigma_j:.3g}, ‖ε‖ = {noise:.3g}. Stop at t = {stop:.4g}: the residual is then"
        f" at most the noise, and the error of the picture (norm {size:.3g}) is at most"
        f" {promised:.3g}. It is {happened:.3g}. From t = {tenth.value:.4g} on the bound is within"
        f" a tenth of its floor {tenth.floor:.3g}."
    )
    return Story(name, sentence, stop, promised, happened, p, float(np.linalg.norm(residual)))


def deblurring() -> Story:
    """SciPy's Gaussian blur of a 16 x 16 picture; every picture is in the model."""
    side = 16
    blur = matrix_of(lambda e: ndimage.gaussian_filter(e, 0.6, mode="nearest"), side)
    return recover("deblurring", blur, np.eye(side * side), picture(side).ravel())


def tomography() -> Story:
    """scikit-image's Radon transform of a 12 x 12 picture from 30 angles."""
    from skimage.transform import radon

    side, angles = 12, np.linspace(0, 180, 30, endpoint=False)
    projections = matrix_of(lambda e: radon(e, theta=angles, circle=False), side)
    return recover("tomography", projections, np.eye(side * side), picture(side).ravel())


def compressed_sensing() -> Story:
    """Gaussian measurements of a picture that is nearly a sum of 40 cosine waves.

    Their number is what makes F injective on the waves with probability 0.999; the picture is not
    quite such a sum, and the bound has a term for that.
    """
    side, waves = 16, 40
    enough = kl.measurements(width_subspace(waves), failure=1e-3, theory="sharp")
    rng = np.random.default_rng(1)
    gaussian = rng.standard_normal((2 * enough.m, side * side)) / np.sqrt(2 * enough.m)
    return recover(
        "compressed sensing", gaussian, cosines(side, waves), picture(side).ravel(), seed=1
    )


EXAMPLES = (deblurring, tomography, compressed_sensing)


def main() -> None:
    """Print the sentences."""
    for example in EXAMPLES:
        print(example().sentence, end="\n\n")


if __name__ == "__main__":
    main()
