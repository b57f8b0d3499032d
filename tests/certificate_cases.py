"""Random networks on random problems, half of them at a threshold, and what must hold there."""

from dataclasses import replace

import numpy as np

from kltheory.certification import Survey
from kltheory.empirical.flow import Integration, flow_form
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.errors import InputError
from kltheory.loss_functions import RadialLoss
from kltheory.loss_functions import get as get_loss
from kltheory.numeric.certificate import ladder
from kltheory.numeric.certificate_law import start_value
from kltheory.problem import Problem

ACTIVATIONS = ("sigmoid", "tanh", "softplus", "gelu", "silu", "sin", "erf", "arctan")
LOSSES = (
    ("mse", {}),
    ("mse", {}),
    ("power", {"p": 0.2}),
    ("power", {"p": 0.5}),
    ("huber", {"delta": 0.5}),
    ("log-cosh", {}),
    ("pseudo-huber", {"delta": 0.5}),
    ("separable-power", {"p": 3.0}),
    ("cauchy", {}),
    ("welsch", {}),
    ("squared-norm", {}),
    ("mean-squared", {"m": 3.0}),
)


def random_network(rng, train):
    """A network with any sizes, any ‖u‖ and any scale of its layers."""
    n, d = int(rng.integers(1, 8)), int(rng.integers(1, 5))
    k = int(rng.choice([1, 2, 3, 5, 10, 20, 50, 100]))
    u = rng.standard_normal(d)
    if rng.random() < 0.7:
        u /= np.linalg.norm(u)
    V = rng.choice([-1.0, 1.0], (n, k)) if rng.random() < 0.5 else rng.standard_normal((n, k))
    if train == "both":
        V = V * rng.choice([0.0, 0.1, 1.0])
    W = rng.standard_normal((k, d)) * rng.choice([0.3, 1.0, 2.0])
    return TwoLayerNetwork(u, W, V, str(rng.choice(ACTIVATIONS)))


def random_matrix(rng, n):
    """A matrix of any rank and condition."""
    m = int(rng.integers(1, n + 1)) if rng.random() < 0.85 else int(rng.integers(1, 9))
    A = rng.standard_normal((m, n))
    if rng.random() < 0.3:
        left, values, right = np.linalg.svd(A, full_matrices=False)
        values = values[0] * rng.uniform(0.05, 1.0, values.size)
        if rng.random() < 0.3 and values.size > 1:
            values[-1] = 0.0
        A = left * values @ right
    return A


def near_threshold(rng, problem, network, train, loss):
    """y such that ψ(L0) is a share in ]0.9, 1[ of the threshold of some certificate."""
    survey = Survey(problem, network, train, None)
    facts = survey.facts(network)
    names = ("P", "S3", "S4Q", "S4A", "q") if train == "hidden" else ("P", "S1", "V")
    chosen = ladder(facts, names=(str(rng.choice(names)),))[0]
    if not 0 < chosen.threshold < 1e6:
        return None
    want = chosen.threshold * rng.choice([0.9, 0.95, 0.99, 0.999, 0.999999])
    start = problem.forward(network.forward())
    kernel = network.kernel(train, problem)
    values, vectors = np.linalg.eigh(kernel)
    inside = vectors[:, values > 1e-9 * values[-1]]
    pick = rng.random()
    if pick < 0.4:
        v = inside[:, 0] * rng.choice([-1.0, 1.0])
    else:
        v = problem.operator @ rng.standard_normal(network.n)
    v = v / np.linalg.norm(v)

    def psi(scale):
        r = scale * v
        if isinstance(loss, RadialLoss):
            return scale
        return start_value(survey.psi, float(loss.value(r, np.zeros(r.size))))

    low, high = 0.0, want
    while psi(high) < want and high < 1e6:
        low, high = high, 2 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if psi(middle) < want else (low, middle)
    return start - low * v


def random_case(rng):
    """A problem, a network and what is trained."""
    train = str(rng.choice(["hidden", "both"]))
    network = random_network(rng, train)
    A = random_matrix(rng, network.n)
    name, values = LOSSES[int(rng.integers(len(LOSSES)))]
    loss = get_loss(name, **values)
    x = rng.standard_normal(network.n) * rng.choice([0.1, 1.0, 3.0])
    y = A @ x
    problem = Problem(A, y, loss=loss)
    if rng.random() < 0.6:
        close = near_threshold(rng, problem, network, train, loss)
        if close is not None:
            problem = Problem(A, close, loss=loss)
    elif rng.random() < 0.2:
        problem = Problem(A, y + 0.1 * rng.standard_normal(y.size), loss=loss)
    return problem, network, train


def follow(problem, network, train, unit, count=5, tol=0.0):
    """The flow at geometric times: (time, network) pairs."""
    form = flow_form("auto", problem, network, train)
    run = Integration(form, train, 1e-10, 1e-13, tol)
    times = np.concatenate([[0.0], unit * 10.0 ** np.linspace(-1, 2.5, count)])
    with np.errstate(all="ignore"):
        run.run(times, 5_000, lambda: False, lambda *_: None)
        return [(t, form.network_at(s)) for t, s in zip(run.times, run.states, strict=True)]


def violations(problem, network, train, *, c=1):
    """What goes wrong: a list of sentences, empty if every certificate that holds is right.

    Returns the sentences and the names of the certificates that held.
    """
    survey = Survey(problem, network, train, None)
    facts = survey.facts(network)
    certificates = list(ladder(facts))
    mirror = survey.mirror(network)
    reach = None
    if mirror is not None:
        reach, last = mirror
        certificates.append(last)
    held = [found for found in certificates if found.holds]
    wrong = []
    if reach is not None and reach.attainable is False and held:
        wrong.append(f"{[h.name for h in held]} hold, but zero loss is impossible")
    if not held and (reach is None or reach.attainable is not False):
        return wrong, []
    kernel = np.linalg.eigvalsh(network.kernel(train, problem))[-1]
    y0 = problem.forward(network.forward())
    r0 = np.linalg.norm(y0 - problem.observation)
    slope = np.linalg.norm(problem.loss_gradient(y0))
    unit = 1.0 / (kernel * slope / r0) if kernel * slope * r0 > 0 else 1.0
    rows = measured(problem, survey, network, train, follow(problem, network, train, unit))
    scale = float(problem.loss_value(y0)) + float(np.linalg.norm(problem.observation)) ** 2
    if reach is not None and reach.attainable is False and survey.radial and not survey.void:
        floor = float(problem.loss.profile(reach.distance))
        for t, row in rows:
            if row["loss"] < floor * (1 - 1e-9) - 1e-12 * scale:
                wrong.append(f"impossible, but at t = {t:.3g} the loss is {row['loss']:.6g}")
    turn = int(1e6 * facts.psi0)
    for i, found in enumerate(held):
        wrong += broken(found, survey, rows, scale, in_time=(turn + i) % len(held) < 2)
    return wrong, [found.name for found in held]


def measured(problem, survey, network, train, states):
    """What is seen at each state."""
    rows = []
    W0, V0 = network.z, network.columns.toarray()
    for t, net in states:
        x = net.forward()
        y = problem.forward(x)
        w = problem.loss_gradient(y)
        if survey.left is not None:
            w = survey.left @ (survey.left.T @ w)
        pulled = net.pull_back(problem.pull_back(x, w), train)
        dz = np.linalg.norm(net.z - W0) / np.sqrt(net.omega)
        dv = np.linalg.norm(net.columns.toarray() - V0)
        _, psi = survey._start(net, 0.0, None)
        row = {
            "loss": max(0.0, float(problem.loss_value(y)) - survey.floor),
            "psi": psi,
            "drift": float(np.hypot(dz, dv)),
            "theta": np.concatenate(
                [(net.z - W0) / np.sqrt(net.omega), (net.columns.toarray() - V0).ravel()]
            ),
            "sigma": float(np.linalg.norm(pulled) / np.linalg.norm(w)) if w.any() else np.inf,
            "still": float(np.linalg.norm(w)),
        }
        rows.append((t, row))
    return rows


def broken(found, survey, rows, scale, *, in_time=True):
    """The bounds of one certificate that a run breaks, beyond the accuracy of the integration."""
    wrong = []
    bounded = bool(found.pieces) or found.mirror is not None
    law = found.law(survey.psi) if in_time and bounded else None
    end = rows[-1][1]
    for t, row in rows:
        # below this the integration, not the flow, decides
        exact = row["loss"] > 1e-13 * scale
        if law is not None and row is not rows[1][1]:
            loss, psi = law.loss(t), law.psi(t)
            if row["loss"] > loss * (1 + 1e-6) + 1e-13 * scale:
                wrong.append(f"{found.name}: at t = {t:.3g} loss {row['loss']:.6g} > {loss:.6g}")
            if exact and row["psi"] > psi * (1 + 1e-6) + 1e-9:
                wrong.append(f"{found.name}: at t = {t:.3g} ψ {row['psi']:.6g} > {psi:.6g}")
        if found.pieces and exact:
            left = found.path_left(row["psi"])
            if row["drift"] > (found.path_length - left) * (1 + 1e-6) + 1e-7:
                wrong.append(f"{found.name}: at t = {t:.3g} path {row['drift']:.6g} too long")
            gone = np.linalg.norm(end["theta"] - row["theta"])
            if gone > left * (1 + 1e-6) + 1e-7:
                wrong.append(f"{found.name}: from t = {t:.3g} on, path {gone:.6g} > {left:.6g}")
            least = found.singular_value(row["psi"])
            if row["sigma"] < least * (1 - 1e-6):
                wrong.append(f"{found.name}: at t = {t:.3g} σ {row['sigma']:.6g} < {least:.6g}")
    return wrong


__all__ = ["InputError", "random_case", "replace", "violations"]
