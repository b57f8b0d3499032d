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
# # 6 · Trajectories: how far the network moves, and when it is safe
#
# **Aim.** You can watch the quantities on which the guarantees rest while a network is trained: you see
# why a wide network hardly moves, and you can name the moment from which on convergence is proved,
# although nothing was proved at the start.
#
# **You need** lessons 2 and 5.
#
# | part | minutes |
# | --- | --- |
# | theory | 10 |
# | practice | 20 |
# | exercises | 15 |

# %% [markdown]
# ## Theory
#
# **The lazy regime.** Singular values move at most as far as the matrix (Weyl), so along the path
#
# $$\sigma_{\min}(J(\theta)) \;\ge\; \sigma_J - \Lambda\,\|\theta-\theta_0\|. \tag{6.1}$$
#
# How far must $\theta$ go? To change the output by $\|r_0\|$ a path of length about
# $\|r_0\|/(\sigma_F\sigma_J)$ is needed, whatever the width. But for $g = \frac1{\sqrt k}V\phi(Wu)$ the
# Lipschitz constant $\Lambda$ of the Jacobian falls like $1/\sqrt k$. So the *network* still walks the
# same distance, and the *Jacobian* stands still: training is nearly linear. This is all that
# overparametrization does in these proofs.
#
# **Every moment is a start.** The gradient flow has no memory: $\theta(t)$ is an initial value like any
# other. With $\sigma(t)$ measured at $\theta(t)$, the condition of lesson 5 may be asked again,
#
# $$\psi(L(t)) \;<\; \frac{\sigma_F\,\sigma(t)^2}{2\Lambda}. \tag{6.2}$$
#
# The left side falls during training. If (6.2) is true at *one* time, then from this time on the
# whole future is proved: the rate, the rest of the path, the limit. What was no theorem at the start
# becomes one on the way. The network must be lucky up to $t$ only, and up to $t$ we have watched it.

# %%
import matplotlib.pyplot as plt
import numpy as np

import kltheory as kl
from kltheory.course import check

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Practice
#
# ### The lazy regime
#
# 30 unknowns, 6 observations, four widths. The hidden layer is trained.

# %%
n, m = 30, 6
rng = np.random.default_rng(0)
A = rng.standard_normal((m, n)) / np.sqrt(n)
problem = kl.Problem(A, A @ rng.standard_normal(n))
times = np.concatenate([[0], np.geomspace(0.1, 300, 40)])
runs = {}
for k in (60, 240, 960, 3840):
    network = kl.TwoLayerNetwork.draw(n=n, k=k, d=5, seed=1)
    runs[k] = kl.flow(problem, network, times=times, sigma_min=True, tol=1e-14)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for (k, run), style in zip(runs.items(), (":", "-.", "--", "-"), strict=True):
    left.semilogx(run.t[1:], run.drift[1:], style, color="#0b5ea8", label=f"k = {k}")
    right.semilogx(run.t[1:], run.sigma_min[1:] / run.sigma_min[0], style, color="#0b5ea8")
left.set(xlabel="t", ylabel="‖θ(t) - θ(0)‖", title="the network walks equally far", ylim=(0, None))
right.set(xlabel="t", title="its Jacobian moves less and less", ylim=(0, 1.1))
right.set_ylabel("σ_min(J(t)) / σ_min(J(0))")
left.legend(frameon=False)
plt.show()

# %%
print(f"{'k':>6}{'path':>9}{'σ_min lost':>13}{'lost · √k':>12}")
for k, run in runs.items():
    lost = run.sigma_min[0] - run.sigma_min.min()
    print(f"{k:>6}{run.drift[-1]:>9.1f}{lost:>13.4f}{lost * np.sqrt(k):>12.2f}")

# %% [markdown]
# (6.1) allows a loss that falls like $1/\sqrt k$. Here it falls faster than that: the bound adds up the
# movement of all neurons as if they all pulled in the worst direction together.
#
# ### All certificates, along one run
#
# The network with 240 neurons. We follow the flow, stop from time to time, and ask each certificate
# as if training began there:

# %%
names = {
    "P": ("P: the paper's R' < R", ":"),
    "S3": ("S3: (6.2)", "--"),
    "S4Q": ("S4Q: (6.2) in the row space of A", "-."),
    "q": ("q: neuron by neuron", "-"),
}
network = kl.TwoLayerNetwork.draw(n=n, k=240, d=5, seed=1)
stops = [0, 4, 8, 16, 32, 64, 128, 256]
margins = {name: [] for name in names}
for before, now in zip([0, *stops], stops, strict=False):
    if now > before:
        network = kl.flow(problem, network, times=[0, now - before]).network
    found = kl.certify(problem, network)
    for name in names:
        margins[name].append(found[name].threshold / found[name].psi0)

figure, axis = plt.subplots(figsize=(7, 3.8))
for name, (words, style) in names.items():
    axis.semilogy(stops, margins[name], style, marker="o", ms=4, color="#0b5ea8", label=words)
axis.axhline(1, color="black", lw=0.8)
axis.annotate("proved above this line", (178, 0.45), fontsize=9)
axis.set(xlabel="t", ylabel="threshold / ψ(L(t))", title="hidden layer trained, k = 240")
axis.legend(frameon=False, fontsize=8)
plt.show()
for name, (words, _) in names.items():
    first = next((t for t, margin in zip(stops, margins[name], strict=True) if margin > 1), None)
    print(f"{words:34}", "never" if first is None else f"holds at t = {first}")

# %% [markdown]
# ### On line
#
# `kl.certify(online=...)` does this by itself, and spends at most a small part of the run's work on it.
# Both layers of a tanh network with 6 neurons for 30 unknowns; at the start no certificate holds:

# %%
narrow = kl.TwoLayerNetwork.draw(n=n, k=6, d=5, activation="tanh", seed=1)
found = kl.certify(problem, narrow, train="both", online="flow")
moment = found.online
print(f"at the start: {found.verdict}")
print(f"proved from t = {moment.at:.3g} on by {moment.name}; the loss is {moment.loss:.3g} there")

# %%
law = moment.certificate.law(found.psi)
run = kl.flow(problem, narrow, train="both", times=np.linspace(0, 30, 121))
later = run.t >= moment.at
figure, axis = plt.subplots(figsize=(7, 3.6))
axis.axvspan(0, moment.at, color="#dddddd", lw=0, label="watched, not proved")
axis.semilogy(run.t, run.loss, color="black", lw=2, label="loss")
bound = law.loss(run.t[later] - moment.at)
axis.semilogy(run.t[later], bound, "--", color="#0b5ea8", label="proved bound")
axis.set(xlabel="t", ylabel="loss", title="tanh, k = 6, both layers", xlim=(0, 30))
axis.legend(frameon=False)
plt.show()
assert np.all(run.loss[later] <= bound)

# %% [markdown]
# `online="descent"` does the same for gradient *descent* that verifies at every step that the loss
# falls by $\eta\|\nabla f\|^2/2$; the price is a factor $\frac12$ in (6.2).

# %% [markdown]
# ### Everything at once
#
# `kl.check` trains and holds every guarantee that applies against what happened:

# %%
wide = kl.TwoLayerNetwork.draw(n=n, k=400, d=5, seed=1)
checked = kl.check(problem, wide, train="both", points=24)
checked.plot()

# %% [markdown]
# And with your own hands: move $k$ until the certificates hold; then move $\alpha$ and $c$, and see
# what changes and what does not. (Without `ipywidgets` this is a picture.)

# %% tags=["varies"]
kl.explore(k=60)

# %% [markdown]
# ## Discussion
#
# - *Lazy* is a description of the proofs, not a recommendation. A network that does not move
#   learns no features; narrow networks move, converge, and are certified later.
# - A certificate on line is a theorem about *this* run. It uses the measured $\theta(t)$, so it is as
#   good as the integration (`kl.certified_flow` encloses that error too) - for verified descent there
#   is nothing to integrate.
# - A certificate that does not fire says nothing. To prove that training *cannot* succeed takes another
#   argument: lesson 7.

# %% [markdown]
# ## Exercises
#
# **6.1** $\sigma_J = 0.3$, $\Lambda = 0.02$. The parameters have moved by 5. What is the least that
# $\sigma_{\min}(J)$ can be?

# %% tags=["exercise"]
check("6.1", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 6.1</summary>
#
# (6.1): $0.3 - 0.02\cdot5 = 0.2$.
# </details>

# %% tags=["solution"]
assert check("6.1", 0.2)

# %% [markdown]
# **6.2** $\Lambda = a/\sqrt k$, and the path has length `rho`. From which $k$ on does (6.1) keep
# $\sigma_{\min}$ above $(1-q)\,\sigma_J$? A formula in `rho`, `a`, `q` and `sigma` ($\sigma_J$).

# %% tags=["exercise"]
check("6.2", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 6.2</summary>
#
# $\frac{a}{\sqrt k}\rho = q\,\sigma_J$ gives $k = \frac{a^2\rho^2}{q^2\sigma_J^2}$.
# </details>

# %% tags=["solution"]
assert check("6.2", "(a*rho/(q*sigma))**2")

# %% [markdown]
# **6.3** The square loss has fallen to $10^{-4}$ of its first value, and $\sigma_{\min}(J)$ from 0.5
# to 0.4. By which factor has the margin of (6.2), right side by left side, grown?

# %% tags=["exercise"]
check("6.3", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 6.3</summary>
#
# $\psi = \sqrt{2L}$ fell by a factor 100, $\sigma^2$ by $0.64$: the margin grew by 64.
# </details>

# %% tags=["solution"]
assert check("6.3", 64)

# %% [markdown]
# **6.4** A certificate fires at $t = 3$, and the run is stopped there. What is known of the loss at
# $t = 10$? (`nothing`, `an estimate`, `a bound`)

# %% tags=["exercise"]
check("6.4", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 6.4</summary>
#
# A bound: $\theta(3)$ is an initial value, and the theorem holds from there. No training is needed to
# know it.
# </details>

# %% tags=["solution"]
assert check("6.4", "a bound")
