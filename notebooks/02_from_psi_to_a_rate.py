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
# # 2 · From ψ to a rate
#
# **Aim.** From a desingularizing function you derive how fast the loss falls, you know which of the
# regimes you are in before you compute anything, and you find a misprint in a published corollary by
# putting a number into it.
#
# **You need** lesson 1, integrals, and separable differential equations.
#
# | part | minutes |
# | --- | --- |
# | theory | 15 |
# | practice | 15 |
# | exercises | 20 |

# %% [markdown]
# ## Theory
#
# A network $g(u, \theta)$ is trained on one observation $y$ by gradient flow,
# $\dot\theta = -\nabla_\theta\, \mathcal L_y(F(g(u,\theta)))$. Write $L(t)$ for the loss at time $t$.
# The chain rule gives $\dot L = -\|J_g^\top J_F^\top \nabla\mathcal L_y\|^2$. As long as the smallest
# singular value of the network's Jacobian stays above $\sigma_J/2$, half of what it was at the start,
#
# $$\dot L \;\le\; -\kappa\,\|\nabla\mathcal L_y\|^2 \;\le\; -\frac{\kappa}{\psi'(L)^2},
# \qquad \kappa = \frac{\sigma_F^2\sigma_J^2}{4}, \tag{2.1}$$
#
# where $\sigma_F$ is the smallest non-zero singular value of the operator. The last step is the
# inequality of lesson 1. Now separate the variables: with a function $\Psi$ such that
#
# $$\Psi' = -\psi'^2, \tag{2.2}$$
#
# (2.1) says $\frac{d}{dt}\Psi(L(t)) \ge \kappa$, and therefore
#
# $$L(t) \;\le\; \Psi^{-1}\big(\kappa t + \Psi(L_0)\big). \tag{2.3}$$
#
# A constant added to $\Psi$ changes nothing in (2.3). A formula in which $\Psi$ stands alone cannot
# be right: it would depend on that constant. This is a test that needs no calculation.
#
# **The regimes.** What happens as $t \to \infty$ is decided by $\Psi$ near $0$:
#
# | $\psi$ near 0 | $\Psi(0^+)$ | the loss falls like |
# | --- | --- | --- |
# | $s^\alpha,\ \alpha > 1/2$ | finite | 0 in finite time |
# | $\sqrt s$ | $\infty$, like $-\log s$ | $e^{-ct}$ |
# | $s^\alpha,\ \alpha < 1/2$ | $\infty$, like $s^{2\alpha-1}$ | $t^{-1/(1-2\alpha)}$ |
#
# For a loss with Lipschitz gradient the first line cannot occur (lesson 1, (1.2)).

# %%
import matplotlib.pyplot as plt
import numpy as np

import kltheory as kl
from kltheory.course import check

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Practice
#
# ### The law of any ψ

# %%
law = kl.rate("sqrt(s) + s")
law

# %% [markdown]
# The answer carries its assumptions, and a bound is rounded to its safe side:

# %%
bound = law.bound(sigma_f=2, sigma_j=1, loss0=1)
bound.loss(np.array([0.0, 1.0, 10.0]))

# %% [markdown]
# ### Three regimes in one picture

# %%
figure, axis = plt.subplots(figsize=(6.5, 3.6))
t = np.linspace(0, 12, 121)
for psi, style, words in (
    ("s**(3/4)", ":", "ψ = s^¾: extinct in finite time"),
    ("sqrt(s)", "-", "ψ = √s: exponential"),
    ("s**(1/4)", "--", "ψ = s^¼: polynomial"),
):
    loss = kl.rate(psi).bound(kappa=1, loss0=1).loss(t)
    axis.semilogy(t, np.where(loss > 0, loss, np.nan), style, color="#0b5ea8", label=words)
axis.set(xlabel="t", ylabel="bound on the loss", ylim=(1e-12, 2))
axis.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# ### With your own hands
#
# A small network, trained on the loss $(\|v-y\|/c)^{1/\alpha}$, for which $\psi(s) = c\,s^\alpha$
# with equality. Move $\alpha$: the curve bends from a straight line over $t$ to one over $\log t$. The
# light line is (2.3); whether it is in force is the question of lesson 5. (Without `ipywidgets` this is
# a picture.)

# %% tags=["varies"]
kl.explore(alpha="1/4", k=100)

# %% [markdown]
# ### Finding a misprint
#
# Corollary 3.3 of the paper, in this version (HAL v1), gives for $\psi(s) = c\sqrt s$ the bound
# $\|\theta(t)-\theta_\infty\| \le e^{-\frac{4}{c^2}\gamma(t)}$ with $\gamma(t) = \kappa t + \Psi(L_0)$.
#
# Take the simplest network there is, $g(\theta) = \theta \in \mathbb R$, with $F(x) = x$, $y = 0$ and
# the loss $\frac12 x^2$. Then $\sigma_F = \sigma_J = 1$, and $\theta(t) = \theta_0 e^{-t}$ by hand.
# Start at $\theta_0 = 1$:

# %%
printed = kl.rate("sqrt(2*s)").bound(sigma_f=1, sigma_j=1, loss0="1/2", theory="printed")
corrected = kl.rate("sqrt(2*s)").bound(sigma_f=1, sigma_j=1, loss0="1/2")
print("true distance at t = 0:", 1.0)
print("printed bound:         ", printed.parameters(0))
print("corrected bound:       ", corrected.parameters(0))

# %% [markdown]
# The printed bound is smaller than the distance. What is missing is the factor
# $\frac{2c}{\sigma_F\sigma_J}$, and the exponent is that of the loss, not of its square root:
#
# $$\|\theta(t)-\theta_\infty\| \;\le\; \frac{2}{\sigma_F\sigma_J}\,\psi\big(\Psi^{-1}(\kappa t+\Psi(L_0))\big).\tag{2.4}$$

# %%
figure, axis = plt.subplots(figsize=(6.5, 3.4))
t = np.linspace(0, 6, 61)
axis.semilogy(t, np.exp(-t), "o", markevery=6, color="black", label="true distance")
axis.semilogy(t, corrected.parameters(t), "-", color="#0b5ea8", label="(2.4), corrected")
axis.semilogy(t, printed.parameters(t), "--", color="#b35806", label="as printed")
axis.set(xlabel="t", ylabel="‖θ(t) - θ∞‖")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Discussion
#
# - The misprint is harmless at late times in this example and wrong at early ones. A bound that is
#   sometimes too small is not a bound.
# - Nothing in (2.3) knows the dimension, the architecture or the number of neurons: they all enter
#   through $\kappa$. Lesson 5 asks how many neurons keep $\kappa$ away from 0.
# - $\kappa$ is a worst case. Lesson 5 also shows a bound with the singular values that are really
#   there, which is two to four times faster.

# %% [markdown]
# ## Exercises
#
# **2.1** Find $\Psi$ for $\psi(s) = 3\sqrt s$.

# %% tags=["exercise"]
check("2.1", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 2.1</summary>
#
# $\psi' = \frac{3}{2\sqrt s}$, $\psi'^2 = \frac{9}{4s}$, so $\Psi(s) = -\frac94\log s$, up to a constant.
# </details>

# %% tags=["solution"]
assert check("2.1", "-9*log(s)/4")

# %% [markdown]
# **2.2** Find $\Psi$ for $\psi(s) = s^{1/4}$.

# %% tags=["exercise"]
check("2.2", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 2.2</summary>
#
# $\psi'^2 = \frac1{16}s^{-3/2}$, so $\Psi(s) = \frac18 s^{-1/2}$.
# </details>

# %% tags=["solution"]
assert check("2.2", "1/(8*sqrt(s))")

# %% [markdown]
# **2.3** Invert it: which function of `gamma` is $\Psi^{-1}$ of 2.2, for $\Psi(s) = \frac18 s^{-1/2}$?

# %% tags=["exercise"]
check("2.3", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 2.3</summary>
#
# $\gamma = \frac{1}{8\sqrt s}$ gives $s = \frac1{64\gamma^2}$: the loss falls like $t^{-2}$.
# </details>

# %% tags=["solution"]
assert check("2.3", "1/(64*gamma**2)")

# %% [markdown]
# **2.4** Which regime does $\psi(s) = \sqrt s + s$ have? (`finite-time`, `exponential`, `polynomial`)

# %% tags=["exercise"]
check("2.4", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 2.4</summary>
#
# Near $0$ the term $\sqrt s$ rules: exponential. The other term matters far from the minimum only.
# </details>

# %% tags=["solution"]
assert check("2.4", "exponential")

# %% [markdown]
# **2.5** With the square loss ($\psi = \sqrt{2s}$) and $\kappa = 1/4$: at which time is a loss of 1
# brought below $10^{-6}$?

# %% tags=["exercise"]
check("2.5", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 2.5</summary>
#
# $L \le L_0e^{-2\kappa t}$, so $t = \frac{6\ln 10}{2\kappa} = 12\ln 10 \approx 27.6$.
# </details>

# %% tags=["solution"]
assert check("2.5", "12*log(10)")
