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
# # 3 · Early stopping
#
# **Aim.** You know why an exact fit of noisy data is not what one wants, when a guarantee says that
# training may be stopped, and you have watched the error of a reconstruction fall and rise again.
#
# **You need** lessons 1 and 2.
#
# | part | minutes |
# | --- | --- |
# | theory | 10 |
# | practice | 20 |
# | exercises | 15 |

# %% [markdown]
# ## Theory
#
# The observation is noisy, $y = \bar y + \varepsilon$ with $\bar y = F(\bar x)$. The loss compares with
# $y$, because $\bar y$ is not known. If $y$ is its only minimiser, then (lesson 1) $\|y(t)-y\| \le
# \psi(L(t))$, and
#
# $$\|y(t)-\bar y\| \;\le\; \psi(L(t)) + \|\varepsilon\|. \tag{3.1}$$
#
# The first term falls, the second stays. To train beyond the time when the first is as small as the
# second is to fit noise. That time is
#
# $$t^* = \frac1\kappa\Big[\Psi\big(\psi^{-1}(\|\varepsilon\|)\big) - \Psi(L_0)\Big]_+ ,\qquad
# \|y(t)-\bar y\| \le 2\|\varepsilon\| \text{ for all } t \ge t^*. \tag{3.2}$$
#
# Only a *difference* of values of $\Psi$ occurs, as it must (lesson 2). In this version (HAL v1) of
# the paper the brackets of (12) are missing, and the printed time is too early where $\kappa$ is
# small: `kltheory audit E12` shows an example.

# %%
import matplotlib.pyplot as plt
import numpy as np

import kltheory as kl
from kltheory.course import check

plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Practice
#
# ### The time, for a law

# %%
bound = kl.rate("sqrt(2*s)").bound(kappa="1/4", loss0=2, noise="0.1")
print(f"stop at t* = {bound.stopping_time():.4g}")
print(f"from then on the data error is at most {2 * 0.1}")

# %% [markdown]
# ### A blurred signal
#
# A network with one hidden layer, $g(u,\theta) = \frac{1}{\sqrt k}V\phi(Wu)$, learns the one signal
# that explains a blurred and noisy observation. Both layers are trained; nothing but this
# observation is used.

# %%
n = 40
rng = np.random.default_rng(0)
position = np.arange(n)
blur = np.exp(-0.5 * ((position[:, None] - position) / 1.3) ** 2)
blur /= blur.sum(axis=1, keepdims=True)
truth = np.where((position > 10) & (position < 25), 1.0, 0.0) + 0.5 * np.sin(position / 4)
noise = 0.05 * rng.standard_normal(n)

problem = kl.Problem(blur, blur @ truth + noise, signal=truth, noise=noise)
network = kl.TwoLayerNetwork.draw(n=n, k=400, d=10, activation="tanh", seed=1)
steps = 20_000
watch = np.unique(np.round(np.logspace(0, np.log10(steps), 40)).astype(int))
run = kl.descend(problem, network, train="both", steps=steps, tol=0, watch=watch.tolist())
run

# %%
size = np.linalg.norm(noise)
figure, axis = plt.subplots(figsize=(7, 3.8))
axis.loglog(
    np.arange(1, steps + 1), run.residual[1:], color="#0b5ea8", label="‖y(t) - y‖: always falls"
)
axis.loglog(
    run.watched, run.signal_error, "o-", ms=4, color="black", label="‖x(t) - x̄‖: falls, then rises"
)
axis.axhline(size, ls=":", color="#b35806", label="‖ε‖: the size of the noise")
best = run.watched[np.argmin(run.signal_error)]
axis.axvline(best, lw=0.8, color="black")
axis.set(xlabel="steps of gradient descent", title="semi-convergence")
axis.legend(frameon=False)
plt.show()
print(f"the best reconstruction is after {best} steps, error {run.signal_error.min():.3g}")
print(f"after {steps} steps the error is {run.signal_error[-1]:.3g}")

# %% [markdown]
# The residual keeps falling and looks like progress. The signal is best after about a thousand steps;
# then the network begins to explain the noise, and because the blur nearly destroys fine detail, a
# little noise in $y$ is a lot of wrong detail in $x$.

# %%
short = kl.descend(problem, network, train="both", steps=int(best), tol=0)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for axis, trained, title in (
    (left, short.network, f"stopped after {best} steps"),
    (right, run.network, f"after {steps} steps"),
):
    axis.plot(position, truth, color="#bbbbbb", lw=4, label="truth")
    axis.plot(position, trained.forward(), color="#0b5ea8", label="network")
    axis.set_title(title)
left.legend(frameon=False)
plt.show()

# %% [markdown]
# ### What (3.2) promises here, and what it does not
#
# The singular values of this blur go down to 0.0005, so $\kappa$ is tiny and $t^*$ enormous: a
# guarantee for *every* direction must wait for the slowest. The data error is small long before.

# %%
from kltheory.empirical.measure import measure

constants = measure(problem, network, "both")
sigma_F, sigma_J = constants.value("sigma_F"), constants.value("sigma_J")
promise = kl.rate("sqrt(2*s)").bound(
    sigma_f=sigma_F, sigma_j=sigma_J, loss0=constants.value("loss0"), noise=size
)
data_error = np.linalg.norm(blur @ short.network.forward() - blur @ truth)
print(f"σ_F = {sigma_F:.2g}, σ_J = {sigma_J:.2g}: t* = {promise.stopping_time():.2g}")
print(f"the data error is below 2‖ε‖ = {2 * size:.2g} already at t = {short.t[-1]:.3g}:")
print(f"‖y(t) - ȳ‖ = {data_error:.2g}")

# %% [markdown]
# ## Discussion
#
# - (3.2) needs $\|\varepsilon\|$. Who does not know it must estimate it, or watch the signal.
# - (3.2) is about the *data*. It does not say where the best signal is; lesson 4 does, as far as the
#   operator allows.
# - For a well-conditioned operator the promise is useful; for an ill-posed one it is honest.
#   A number that is always optimistic would be worth less.

# %% [markdown]
# ## Exercises
#
# **3.1** Let $\psi(s) = \sqrt{2s}$. Give $t^*$ of (3.2) as a formula in `eps` ($\|\varepsilon\|$), `kappa`
# and `L0`, for $\|\varepsilon\|$ so small that the bracket is positive.

# %% tags=["exercise"]
check("3.1", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 3.1</summary>
#
# $\Psi(s) = -\frac12\log s$ and $\psi^{-1}(p) = p^2/2$, so
# $t^* = \frac1{2\kappa}\log\frac{2L_0}{\|\varepsilon\|^2}$.
# </details>

# %% tags=["solution"]
assert check("3.1", "log(2*L0/eps**2)/(2*kappa)")

# %% [markdown]
# **3.2** How much later is $t^*$ if the noise is ten times smaller, for $\kappa = 1/4$?

# %% tags=["exercise"]
check("3.2", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 3.2</summary>
#
# $\frac{1}{2\kappa}\log 100 = 2\log 100 \approx 9.2$, whatever $L_0$ is.
# </details>

# %% tags=["solution"]
assert check("3.2", "2*log(100)")

# %% [markdown]
# **3.3** Let $\psi(s) = s^{1/4}$, $\kappa = 1$, $L_0 = 1$, $\|\varepsilon\| = 0.1$. What is $t^*$?

# %% tags=["exercise"]
check("3.3", ...)

# %% [markdown] tags=["solution"]
# <details><summary>Solution 3.3</summary>
#
# $\Psi(s) = \frac{1}{8\sqrt s}$ and $\psi^{-1}(0.1) = 10^{-4}$, so $t^* = \frac18(100 - 1) = 12.375$.
# </details>

# %% tags=["solution"]
assert check("3.3", "99/8")
