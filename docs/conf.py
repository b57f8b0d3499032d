"""Sphinx: the theory, its proofs, and the reference, built without a network.

python3 dev.py docs                                     the documented command
sphinx-build -n -W --keep-going docs docs/_build/html   what it runs
"""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from theory_links import THEORY  # noqa: E402

import kltheory  # noqa: E402

project = "kltheory"
author = copyright = "The kltheory authors"
version = release = kltheory.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
nitpicky = True
html_theme = "furo"
html_title = "kltheory"
html_copy_source = False
html_show_sphinx = False

# -- mathematics: one file of MathJax, from a wheel, nothing from another host --------------------

_found = importlib.util.find_spec("sphinx-mathjax-offline")
if _found is None or _found.origin is None:
    raise RuntimeError('mathematics needs the extra "docs": pip install -e ".[docs]"')
_mathjax = Path(_found.origin).parent / "static" / "mathjax" / "tex-svg.js"
html_static_path = ["theory.css", str(_mathjax)]
html_css_files = ["theory.css"]
mathjax_path = "tex-svg.js"
mathjax3_config = {
    "tex": {
        "macros": {
            "R": r"\mathbb{R}",
            "E": r"\mathbb{E}",
            "P": r"\mathbb{P}",
            "L": r"\mathcal{L}",
            "S": r"\mathcal{S}",
            "norm": [r"\lVert #1\rVert", 1],
            "abs": [r"\lvert #1\rvert", 1],
            "ip": [r"\langle #1,#2\rangle", 2],
            "dist": r"\operatorname{dist}",
            "im": r"\operatorname{Im}",
            "diag": r"\operatorname{diag}",
            "rank": r"\operatorname{rank}",
            "argmin": r"\operatorname{Argmin}",
            "Lip": r"\operatorname{Lip}",
        }
    },
    # The combined file holds everything that is used; its menu would look for more.
    "options": {"enableMenu": False},
}
myst_enable_extensions = ["amsmath", "attrs_inline", "deflist", "dollarmath"]
myst_heading_anchors = 3
numfig = True
math_numfig = True
numfig_secnum_depth = 1

# -- the reference: docstrings as they are, with a way back to the theory -------------------------

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
_linked: set[str] = set()


def _prose(line: str) -> str:
    """Return a line of a docstring for a reader of reStructuredText: nothing is markup but code."""
    parts = re.split(r"(`[^`\n]+`)", line)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = f"`{part}`"
        else:
            parts[i] = re.sub(r"([\\*|_`])", r"\\\1", part)
    return "".join(parts)


def _as_written(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: keep paragraphs, the lines of indented ones, and doctests."""
    out: list[str] = []
    for paragraph in "\n".join(lines).strip("\n").split("\n\n"):
        rows = paragraph.strip("\n").split("\n")
        if rows[0].lstrip().startswith(">>>"):
            out += [row.strip() for row in rows]
        elif any(row.startswith(" ") for row in rows):
            out += ["| " + " " * (len(r) - len(r.lstrip())) + _prose(r.strip()) for r in rows]
        else:
            out += [_prose(row) for row in rows]
        out.append("")
    places = THEORY.get(name, ())
    if places:
        _linked.add(name)
        refs = ", ".join(f":ref:`{text} <{label}>`" for text, label in places)
        out += [f"*Proof:* {refs}.", ""]
    lines[:] = out


def _nothing_missed(app: Any, env: Any) -> None:
    """Complain about a link from the theory to a function that the reference does not show."""
    from sphinx.util import logging

    for name in sorted(set(THEORY) - _linked):
        logging.getLogger(__name__).warning("theory_links: %s is not in the reference", name)


def setup(app: Any) -> None:
    """Connect the two hooks."""
    app.connect("autodoc-process-docstring", _as_written)
    app.connect("env-check-consistency", _nothing_missed)
