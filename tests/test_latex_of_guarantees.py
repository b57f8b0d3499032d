"""The LaTeX of every guarantee and of the registry compiles."""

import contextlib
import io
import re
import shutil
import subprocess

import numpy as np
import pytest

import kltheory as kl
from kltheory import cli
from kltheory.numeric.recovery import guarantees, local_signal_error, signal_error
from kltheory.numeric.sharp import sharp_bound
from kltheory.symbolic.losses import loss

CONSTANTS = dict(
    sigma_f=1, sigma_j=1, loss0="0.01", noise="0.1", mu=1, lip_f=1, dist=0
)  # fmt: skip


def snippets():
    """The formulas of all guarantees, in their forms."""
    law = kl.rate(loss("mse"))
    for theory in ("corrected", "printed"):
        yield from guarantees(law.bound(**CONSTANTS, theory=theory), 1.0).values()
    yield from guarantees(sharp_bound(loss("mse"), deviation=1, **CONSTANTS), 1.0).values()
    args = dict(mu=1, lip_jacobian=1, noise="0.1", sigma_f=1, sigma_j=1)
    for theory in ("corrected", "printed"):
        yield local_signal_error(np.array([0.0]), theory=theory, **args)
    yield signal_error(0.0, mu=1, noise=0, theory="sharp")


def document() -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["losses", "--format", "latex"]) == 0
    formulas = "\n".join(rf"\[ {g.latex} \]" for g in snippets())
    return (
        "\\documentclass{article}\n\\usepackage{amsmath,amssymb}\n\\begin{document}\n"
        f"{formulas}\n\n{out.getvalue()}\n\\end{{document}}\n"
    )


def test_braces_and_environments_are_balanced():
    """Without a TeX engine: braces, \\left and \\right, \\begin and \\end come in pairs."""
    text = document()
    assert text.isascii()
    assert text.count("{") == text.count("}")
    assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    assert text.count("$") % 2 == 0


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no TeX engine")
def test_the_document_compiles(tmp_path):
    """pdflatex accepts all formulas."""
    (tmp_path / "all.tex").write_text(document())
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        encoding="latin-1",
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-2000:]
