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
# # 5 · Overparametrization: how wide is wide enough?
#
# **Aim.** You can say why theorems ask for millions of neurons where hundreds do, which step of a
# proof is responsible, and which choices make a width condition disappear.
#
# **You need** lessons 1 and 2; a little probability.
#
# | part | minutes |
# | --- | --- |
# | theory | 15 |
# | practice | 15 |
# | exercises | 15 |

# %% [markdown]
# ## Theory
#
# Everything in lesson 2 rested on one condition: along the whole trajectory the smallest singular
# value of the network's Jacobian stays above half of what it was. The paper keeps the parameters in a
# ball in which that is true. With $\|J(\theta)-J(\theta_0)\| \le \Lambda\|\theta-\theta_0\|$ the ball has
# radius $R = \sigma_J/(2\Lambda)$; the path is at most $R' = 2\psi_0/(\sigma_F\sigma_J)$ long, where
# $\psi_0 = \psi(L_0)$. The condition is
#
# $$R' < R \quad\Longleftrightarrow\quad \psi_0 < \frac{\sigma_F\,\sigma_J^2}{4\Lambda}. \tag{5.1}$$
#
# **A better count.** At path length $\rho$ the singular value is at least $\sigma_J - \Lambda\rho$, and
# $\psi(L)$ falls at least by $\sigma_F(\sigma_J-\Lambda\rho)\,d\rho$ while the path grows by $d\rho$.
# Integrate, instead of taking the worst value for the whole way:
#
# $$\psi_0 - \psi(L) \;\ge\; \sigma_F\Big(\sigma_J\rho - \tfrac12\Lambda\rho^2\Big),
# \qquad\text{so}\qquad \psi_0 < \frac{\sigma_F\,\sigma_J^2}{2\Lambda} \text{ is enough.} \tag{5.2}$$
#
# As $\sigma_J^2/\Lambda$ grows like $\sqrt k$, a factor 2 in (5.2) is a factor 4 in the width.
#
# **Which constants?** With both layers trained, the Jacobian of $V\phi(Wu)/\sqrt k$ contains the block
# $\frac{1}{\sqrt k}\phi(Wu)^\top\otimes I$, all of whose singular values are $h = \|\phi(Wu)\|/\sqrt k$.
# A bound through this block alone knows nothing of $n$, and $h$ changes slowly. And if $V(0) = 0$,
# $h$ cannot fall at all: no condition on the width is left.

# %%
import matplotlib.pyplot as plt
import numpy as np

import kltheory as kl
from kltheory.course import check

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Practice
#
# ### The widths of the theorems
#
# 20 unknowns, 10 observations, the square loss, failure probability 5 %:

# %%
setting = dict(n=20, m=10, sigma_f=0.5, norm_f=1, y_norm=3.2, failure=0.05)
kl.width(train="both", **setting)

# %%
kl.width(train="hidden", **setting)

# %% [markdown]
# *Printed* is the formula of the paper with its unnamed constants set to 1: it is not a bound, because
# nobody knows that they are 1. *Corrected* has all constants. *Sharp* are other theorems: `C` and `C0`
# hold for every width, `M` asks only whether the observation can be reached (lesson 7).
#
# The same as a picture; mind the scale:

# %%
kl.width(train="hidden", **setting).plot()

# %% [markdown]
# ### Does a small exponent help?
#
# The power losses $\frac{1}{2p+2}\|v-y\|^{2p+2}$ have $\alpha = \frac{1}{2p+2}$. One reads that a small
# $\alpha$ reduces the width. Look:

# %%
powers = (0.0, 0.5, 1.0, 2.0)
found = {p: kl.width(train="both", loss="power", params={"p": p}, **setting) for p in powers}
names = [(row.theorem, row.theory) for row in found[0.0].rows]
print(f"{'theorem':34}" + "".join(f"{'α = ' + format(1 / (2 * p + 2), '.3g'):>15}" for p in powers))
for i, (theorem, theory) in enumerate(names):
    print(f"{theorem + ', ' + theory:34}" + "".join(f"{found[p].rows[i].k:>15,}" for p in powers))

# %% [markdown]
# The printed formula gets *worse* with a small $\alpha$; the others do not change at all. There is a
# reason: these losses are functions of $\|v-y\|$ alone, so that their gradients all point the same
# way. The network takes the same *path* for every $p$; only its clock runs differently. What
# depends on the path alone, such as (5.1) and (5.2), cannot depend on $p$.
#
# ### One network, all certificates
#
# A theorem about the width speaks of all networks at once. For one network, measure:

# %%
rng = np.random.default_rng(0)
A = rng.standard_normal((10, 60)) / np.sqrt(60)
problem = kl.Problem(A, A @ rng.standard_normal(60))
ks = (50, 200, 800, 3200)
figure, axis = plt.subplots(figsize=(6.5, 3.8))
styles = {"P": ":", "S1": "-.", "V": "-"}
margins = {name: [] for name in styles}
for k in ks:
    network = kl.TwoLayerNetwork.draw(n=60, k=k, d=10, seed=0)
    certificates = kl.certify(problem, network, train="both")
    for name in styles:
        margins[name].append(certificates[name].threshold / certificates[name].psi0)
words = {"P": "P: the paper's R' < R", "S1": "S1: (5.2)", "V": "V: the output block"}
for name, style in styles.items():
    axis.loglog(ks, margins[name], style, marker="o", ms=4, color="#0b5ea8", label=words[name])
axis.axhline(1, color="black", lw=0.8)
axis.annotate("certified above this line", (850, 0.7), fontsize=9)
axis.set(
    xlabel="neurons k", ylabel="threshold / ψ(L0)", title="both layers trained, n = 60, m = 10"
)
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ### Zero output weights

# %%
narrow = kl.TwoLayerNetwork.draw(n=60, k=2, d=10, output="zero", seed=0)
found = kl.certify(problem, narrow, train="both")
found.verdict, found["C0"].holds, round(found["C0"].rate, 6)

# %%
run = kl.flow(problem, narrow, train="both", times=np.linspace(0, 100, 41), tol=0)
law = found.law("C0")
figure, axis = plt.subplots(figsize=(6.5, 3.4))
axis.semilogy(run.t, law.loss(run.t), "-", color="#0b5ea8", label="certified bound")
axis.semilogy(run.t, run.loss, "o", ms=4, color="black", label="two neurons, trained")
axis.set(xlabel="t", ylabel="loss", title="k = 2 neurons for n = 60 unknowns")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Discussion
#
# - The conditions measure what a *proof* needs. Lesson 7 shows what the network needs.
# - (5.2) cannot be improved with the same constants: there is a network with one neuron that converges
#   just below the threshold and fails just above it.
# - $V(0) = 0$ violates the paper's assumption A-10, and is a legitimate choice. The cheapest way
#   to a guarantee is often another initialisation, not another million neurons.

# %% [markdown]
# ## Exercises
#
# **5.1** $\sigma_F = 1$, $\sigma_J = 0.5$, $\Lambda = 0.05$. Up to which $\psi_0$ does (5.2) certify
# convergence?

# %% tags=["exercise"]
check("5.1", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 5.1</summary>
#
# $0.25/0.1 = 2.5$; the paper's condition (5.1) gives $1.25$.
# </details>

# %% tags=["solution"]
assert check("5.1", 2.5)

# %% [markdown]
# **5.2** $\sigma_J^2/\Lambda = a\sqrt k$. Give the smallest $k$ for which (5.2) holds as a formula in
# `psi0`, `sigma` ($\sigma_F$) and `a`.

# %% tags=["exercise"]
check("5.2", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 5.2</summary>
#
# $\psi_0 = \frac{\sigma a\sqrt k}{2}$ gives $k = \frac{4\psi_0^2}{\sigma^2a^2}$.
# </details>

# %% tags=["solution"]
assert check("5.2", "4*psi0**2/(sigma**2*a**2)")

# %% [markdown]
# **5.3** You replace the square loss by $\frac14\|v-y\|^4$. What happens to the path of the gradient
# flow of the network? (`shorter`, `longer`, `the same`)

# %% tags=["exercise"]
check("5.3", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 5.3</summary>
#
# The same path, on another clock: $\nabla\mathcal L = \|r\|^2 r$ points along $r$.
# </details>

# %% tags=["solution"]
assert check("5.3", "the same")
