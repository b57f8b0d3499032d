# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · Recovery
#
# **Aim.** You can say what stands between a small residual and a good reconstruction: three terms,
# one of which training can remove. You compute them for deblurring and for tomography.
#
# **You need** lessons 1 to 3, singular values.
#
# | part | minutes |
# | --- | --- |
# | theory | 10 |
# | practice | 20 |
# | exercises | 15 |

# %% [markdown]
# ## Theory
#
# Let $\Sigma$ be the set of all signals that the network can produce. Suppose that the operator does
# not confuse them: with $\bar x_\Sigma$ a point of $\Sigma$ nearest to the true signal $\bar x$,
#
# $$\|F(x) - F(\bar x_\Sigma)\| \ge \mu\,\|x - \bar x_\Sigma\| \qquad\text{for } x\in\Sigma. \tag{4.1}$$
#
# This is *restricted injectivity*: on the whole space it fails as soon as there are fewer
# observations than unknowns; on $\Sigma$ it need not. Then
#
# $$\|x(t)-\bar x\| \;\le\; \underbrace{\frac{\psi(L(t))}{\mu}}_{\text{training}}
# + \underbrace{\Big(1+\frac{L_F}{\mu}\Big)\operatorname{dist}(\bar x,\Sigma)}_{\text{model}}
# + \underbrace{\frac{\|\varepsilon\|}{\mu}}_{\text{noise}}. \tag{4.2}$$
#
# *Proof.* $\mu\|x-\bar x_\Sigma\| \le \|F(x)-y\| + \|y-F(\bar x)\| + \|F(\bar x)-F(\bar x_\Sigma)\|
# \le \psi(L) + \|\varepsilon\| + L_F\operatorname{dist}(\bar x,\Sigma)$, and the triangle inequality.
# $\square$
#
# Training removes the first term only. The factor $1/\mu$ is the price of an ill-posed operator, and
# it stands in front of the noise too: that is why stopping early helps.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

import kltheory as kl
from kltheory.course import check

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Practice
#
# A picture of $10\times10$ pixels, and two operators that SciPy can make: a Gaussian blur, and the
# sums along parallel rays from 24 directions (a Radon transform).

# %%
side = 10
grid = np.arange(side) - (side - 1) / 2
picture = (grid[:, None] ** 2 + grid**2 < 22) * 0.6 + (
    (grid[:, None] + 1) ** 2 + (grid - 1) ** 2 < 5
) * 0.4


def matrix_of(operator):
    """The matrix of a linear map of pictures, one column for each pixel."""
    return np.stack([operator(e.reshape(side, side)).ravel() for e in np.eye(side**2)], axis=1)


def rays(image):
    """Sums along parallel rays from 24 directions."""
    angles = np.linspace(0, 180, 24, endpoint=False)
    turned = [ndimage.rotate(image, angle, reshape=False, order=1) for angle in angles]
    return np.stack([image.sum(axis=0) for image in turned])


operators = {
    "deblurring": matrix_of(lambda e: ndimage.gaussian_filter(e, 0.6, mode="nearest")),
    "tomography": matrix_of(rays),
}
for name, A in operators.items():
    singular = np.linalg.svd(A, compute_uv=False)
    print(f"{name}: {A.shape}, singular values from {singular[0]:.3g} to {singular[-1]:.3g}")

# %% [markdown]
# Both are injective, so $\mu = \sigma_F$ on the whole space, and a network whose output layer is
# trained can produce every picture: $\operatorname{dist}(\bar x,\Sigma) = 0$. We start the output
# layer at zero. Then convergence needs no condition on the width at all (lesson 5), and the rate is
# known before training.

# %%
rows = []
for name, A in operators.items():
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.standard_normal(A.shape[0])
    left = np.linalg.svd(A, full_matrices=False)[0]
    noise = left @ (left.T @ noise)  # what no picture explains cannot be fitted
    problem = kl.Problem(A, A @ picture.ravel() + noise, signal=picture.ravel(), noise=noise)
    network = kl.TwoLayerNetwork.draw(n=side**2, k=20, d=10, output="zero", seed=0)
    law = kl.certify(problem, network, train="both").law("C0")
    mu, size = problem.sigma_F, float(np.linalg.norm(noise))
    stop = law.stopping_time(size)
    small = 0.5 * (size / 10) ** 2  # the residual is a tenth of the noise: little changes then
    run = kl.flow(problem, network, train="both", times=np.linspace(0, stop, 21), tol=small)
    error = np.linalg.norm(run.network.forward() - picture.ravel())
    promised = kl.signal_error(law.psi(stop), mu=mu, noise=size).value
    rows.append((name, A, problem, law, run, stop, size / mu))
    print(f"{name}: stop at t = {stop:.4g}; the error is then at most {promised:.3g}")
    print(f"    actual error at t = {run.t[-1]:.3g}: {error:.3g}")
print(f"the picture has norm {np.linalg.norm(picture):.3g}")

# %%
figure, axes = plt.subplots(2, 3, figsize=(7, 4.8))
for line, (name, A, problem, _, run, _, _) in zip(axes, rows, strict=True):
    start = np.linalg.lstsq(A, problem.observation, rcond=None)[0]
    for axis, image, title in (
        (line[0], picture, "truth"),
        (line[1], run.network.forward().reshape(side, side), f"{name}, t = {run.t[-1]:.3g}"),
        (line[2], start.reshape(side, side), "exact fit of y"),
    ):
        axis.imshow(image, cmap="gray", vmin=-0.1, vmax=1.1)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
plt.show()

# %% [markdown]
# ### The three terms over time

# %%
figure, axis = plt.subplots(figsize=(7, 3.8))
name, A, problem, law, run, stop, floor = rows[0]
t = np.linspace(0, stop, 101)
training = law.psi(t) / problem.sigma_F
axis.semilogy(t, training, "-", color="#0b5ea8", label="training: ψ(L(t))/μ")
axis.axhline(floor, ls="--", color="#b35806", label="noise: ‖ε‖/μ")
axis.semilogy(t, training + floor, "-", color="black", lw=2, label="(4.2): their sum")
fit = np.linalg.lstsq(A, problem.observation, rcond=None)[0]
axis.axhline(
    np.linalg.norm(fit - picture.ravel()), ls=":", color="black", label="error of an exact fit"
)
axis.set(xlabel="t", ylabel="bound on ‖x(t) - x̄‖", title=name)
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ### Fewer observations than unknowns
#
# With random measurements, how many are enough for (4.1) on a subspace, or on sparse signals? This is
# Proposition 3.5, with the Gaussian width of the set:

# %%
from kltheory.numeric.sample_complexity import width_subspace

enough = kl.measurements(width_subspace(40), failure=1e-3, theory="sharp")
print(f"a subspace of dimension 40: {enough.m} Gaussian measurements, whatever n is")

# %% [markdown]
# ## Discussion
#
# - The promised error is several times the actual one: $\mu$ is the worst direction, and the noise
#   hits all of them. It is a bound and not an estimate.
# - If $\Sigma$ is small, $\mu$ can be large while the operator is not injective; then the model term
#   appears. This is the trade that a network with a fixed output layer makes.
# - In this version (HAL v1) of the paper the first term of (13) has a factor $2/(\sigma_F\sigma_J)$,
#   which makes it too small where $\sigma_F\sigma_J > 2$: `kltheory audit E13`.

# %% [markdown]
# ## Exercises
#
# **4.1** $\mu = 0.2$, $\|\varepsilon\| = 0.05$, $\Sigma$ is the whole space, and training has reached
# $\psi(L) = 0.01$. What does (4.2) give?

# %% tags=["exercise"]
check("4.1", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 4.1</summary>
#
# $(0.01 + 0.05)/0.2 = 0.3$.
# </details>

# %% tags=["solution"]
assert check("4.1", 0.3)

# %% [markdown]
# **4.2** In the same situation, what is the least that (4.2) can ever promise, however long one
# trains?

# %% tags=["exercise"]
check("4.2", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 4.2</summary>
#
# $\|\varepsilon\|/\mu = 0.25$: training removes the first term only.
# </details>

# %% tags=["solution"]
assert check("4.2", 0.25)

# %% [markdown]
# **4.3** Now $\operatorname{dist}(\bar x,\Sigma) = 0.1$ and $L_F = 1$, with $\mu = 0.2$,
# $\|\varepsilon\| = 0.05$, $\psi(L) = 0.01$ as before. And now?

# %% tags=["exercise"]
check("4.3", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 4.3</summary>
#
# $0.3 + (1 + 5)\cdot 0.1 = 0.9$: a modelling error of 0.1 costs 0.6.
# </details>

# %% tags=["solution"]
assert check("4.3", 0.9)
