"""kl.certify and `kltheory certify`: verdicts, moments on line, smallest widths, formats."""

import io
import json
import math
from importlib.resources import files

import jsonschema
import numpy as np
import pytest
from rich.console import Console

import kltheory as kl
from kltheory import certification, cli
from kltheory.errors import InputError
from kltheory.loss_functions import Radial
from kltheory.numeric.user_activation import from_text

SCHEMA = json.loads((files("kltheory") / "schemas" / "certify.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def gaussian(m, n, seed=0, **options):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n)) / np.sqrt(n)
    return kl.Problem(A, A @ rng.standard_normal(n), **options)


def draw(n, k, **options):
    return kl.TwoLayerNetwork.draw(n=n, k=k, d=n, **{"seed": 0, **options})


# -- the verdict ---------------------------------------------------------------------------------


def test_enough_neurons_are_certified():
    """Wide: M certifies with a rate, the loss tends to 0, and the law bounds the flow."""
    problem, net = gaussian(4, 12), draw(12, 200)
    found = kl.certify(problem, net)
    assert (found.verdict, found.attainable, found.limit_loss) == ("certified", True, 0.0)
    assert found.best.name == "M"
    times = [0.0, 10.0, 100.0, 500.0]
    run = kl.flow(problem, net, times=times)
    for name in [c.name for c in found.certificates if c.holds]:
        assert (found.law(name).loss(times) >= run.loss).all()
        assert (found.law(name).psi(times) >= run.residual * (1 - 1e-9)).all()


def test_too_few_neurons_are_impossible():
    """Narrow: a separating direction proves that zero loss cannot be had, and how near it gets."""
    problem, net = gaussian(10, 60), draw(60, 30)
    found = kl.certify(problem, net, online=True)
    assert (found.verdict, found.attainable, found.online) == ("impossible", False, None)
    v = found.reach.separating
    N = problem.operator @ net.V / math.sqrt(net.k)
    assert v @ problem.observation > np.maximum(v @ N, 0).sum()
    run = kl.flow(problem, net, times=[3e4])
    assert found.limit_loss <= run.loss[-1] < 1.1 * found.limit_loss
    with pytest.raises(InputError, match="does not hold"):
        found.law()


def test_impossible_is_said_of_the_branches_of_the_start():
    """GELU left of its minimum: the flow cannot give y = 1, though other weights of W can."""
    problem = kl.Problem([[1.0]], [1.0])
    left = kl.certify(problem, kl.TwoLayerNetwork([1.0], [[-2.0]], [[1.0]], "gelu"))
    right = kl.certify(problem, kl.TwoLayerNetwork([1.0], [[2.0]], [[1.0]], "gelu"))
    assert (left.verdict, right.verdict) == ("impossible", "certified")
    assert "from here" in repr(left)
    assert "no weights" not in repr(left)


@pytest.mark.parametrize("train", ["hidden", "both"])
def test_what_is_taken_for_zero_of_the_operator_is_an_assumption(train):
    """diag(1e8, 1e-8) has rank 1 to rounding: what is certified is about that matrix, and says so;
    along the direction that was dropped the flow is far from y when the bound is 0."""
    problem = kl.Problem(np.diag([1e8, 1e-8]), [1e8, 1e-8])
    net = draw(2, 50, seed=1)
    found = kl.certify(problem, net, train)
    assert problem.rank == 1
    assert all("are 0" in c.assumptions[-1] for c in found.certificates)
    assert any("rank 1 if" in note for note in found.warnings)
    assert all(c.evidence != "proved" for c in found.certificates)
    full = kl.certify(kl.Problem(np.eye(2), [0.5, 0.5]), net, train)
    assert not any("are 0" in a for c in full.certificates for a in c.assumptions)


def test_a_difference_in_phi_does_not_raise_the_rate():
    """1 - cos z at z = 1e-8 is 1.1e-16 in floats and 6e-17 in truth: no rate follows from it."""
    phi = from_text("1 - cos(x)")
    for z in (1.06e-8, 3e-8, 1e-4):
        net = kl.TwoLayerNetwork([1.0], [[z]], [[0.0]], phi)
        found = kl.certify(kl.Problem([[1.0]], [1.0]), net, "both")["C0"]
        assert (found.rate or 0.0) <= (z**2 / 2) ** 2
        assert found.holds == (z > 1e-7)


def test_what_rests_on_a_quadrature_is_not_called_proved():
    """M for SiLU, whose Z is a table: computed; for the sigmoid: proved."""
    problem = kl.Problem([[1.0]], [0.1])
    for name, evidence in (("silu", "computed"), ("sigmoid", "proved")):
        net = kl.TwoLayerNetwork([1.0], [[0.5], [0.1]], [[1.0, 0.5]], name)
        assert kl.certify(problem, net)["M"].evidence == evidence


def test_what_holds_within_rounding_is_not_called_proved():
    """k < m, and y in the range of N to 1e-17: M holds, but by floating point only."""
    net = kl.TwoLayerNetwork([1.0], [[0.3]], [[1.0], [0.7]], "sigmoid")
    found = kl.certify(kl.Problem(np.eye(2), [0.5, 0.35]), net)
    assert found.reach.verified is None
    assert found["M"].holds
    assert found["M"].evidence == "computed"
    whole = kl.certify(kl.Problem(np.eye(1), [0.5]), kl.TwoLayerNetwork([1.0], [[0.3]], [[1.0]]))
    assert whole["M"].evidence == "proved"


def test_some_are_not_certified():
    """Both layers, few neurons with an odd φ: no certificate holds, and nothing is impossible."""
    found = kl.certify(gaussian(10, 60), draw(60, 3, activation="tanh"), "both")
    assert (found.verdict, found.attainable, found.best) == ("not certified", None, None)
    assert all(
        "start with zero output weights" in c.advice or c.name == "C" for c in found.certificates
    )


def test_zero_output_weights_are_certified():
    """V(0) = 0: C0 certifies any problem, with its exact rate."""
    problem, net = gaussian(10, 60), draw(60, 2, activation="gelu", output="zero")
    found = kl.certify(problem, net, "both")
    assert found["C0"].holds
    assert found["C0"].rate == pytest.approx((problem.sigma_F * net.feature_norm()) ** 2)


def test_y_outside_the_range_of_a():
    """More observations than unknowns: the square loss is certified to fall to its least value."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 3))
    y = A @ np.array([0.3, 0.1, -0.2]) + 0.1 * rng.standard_normal(6)
    rest = y - A @ np.linalg.lstsq(A, y)[0]
    net = draw(3, 300)
    for train in ("hidden", "both"):
        found = kl.certify(kl.Problem(A, y), net, train)
        assert found.verdict == "certified"
        assert found.limit_loss == pytest.approx(0.5 * rest @ rest, rel=1e-9)
        assert "not in Im A" in found.warnings[0]
        run = kl.flow(kl.Problem(A, y), net, train, times=[1.0, 5.0], form="signal")
        law = found.law()
        assert (law.loss(run.t) + found.limit_loss >= run.loss * (1 - 1e-12)).all()
    void = kl.certify(kl.Problem(A, y, loss="power", loss_parameters={"p": 0.5}), net, "both")
    assert void.verdict == "not certified"
    assert "A-4" in void.warnings[0]
    assert kl.certify(kl.Problem(A, y, loss="log-cosh"), net, "both").verdict == "not certified"


def test_an_operator_that_is_not_a_matrix():
    """F(x) = x + sin(x)/2 with σ_F = 1/2 given: V certifies, as assumed; else nothing does."""

    def operator(x):
        return x + np.sin(x) / 2

    def jacobian(x):
        return np.diag(1 + np.cos(x) / 2)

    y = operator(np.array([0.4, -0.3]))
    net = draw(2, 400)
    found = kl.certify(kl.Problem(operator, y, jacobian=jacobian, lower_bound=0.5), net, "both")
    assert found.verdict == "certified"
    assert found.best.evidence == "assumed"
    assert "assumed" in found.warnings[0]
    run = kl.flow(kl.Problem(operator, y, jacobian=jacobian), net, "both", times=[1.0, 5.0])
    assert (found.law("V").loss(run.t) >= run.loss).all()
    unknown = kl.certify(kl.Problem(operator, y, jacobian=jacobian), net, "both")
    assert unknown.verdict == "not certified"
    assert "lower_bound" in unknown.warnings[0]


def test_a_loss_of_ones_own():
    """A radial loss without ψ: certified, but bounds over time want psi=."""
    quartic = Radial(lambda rho: rho**4 / 4, lambda rho: rho**3)
    problem, net = gaussian(3, 6, loss=quartic), draw(6, 300)
    found = kl.certify(problem, net, "both")
    assert found.verdict == "certified"
    with pytest.raises(InputError, match="psi="):
        found.law()
    named = kl.certify(problem, net, "both", psi=kl.from_radial("x**4/4"))
    assert named["V"].psi0 == pytest.approx(found["V"].psi0)
    loose = kl.certify(problem, net, "both", psi=kl.rate("3*(4*s)**(1/4)").desingularizer)
    assert loose["V"].psi0 == pytest.approx(3 * found["V"].psi0)
    run = kl.flow(problem, net, "both", times=[1.0, 10.0])
    assert (named.law().loss(run.t) >= run.loss).all()


def test_a_loss_beyond_the_radius_of_psi_is_void():
    """Welsch's loss far from y is 1 to rounding, where ψ ends: no certificate, and why."""
    problem = kl.Problem(np.eye(2), [30.0, 0.0], loss="welsch")
    found = kl.certify(problem, draw(2, 5), "both", online=True)
    assert (found.verdict, found.online) == ("not certified", None)
    assert "r0 = 1" in found.warnings[0]


# -- on line -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["flow", "descent"])
def test_convergence_is_proved_on_line(method):
    """From some moment on a certificate holds, and its law bounds what comes after."""
    problem, net = gaussian(5, 10), draw(10, 4, activation="tanh")
    assert kl.certify(problem, net, "both").verdict == "not certified"
    found = kl.certify(problem, net, "both", online=method).online
    assert found.method == method
    assert found.at > 0
    assert found.certificate.holds
    law = found.certificate.law(kl.loss("mse"))
    if method == "flow":
        run = kl.flow(problem, net, "both", times=[found.at, 2 * found.at])
        assert run.loss[0] == pytest.approx(found.loss, rel=1e-5)
        assert run.loss[1] <= law.loss(found.at) * (1 + 1e-6)


def test_what_holds_at_the_start_is_proved_at_the_start():
    """M at time 0, and then, if its rate is not proved, the first certificate that has one."""
    problem, net = gaussian(10, 60), draw(60, 200)
    found = kl.certify(problem, net, online=True).online
    assert (found.at, found.name) == (0.0, "M")
    descent = kl.certify(problem, net, online="descent").online
    assert descent.at > 0
    assert descent.name in ("S4A", "S4Q", "q")
    assert descent.certificate.c == 0.5


@pytest.mark.parametrize(
    ("sizes", "activation", "train", "method"),
    [
        ((3, 6, 4), "softplus", "hidden", "descent"),
        ((10, 60, 400), "sigmoid", "hidden", "descent"),
        ((5, 10, 4), "tanh", "both", "flow"),
    ],
)
def test_certificates_on_line_are_cheap(sizes, activation, train, method, monkeypatch):
    """At every look the work of all looks so far is below 5 % of the evaluations of the run."""
    m, n, k = sizes
    problem, net = gaussian(m, n, 1), draw(n, k, activation=activation, seed=1)
    shares = []
    look = certification._Watch.look

    def counted(watch, at, network, evaluations):
        done = look(watch, at, network, evaluations)
        shares.append(watch.cost / evaluations)
        return done

    monkeypatch.setattr(certification._Watch, "look", counted)
    found = kl.certify(problem, net, train, online=method, tol=1e-30).online
    assert found.at > 0
    assert found.examined == len(shares) >= 1
    assert max(shares) <= 0.05


def test_descent_needs_a_concave_psi():
    """ψ of Cauchy's loss is concave up to log(2)/2: beyond, no certificate for descent, and why."""
    near, net = gaussian(3, 6, loss="cauchy"), draw(6, 50)
    assert near.loss_value(near.forward(net.forward())) < 0.34
    assert kl.certify(near, net, "both", online="descent").online.certificate.c == 0.5
    far = kl.Problem(near.operator, 10 * near.observation, loss="cauchy")
    with pytest.raises(InputError, match="concave"):
        kl.certify(far, net, "both", online="descent")
    bent = kl.Desingularizer.from_psi("sqrt(2*s) + 100*s**2")
    with pytest.raises(InputError, match="concave"):
        kl.certify(gaussian(3, 6), net, "both", online="descent", psi=bent)
    with pytest.raises(InputError, match="allowed are flow and descent"):
        kl.certify(gaussian(3, 6), draw(6, 50), "both", online="adam")


# -- the smallest width --------------------------------------------------------------------------


@pytest.mark.parametrize("train", ["hidden", "both"])
def test_the_smallest_k_is_one(train):
    """Each certificate holds at its smallest k, and at k - 1 it does not, with the same seed."""
    problem = gaussian(2, 3)
    found = kl.certify(problem, draw(3, 10), train, smallest_k=True)
    assert found.smallest
    for s in found.smallest:
        if s.k is None:
            assert s.searched > 1000
            continue
        assert kl.certify(problem, draw(3, s.k), train)[s.name].holds
        assert s.k == 1 or not kl.certify(problem, draw(3, s.k - 1), train)[s.name].holds


def test_draws_of_one_seed_are_nested():
    """A narrow network of the same seed has the first neurons of a wide one."""
    for output in ("rademacher", "uniform"):
        wide, narrow = draw(7, 40, output=output), draw(7, 13, output=output)
        assert np.array_equal(wide.V[:, :13], narrow.V)
        assert np.array_equal(wide.z[:13], narrow.z)


def test_only_a_drawn_network_has_other_widths():
    """Without a seed there is nothing to draw again."""
    net = kl.TwoLayerNetwork([1.0], [[1.0]], [[1.0]])
    with pytest.raises(InputError, match=r"TwoLayerNetwork\.draw"):
        kl.certify(kl.Problem([[1.0]], [0.5]), net, smallest_k=True)


# -- how it shows itself -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    return kl.certify(gaussian(3, 6), draw(6, 60), online=True)


def test_a_certification_in_every_form(found):
    """As text, as data, in a notebook, in rich, and by name."""
    assert "certified: the loss tends to its least value" in repr(found)
    VALIDATOR.validate({**found.to_dict()})
    assert "<table>" in found._repr_html_()
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(found)
    assert "S4Q" in console.export_text()
    with pytest.raises(InputError, match="there are: P, S3, S4Q, S4A, q, M"):
        found["V"]


def test_bad_input_is_explained():
    """Shapes that do not fit and unknown layers are refused in one line."""
    with pytest.raises(InputError, match="n=6"):
        kl.certify(gaussian(3, 6), draw(5, 10))
    with pytest.raises(InputError, match="hidden, both"):
        kl.certify(gaussian(3, 6), draw(6, 10), "all")


# -- the command ---------------------------------------------------------------------------------


def run(capsys, *words):
    code = cli.main(["certify", *words])
    return code, capsys.readouterr()


def test_the_command_in_json(capsys):
    """The JSON fits the schema; exit code 0 says certified, 1 says not."""
    base = ("--gaussian", "4x12", "--format", "json")
    code, printed = run(capsys, *base, "--k", "200", "--online", "--smallest-k")
    answer = json.loads(printed.out)
    VALIDATOR.validate(answer)
    assert (code, answer["verdict"], printed.err) == (0, "certified", "")
    assert set(answer["smallest_k"]) == {"P", "S3", "S4Q", "S4A", "q", "M"}
    code, printed = run(capsys, *base, "--k", "5")
    answer = json.loads(printed.out)
    VALIDATOR.validate(answer)
    assert (code, answer["verdict"], answer["attainable"]) == (1, "impossible", False)
    code, printed = run(
        capsys, *base, "--k", "20", "--train", "both", "--online", "--method", "descent"
    )
    VALIDATOR.validate(json.loads(printed.out))


def test_the_schema_is_strict():
    """The schema is one, and refuses an answer with a key too few."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert list(VALIDATOR.iter_errors({"schema": "kltheory/certify/1"}))


def test_the_command_in_other_formats(capsys, tmp_path):
    """Text, CSV, Markdown and LaTeX, to standard output or a file."""
    base = ("--gaussian", "3x6", "--k", "60")
    assert "Certificates\n------------" in run(capsys, *base)[1].out
    lines = run(capsys, *base, "--format", "csv")[1].out.splitlines()
    assert lines[0].startswith("name,holds,threshold,psi0,margin,rate,path_length")
    assert [line.split(",")[0] for line in lines[1:]] == ["P", "S3", "S4Q", "S4A", "q", "M"]
    assert "### Certificates" in run(capsys, *base, "--format", "markdown")[1].out
    target = tmp_path / "c.tex"
    assert run(capsys, *base, "--format", "latex", "--output", str(target))[0] == 0
    assert r"\begin{tabular}" in target.read_text()


def test_the_command_refuses_bad_input(capsys):
    """Exit code 2 and a line that says what is allowed."""
    code, printed = run(capsys, "--gaussian", "3")
    assert (code, printed.out) == (2, "")
    assert "MxN" in printed.err
