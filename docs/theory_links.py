"""Where the theory proves what a function computes: the links from the reference to the proofs."""

_N = "kltheory.numeric."
_E = "kltheory.empirical."

K1, K2, K3, K4 = ((f"(K{i})", f"k{i}") for i in (1, 2, 3, 4))
T32, S3 = ("Theorem 3.2*", "thm-32"), ("Theorem S3", "thm-affine")
SIGNAL, A1 = ("Theorem 3.2*(iii)", "thm-recovery"), ("Theorem A.1*", "thm-a1")
S4, S1, V = ("Theorem S4", "thm-s4"), ("Lemma S1", "thm-s1"), ("Theorem V", "thm-v")
TAILS, M = ("Lemma 7.1", "lem-tails"), ("Theorem M", "thm-m")
B1, T41 = ("Theorem B.1*", "thm-b1"), ("Theorem 4.1*", "thm-41")
M_WIDTH = ("Theorem M, a priori width", "thm-m-width")
DUAL = ("Theorem M, dual certificate", "thm-dual")
DESCENT, BETA = ("Theorem 10.1", "thm-descent"), ("Proposition 10.2", "thm-beta")
REDUCE = ("Proposition 11.1", "thm-reductions")
LOWEST, C0 = ("Lemma 8.2", "lem-lowest"), ("Theorem C0", "thm-c0")
Q, C = ("Theorem q", "thm-q"), ("Theorem C", "thm-c")

THEORY: dict[str, tuple[tuple[str, str], ...]] = {
    "kltheory.rates.RateLaw.bound": (T32,),
    "kltheory.symbolic.rate.RateLaw": (K1, T32),
    "kltheory.symbolic.rate.power_law": (K4,),
    "kltheory.symbolic.losses.from_radial": (K3,),
    "kltheory.symbolic.losses.loss": (K4,),
    _N + "kl_test.kl_test": (K2,),
    _N + "guarantees.Bound": (T32,),
    _N + "guarantees.Bound.observation": (K2, T32),
    _N + "guarantees.Bound.stopping_time": (T32,),
    _N + "guarantees.Bound.signal": (SIGNAL,),
    _N + "recovery.guarantees": (T32,),
    _N + "recovery.observation_error": (T32,),
    _N + "recovery.signal_error": (SIGNAL,),
    _N + "recovery.local_signal_error": (A1,),
    _N + "sample_complexity.measurements": (("random measurements", "thm-35"),),
    _N + "sharp.affine_constants": (S3,),
    _N + "sharp.SharpBound": (S3,),
    _N + "sharp.sharp_bound": (S3,),
    _N + "sharp.descent_bound": (DESCENT,),
    _N + "sharp.DescentBound": (DESCENT,),
    _N + "width.width": (B1, T41, M_WIDTH, C0),
    _N + "width_theorems.hidden_sharp": (B1,),
    _N + "width_theorems.hidden_paper": (B1,),
    _N + "width_theorems.whitened": (("Theorem S4Q, a priori", "thm-s4q-width"),),
    _N + "width_theorems.both_sharp": (T41, V),
    _N + "width_theorems.both_paper": (("the paper's condition", "thm-41-paper"),),
    _N + "width_theorems.bounded_image": (M_WIDTH,),
    _N + "width_theorems.unbounded_image": (M_WIDTH,),
    _N + "width_bounds.Bounds": (TAILS,),
    _N + "width_zero.protected_share": (LOWEST,),
    _N + "width_zero.without_width": (C, C0),
    _E + "network.TwoLayerNetwork.jacobian": (("the Jacobian", "jacobian"),),
    _E + "network.TwoLayerNetwork.sigma_min": (("the Jacobian", "jacobian"),),
    _E + "measure.measure": (S4, S1),
    _E + "dynamics.flow": (("a conserved quantity", "conservation"), REDUCE),
    _E + "dynamics.descend": (DESCENT, REDUCE),
    _E + "step_size.safe_step": (BETA,),
    _E + "reduced.reduce": (REDUCE,),
    _E + "reduced.tanh_form": (("the step", "thm-tanh"),),
    _E + "forms.ObservationForm": (REDUCE,),
    _E + "mirror.MirrorForm": (("Lemma 9.1", "lem-mirror"), DUAL),
    _E + "mirror.newton_limit": (M, DUAL),
    _E + "shared_path.shared_path": (K3,),
    "kltheory.activation_branches.Branches": (LOWEST, M),
    "kltheory.certification.certify": (S3, S4, S1, V, M),
    "kltheory.checks.check": (T32, S3, SIGNAL),
    _N + "certificate.ladder": (S3, S4, S1, V, Q, C, C0),
    _N + "certificate.lowest_features": (LOWEST,),
    _N + "reach.reachability": (M,),
    _N + "reach.box_limit": (M,),
    _N + "reach_rate.mirror_rate": (DUAL,),
}
