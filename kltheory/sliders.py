"""Sliders: the bound, the trajectory and the certificates of a small problem, redrawn at once.

The loss is L(v) = (‖v - y‖/c)^(1/α), for which ψ(s) = c s^α with equality; A has orthonormal rows
times σ, so that σ_F = σ; both layers of a tanh network are trained.

>>> scene(k=100)
α = 1/2, c = 1.4142, σ = 0.5, ‖ε‖ = 0.1, k = 100: certified by V, C; R' < R fails
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kltheory.certification import certify
from kltheory.drawn import curve_times, scene_figure
from kltheory.empirical.dynamics import flow
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.errors import InputError, KLTheoryError
from kltheory.loss_functions import Radial
from kltheory.plot import png
from kltheory.problem import Problem
from kltheory.rates import rate
from kltheory.symbolic.losses import loss as registered_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ALPHAS", "CERTIFICATES", "Explorer", "Scene", "explore", "scene"]

Array = NDArray[np.float64]

ALPHAS = ("1/2", "2/5", "1/3", "1/4", "1/5", "1/6", "1/8")
"""The exponents to choose from."""
CERTIFICATES = ("P", "S1", "V", "C")
"""What is looked at: the paper's condition, the integrated one, the output block, every width."""
RANGES = {"c": (0.2, 5.0), "sigma": (0.1, 2.0), "noise": (0.0, 1.0), "k": (1, 20_000)}
"""What the other numbers may be."""
_N, _M, _D = 20, 5, 5
_POINTS = 81


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Scene:
    """What one position of the sliders shows."""

    title: str
    """The settings in a line."""
    t: Array
    """Times."""
    logarithmic: bool
    """Whether they ask for a logarithmic axis."""
    loss: Array
    """L(y(t)) of the network."""
    bound: Array
    """(10), corrected, with σ_J as measured at the start."""
    certified: Array | None
    """The best certified bound, if a certificate holds."""
    best: str | None
    """The name of that certificate."""
    margins: Mapping[str, float]
    """Threshold / ψ(L0) of each certificate."""
    holds: Mapping[str, bool]
    """Whether each certificate holds."""
    noise_loss: float
    """ψ⁻¹(‖ε‖), the loss below which noise is fitted."""

    @property
    def verdict(self) -> str:
        """What is proved."""
        held = [name for name, holds in self.holds.items() if holds]
        proved = f"certified by {', '.join(held)}" if held else "not certified"
        return f"{proved}; R' < R {'holds' if self.holds['P'] else 'fails'}"

    def plot(self) -> Figure:
        """Draw it."""
        return scene_figure(self)

    def __repr__(self) -> str:
        """Return the settings and what is proved."""
        return f"{self.title}: {self.verdict}"


def scene(
    *,
    alpha: str = "1/2",
    c: float = 1.4142,
    sigma: float = 0.5,
    noise: float = 0.1,
    k: int = 100,
    seed: int = 0,
) -> Scene:
    """Train the network of these settings, and compute its bound and its certificates."""
    if str(alpha) not in ALPHAS:
        raise InputError(f"alpha: got {alpha!r}; choose {', '.join(ALPHAS)}.")
    for name, value in {"c": c, "sigma": sigma, "noise": noise, "k": k}.items():
        low, high = RANGES[name]
        if not low <= value <= high:
            raise InputError(f"{name}: got {value!r}; it is from {low} to {high}.")
    scale = round(float(c), 6)  # short numbers stay short as fractions
    power = float(1 / Fraction(alpha))
    profile = Radial(
        lambda r: (r / scale) ** power, lambda r: power / scale * (r / scale) ** (power - 1)
    )
    rng = np.random.default_rng(seed)
    operator = sigma * np.linalg.qr(rng.standard_normal((_N, _M)))[0].T
    signal, error = rng.standard_normal(_N), rng.standard_normal(_M)
    error *= noise / float(np.linalg.norm(error))
    problem = Problem(operator, operator @ signal + error, loss=profile, signal=signal, noise=error)
    network = TwoLayerNetwork.draw(n=_N, k=k, d=_D, activation="tanh", seed=seed)
    psi = registered_loss("lojasiewicz", alpha=Fraction(alpha), c=Fraction(str(scale)))
    found = certify(problem, network, "both", psi=psi)
    r = problem.forward(network.forward()) - problem.observation
    singular = math.sqrt(np.linalg.eigvalsh(network.kernel("both"))[0])
    bound = rate(psi).bound(
        sigma_f=float(sigma), sigma_j=singular, loss0=float(profile.profile(np.linalg.norm(r)))
    )
    times, logarithmic = curve_times(bound, _POINTS)
    times = times / 3  # the network is faster than its bound
    run = flow(problem, network, "both", times=np.union1d([0.0], times), rtol=1e-8, atol=1e-10)
    best = found.best
    return Scene(
        title=f"α = {alpha}, c = {c:.5g}, σ = {sigma:g}, ‖ε‖ = {noise:g}, k = {k}",
        t=run.t,
        logarithmic=logarithmic,
        loss=run.loss,
        bound=np.asarray(bound.loss(run.t)),
        certified=None if best is None else np.asarray(found.law(best.name).loss(run.t)),
        best=None if best is None else best.name,
        margins={name: found[name].threshold / found[name].psi0 for name in CERTIFICATES},
        holds={name: found[name].holds for name in CERTIFICATES},
        noise_loss=float(profile.profile(noise)),
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explorer:
    """Sliders in a notebook that can show them, a picture everywhere else."""

    first: Scene
    """What the sliders show before they are moved."""
    widget: Any
    """The sliders and the picture; None without ipywidgets."""

    def plot(self) -> Figure:
        """Draw the first scene."""
        return self.first.plot()

    def __repr__(self) -> str:
        """Return the first scene in a line."""
        return repr(self.first)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the sliders, and for who cannot show them a picture and a line."""
        shown: dict[str, Any] = {}
        if self.widget is not None:
            shown.update(self.widget._repr_mimebundle_())
        shown["text/plain"] = repr(self)
        shown["image/png"] = base64.b64encode(png(self.plot())).decode()
        return shown


def explore(
    *,
    alpha: str = "1/2",
    c: float = 1.4142,
    sigma: float = 0.5,
    noise: float = 0.1,
    k: int = 100,
    seed: int = 0,
) -> Explorer:
    """Show sliders for α, c, σ, ‖ε‖ and k, started at these values.

    The picture has the trajectory of the network, the bound (10), the best certified bound, and how
    far each certificate is from holding.  Without ipywidgets it is there for the first values.

    Raises InputError for a value that is out of range.
    """
    given = {"alpha": alpha, "c": c, "sigma": sigma, "noise": noise, "k": k}
    first = scene(**given, seed=seed)  # type: ignore[arg-type]
    try:
        import ipywidgets
    except ImportError:
        return Explorer(first, None)
    return Explorer(first, _sliders(ipywidgets, first, given, seed))


def _sliders(widgets: Any, first: Scene, given: Mapping[str, Any], seed: int) -> Any:
    """Build the sliders; each redraws the picture when it is let go."""
    how = {"continuous_update": False}

    def slider(name: str, sign: str, *, step: float = 0.05) -> Any:
        low, high = RANGES[name]
        return widgets.FloatSlider(
            value=given[name], min=low, max=high, step=step, description=sign, **how
        )

    controls: dict[str, Any] = {
        "alpha": widgets.SelectionSlider(
            options=ALPHAS, value=given["alpha"], description="α", **how
        ),
        "c": slider("c", "c"),
        "sigma": slider("sigma", "σ"),
        "noise": slider("noise", "‖ε‖", step=0.01),
        "k": widgets.FloatLogSlider(
            value=given["k"],
            min=0,
            max=math.log10(RANGES["k"][1]),
            step=0.05,
            description="k",
            readout_format=".0f",
            **how,
        ),
    }
    picture = widgets.Image(value=png(first.plot()), format="png")
    said = widgets.HTML()
    redraw = _redraw(controls, picture, said, seed)
    for control in controls.values():
        control.observe(redraw, "value")
    return widgets.VBox([*controls.values(), said, picture])


def _redraw(
    controls: Mapping[str, Any], picture: Any, said: Any, seed: int
) -> Callable[[Any], None]:
    def redraw(_: Any) -> None:
        try:
            values = {name: control.value for name, control in controls.items()}
            now = scene(**{**values, "k": round(values["k"])}, seed=seed)
            picture.value, said.value = png(now.plot()), ""
        except KLTheoryError as error:
            said.value = escape(str(error))

    return redraw
