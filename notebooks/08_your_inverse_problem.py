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
# # 8 · Your own inverse problem
#
# **Aim.** You bring an operator, as a program. You leave with a guarantee: will training converge, how
# fast, when to stop, and how far the result can be from the truth; each checked on a run.
#
# **You need** lessons 3 to 5.
#
# | part | minutes |
# | --- | --- |
# | theory | 5 |
# | practice | 25 |
# | exercises | 15 |

# %% [markdown]
# ## Theory
#
# Everything that the theorems need to know of the operator are two numbers: $\sigma_F$, how much it
# shrinks what it does not lose, and $L_F$, how much it stretches. And training needs two programs:
# $x \mapsto Ax$, and $w\mapsto A^\top w$ for the gradient. The second is where most mistakes are made. It
# must satisfy
#
# $$\langle Ax, w\rangle = \langle x, A^\top w\rangle \qquad\text{for all } x, w, \tag{8.1}$$
#
# and (8.1) is a test: draw $x$ and $w$, compare two numbers.
#
# **The recipe.**
#
# 1. Write $A$ and $A^\top$; test (8.1).
# 2. Choose a network whose convergence can be proved. With both layers trained and zero output
#    weights at the start nothing is asked of the width (lesson 5, theorem C0): with
#    $h = \|\phi(Wu)\|/\sqrt k$,
#
#    $$\|y(t)-y\| \;\le\; \|y(0)-y\|\,e^{-\sigma_F^2h^2t}. \tag{8.2}$$
# 3. Stop at $t^* = \frac{1}{\sigma_F^2h^2}\log\frac{\|y(0)-y\|}{\|\varepsilon\|}$: from then on
#    $\|y(t)-\bar y\| \le 2\|\varepsilon\|$ (lesson 3).
# 4. If $A$ is injective ($\mu = \sigma_F$ and $\Sigma$ is everything), the signal error is then at most
#    $2\|\varepsilon\|/\sigma_F$ (lesson 4). If it is not, say what you know of the signal, or say
#    nothing about it.
# 5. Train, and check every promise against what happened.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

import kltheory as kl
from kltheory.course import check
from kltheory.operators import adjoint_test, jacobian_test

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Practice
#
# ### Operator in
#
# An instrument that smears a signal of 80 samples out and records it: a convolution with a short
# asymmetric pulse. No matrix is written; this works for operators whose matrix would not fit in
# memory. (SciPy hands over columns, hence the `ravel`.)

# %%
n = 80
pulse = np.array([0.1, 0.7, 0.2])


def smear(x):
    """The convolution with the pulse."""
    return np.convolve(np.ravel(x), pulse, mode="same")


def wrong_transpose(w):
    """One might think so."""
    return np.convolve(np.ravel(w), pulse, mode="same")


def transpose(w):
    """The convolution with the reversed pulse: the correlation."""
    return np.convolve(np.ravel(w), pulse[::-1], mode="same")


for guess in (wrong_transpose, transpose):
    operator = LinearOperator((n, n), matvec=smear, rmatvec=guess, dtype=float)
    print(f"{guess.__name__:16}", adjoint_test(operator).message)

# %% [markdown]
# ### The problem
#
# A `Problem` takes an array, a sparse matrix, a `LinearOperator`, or a nonlinear function with its
# Jacobian. It measures what the theorems need, and the three ways agree:

# %%
rng = np.random.default_rng(0)
position = np.arange(n)
truth = ((position > 15) & (position < 35)) + 0.8 * np.exp(-0.5 * ((position - 55) / 6) ** 2)
noise = 0.03 * rng.standard_normal(n)
y = smear(truth) + noise

diagonals = sparse.diags_array(pulse[::-1], offsets=(-1, 0, 1), shape=(n, n)).T
matrix = np.stack([smear(e) for e in np.eye(n)], axis=1)
for kind, A in (
    ("LinearOperator", operator),
    ("sparse", sparse.csr_array(diagonals)),
    ("array", matrix),
):
    problem = kl.Problem(A, y, signal=truth, noise=noise)
    print(f"{kind:15} σ_F = {problem.sigma_F:.6f}, L_F = {problem.norm_F:.6f}")

# %% [markdown]
# ### Guarantee out

# %%
problem = kl.Problem(operator, y, signal=truth, noise=noise)
network = kl.TwoLayerNetwork.draw(n=n, k=40, d=10, output="zero", seed=0)
found = kl.certify(problem, network, train="both")
law = found.law("C0")
size = np.linalg.norm(noise)
stop = law.stopping_time(size)
promised = kl.signal_error(law.psi(stop), mu=problem.sigma_F, noise=size)
print(f"{found.verdict} with k = {network.k} neurons for {n} unknowns")
print(f"stop at t* = {stop:.4g}: then the data error is at most {2 * size:.3g}")
print(f"and the signal is wrong by at most {promised.value:.3g}")
print(f"(its norm is {np.linalg.norm(truth):.3g})")

# %% [markdown]
# ### Is it true?

# %%
times = np.linspace(0, stop, 41)
checked = kl.check(
    problem,
    network,
    train="both",
    times=times,
    mu=problem.sigma_F,
    lip_f=problem.norm_F,
    dist=0,
)
run = kl.flow(problem, network, train="both", times=times)
data_error = np.linalg.norm(smear(run.network.forward()) - smear(truth))
signal_error = np.linalg.norm(run.network.forward() - truth)
print(f"every guarantee that applies holds: {checked.holds}")
print(f"data error   promised {2 * size:.3g}, actual {data_error:.3g}")
print(f"signal error promised {promised.value:.3g}, actual {signal_error:.3g}")
assert checked.holds
assert data_error <= 2 * size
assert signal_error <= promised.value

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.semilogy(run.t, law.psi(run.t), "-", color="#0b5ea8", label="(8.2)")
left.semilogy(run.t, run.residual, "o", ms=3, color="black", label="‖y(t) - y‖")
left.axhline(size, ls=":", color="#b35806", label="‖ε‖")
left.set(xlabel="t", title="promised and actual")
left.legend(frameon=False)
right.plot(position, truth, color="#bbbbbb", lw=5, label="truth")
right.plot(position, y, ".", ms=4, color="#b35806", label="observation")
right.plot(position, run.network.forward(), color="#0b5ea8", label=f"network at t* = {stop:.3g}")
right.set(xlabel="position")
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# The network follows its observation faster than (8.2) says, so that at $t^*$ it has begun to fit noise
# (lesson 3). The promise is kept all the same.
#
# ### When the operator loses something
#
# Every second sample is missing. Now $A$ has a null space: convergence is proved as before, and
# nothing can be said of the whole signal, because two signals have the same observation.

# %%
half = LinearOperator(
    (n // 2, n),
    matvec=lambda x: smear(x)[::2],
    rmatvec=lambda w: transpose(np.ravel(np.column_stack([w, np.zeros(n // 2)]))),
    dtype=float,
)
assert adjoint_test(half)
fewer = kl.Problem(half, y[::2], signal=truth, noise=noise[::2])
again = kl.check(fewer, network, train="both")
print(f"rank {fewer.rank} of {n}: {kl.certify(fewer, network, train='both').verdict}")
print(f"loss {again.final_loss:.2g}: {again.converged}")
print(f"(13), the signal: {again['(13)', 'corrected'].verdict}")

# %% [markdown]
# ### Nonlinear operators
#
# A function with its Jacobian. The Jacobian has a test too. A nonlinear operator has no single
# $\sigma_F$; who knows a lower bound on the region that matters gives it (`lower_bound=`), and
# takes the responsibility.

# %%
saturated = kl.Problem(
    lambda x: np.tanh(matrix @ x),
    np.tanh(matrix @ (truth / 2)),
    jacobian=lambda x: (1 - np.tanh(matrix @ x) ** 2)[:, None] * matrix,
    lower_bound=0.2,
)
print(jacobian_test(saturated.operator, saturated.jacobian, truth / 2).message)
found = kl.certify(saturated, network, train="both")
print(f"{found.verdict} by {found.best.name}, if σ_F is at least 0.2")
print(f"evidence: {found.best.evidence.value}")

# %% [markdown]
# ## Discussion
#
# - The recipe chose the network for its theorem. For the network of your own experiment, print
#   `kl.certify(...)`: each certificate that does not hold says by how much, and what would help.
# - $\sigma_F$ decides nearly everything. An ill-posed operator has a tiny one, and guarantees for the
#   worst direction become guarantees for nobody; a better prior on the signal is worth more than a wider
#   network.
# - A run of your own code, in any framework, can be checked as well: save $t$ and the loss, and
#   `kl.check_trajectory` or `kltheory check --trajectory run.csv` compares.

# %% [markdown]
# ## Exercises
#
# **8.1** $A$ is the convolution with a pulse that is *symmetric*. What is $A^\top$, up to the ends of the
# signal? (`the inverse of A`, `A itself`, `the identity`)

# %% tags=["exercise"]
check("8.1", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 8.1</summary>
#
# $A^\top$ is the convolution with the reversed pulse; reversed, a symmetric pulse is the same.
# </details>

# %% tags=["solution"]
assert check("8.1", "A itself")

# %% [markdown]
# **8.2** $\sigma_F = 0.5$, $h = 0.5$, $\|y(0)-y\| = 4$, $\|\varepsilon\| = 0.04$. When may training be
# stopped, by step 3 of the recipe?

# %% tags=["exercise"]
check("8.2", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 8.2</summary>
#
# $t^* = \frac{\log 100}{0.25\cdot0.25} = 16\log 100 \approx 73.7$.
# </details>

# %% tags=["solution"]
assert check("8.2", "16*log(100)")

# %% [markdown]
# **8.3** How large may the noise $\|\varepsilon\|$ be if the signal error at $t^*$ shall be at most `delta`,
# for an injective $A$ with smallest singular value `sigma`? A formula.

# %% tags=["exercise"]
check("8.3", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 8.3</summary>
#
# At $t^*$ the error is at most $2\|\varepsilon\|/\sigma_F$ (step 4), so $\|\varepsilon\| \le \sigma\delta/2$.
# </details>

# %% tags=["solution"]
assert check("8.3", "sigma*delta/2")

# %% [markdown]
# **8.4** You scale the operator and the observation by 3 ($A \to 3A$, $y \to 3y$), and start at
# $V(0) = 0$ as before. By which factor does $t^*$ of the recipe change?

# %% tags=["exercise"]
check("8.4", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 8.4</summary>
#
# $\sigma_F^2$ grows by 9, and $\|y(0)-y\|/\|\varepsilon\|$ stays as it is: $t^*$ is a ninth. A step size would
# have to shrink by the same factor.
# </details>

# %% tags=["solution"]
assert check("8.4", "1/9")
