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
# # 1 · The Kurdyka–Łojasiewicz inequality
#
# **Aim.** After this hour you can say what a desingularizing function is, read off from a picture
# why it makes a function *sharp*, find it for a loss, and test one that somebody else claims.
#
# **You need** derivatives, and the idea of gradient descent. No machine learning.
#
# | part | minutes |
# | --- | --- |
# | theory | 15 |
# | practice | 15 |
# | exercises | 20 |

# %% [markdown]
# ## Theory
#
# A gradient method slows down where the gradient is small. That is no harm if a small gradient means
# a small loss. The *Kurdyka–Łojasiewicz inequality* says how small: a function $f \ge 0$ with minimum
# $0$ satisfies it with the **desingularizing function** $\psi$ on $[0 < f < r_0]$ if
#
# $$\psi'(f(x))\,\|\nabla f(x)\| \ge 1 \qquad\text{wherever } 0 < f(x) < r_0, \tag{1.1}$$
#
# where $\psi$ is continuous on $[0, r_0[$, $\psi(0) = 0$, and $\psi' > 0$ on $]0, r_0[$.
#
# By the chain rule the left-hand side of (1.1) is $\|\nabla(\psi\circ f)(x)\|$. So (1.1) says: after
# the *values* of $f$ are relabelled by $\psi$, the function is **sharp**: it has slope at least 1
# everywhere but at its minimum. Flat bottoms become corners. That is all that there is to it, and
# everything in this course follows from it.
#
# The most frequent case is $\psi(s) = c\,s^{\alpha}$, the *Łojasiewicz inequality* with exponent
# $\alpha$. Some authors use $\theta = 1 - \alpha$ instead.

# %%
import matplotlib.pyplot as plt
import numpy as np

import kltheory as kl
from kltheory.course import check

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ### A picture
#
# $f(x) = x^4/4$ is very flat at $0$. `kl.from_radial` knows the desingularizing function of a loss that
# depends on the distance to its minimiser alone: it is the inverse of the profile.

# %%
psi = kl.from_radial("x**4/4")
psi.value

# %%
x = np.linspace(-1.5, 1.5, 401)
f = x**4 / 4
relabelled = [float(psi.value.subs(psi.symbol, value)) for value in f]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), sharex=True)
left.plot(x, f, color="#0b5ea8")
left.set(title="f(x) = x⁴/4 is flat at 0", xlabel="x", ylabel="f")
right.plot(x, relabelled, color="#0b5ea8")
right.plot(x, np.abs(x), ":", color="black")
right.set(title="ψ(f(x)) = |x| is sharp", xlabel="x", ylabel="ψ∘f")
plt.show()

# %% [markdown]
# ## Practice
#
# ### Testing a claim
#
# `kl.kl_test` evaluates (1.1) at points. One violated point refutes a claim; a million points that
# are not violated prove nothing, and the answer says so.

# %%
points = np.linspace(-2, 2, 41)[:, None]
quarter = kl.rate("sqrt(2)*s**(1/4)").desingularizer
kl.kl_test("v1**4/4", psi=quarter, points=points).verdict

# %%
half = kl.rate("sqrt(2*s)").desingularizer  # the ψ of x²/2: too steep near 0 for x⁴/4
kl.kl_test("v1**4/4", psi=half, points=points).verdict

# %% [markdown]
# ### Which exponents are possible?
#
# Try $f(x) = |x|^{q}/q$ with several $q$. The gradient is $|x|^{q-1}$, and (1.1) with
# $\psi = c\,s^\alpha$ asks for $c\,\alpha\,f^{\alpha-1}|x|^{q-1} \ge 1$. Near $0$ this can only hold
# if $q(\alpha - 1) + q - 1 \le 0$, so $\alpha \le 1/q$.
#
# A loss whose gradient is Lipschitz, like every loss that a network is trained with by gradient
# flow, has $\|\nabla f\|^2 \le 2Lf$. Together with (1.1):
#
# $$\psi'(s) \ge \frac{1}{\sqrt{2Ls}}, \qquad\text{so}\quad \int_0 \psi'^2 = \infty
# \quad\text{and}\quad \alpha \le \tfrac12 .\tag{1.2}$$

# %%
figure, axis = plt.subplots(figsize=(6, 3.2))
s = np.logspace(-6, 0, 200)
for alpha, style in ((0.5, "-"), (0.25, "--"), (0.1, ":")):
    axis.loglog(s, s**alpha, style, color="#0b5ea8", label=f"ψ = s^{alpha}")
axis.set(xlabel="value s of the loss", ylabel="ψ(s)")
axis.set_title("small α: the loss must fall far before ψ is small")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Discussion
#
# - The inequality is about *values*: it holds on a whole level set, whatever the dimension.
# - It does not ask for convexity. `kl.losses()` lists losses that have a $\psi$ and are not convex.
# - $\psi$ bounds distances: along the gradient flow the length of the path is at most $\psi(f(x_0))$,
#   because $-\frac{d}{dt}\psi(f(x)) = \psi'\|\nabla f\|^2 \ge \|\dot x\|$. So
#   $\operatorname{dist}(x, \operatorname{argmin} f) \le \psi(f(x))$.
# - Not every loss has one: the logistic loss has no minimum, and near a minimum that is not attained
#   there is no corner to make.

# %%
for loss in kl.losses():
    if loss.name in ("mse", "huber", "cauchy", "logistic"):
        print(f"{loss.name:10}", loss.psi if loss.refusal is None else loss.refusal)

# %% [markdown]
# ## Exercises
#
# Write formulas as text. Every form of the right answer counts.
#
# **1.1** Find the desingularizing function of $f(x) = x^2/2$ that makes (1.1) an equality.

# %% tags=["exercise"]
check("1.1", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 1.1</summary>
#
# $|f'(x)| = |x| = \sqrt{2f}$, so $\psi'(s) = 1/\sqrt{2s}$ and $\psi(s) = \sqrt{2s}$.
# </details>

# %% tags=["solution"]
assert check("1.1", "sqrt(2*s)")

# %% [markdown]
# **1.2** The same for $f(x) = |x|^3/3$.

# %% tags=["exercise"]
check("1.2", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 1.2</summary>
#
# $|f'(x)| = x^2 = (3f)^{2/3}$, so $\psi'(s) = (3s)^{-2/3}$ and $\psi(s) = (3s)^{1/3}$: the inverse of
# the profile again.
# </details>

# %% tags=["solution"]
assert check("1.2", "(3*s)**(1/3)")

# %% [markdown]
# **1.3** A loss is $\mu$-strongly convex with $\mu = 8$: $\|\nabla f\|^2 \ge 2\mu f$. Which constant
# $c$ goes with $\psi(s) = c\sqrt{s}$?

# %% tags=["exercise"]
check("1.3", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 1.3</summary>
#
# $\frac{c}{2\sqrt f}\sqrt{2\mu f} = c\sqrt{\mu/2} \ge 1$ for $c = \sqrt{2/\mu} = 1/2$.
# </details>

# %% tags=["solution"]
assert check("1.3", 0.5)

# %% [markdown]
# **1.4** A gradient flow starts at $f(x_0) = 0.02$ with $\psi(s) = \sqrt{2s}$. How far from $x_0$ can
# it ever get?

# %% tags=["exercise"]
check("1.4", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 1.4</summary>
#
# The path is at most $\psi(f(x_0)) = \sqrt{0.04} = 0.2$ long.
# </details>

# %% tags=["solution"]
assert check("1.4", 0.2)
