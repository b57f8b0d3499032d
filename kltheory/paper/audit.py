"""The audit: every place where the text of the source does not follow from its own argument.

    import kltheory as kl
    print(kl.audit())             # all findings, one line each
    print(kl.audit("E12"))        # one finding in full

The source is HAL hal-04059168v1; later versions were not seen.  Nothing is stored: each printed
formula is implemented as printed, and each counterexample is run when `audit` is called.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kltheory import report
from kltheory.errors import InputError
from kltheory.paper.finding import MEANING, Claim, Entry, Formula, Outcome
from kltheory.report import Grid, Page, Pairs, Text, words

__all__ = ["IDS", "Audit", "Checked", "Finding", "audit"]

IDS = tuple(f"E{i}" for i in range(1, 32))
"""The findings, in the order of the source, E30 the corrected theorem as a whole."""

SCHEMA = "kltheory/audit/1"
SOURCE = "HAL hal-04059168v1"


@dataclass(frozen=True, slots=True)
class Checked:
    """One claim with what its witness said of both formulas."""

    id: str
    """The finding's number, with a letter where it has several claims."""
    claim: Claim
    """What is claimed."""
    printed: Outcome
    """What the witness says of the printed formula."""
    derived: Outcome
    """What it says of the derived one."""

    @property
    def confirmed(self) -> bool:
        """Whether the printed formula fails and the derived one holds on the witness."""
        return self.printed.holds is False and self.derived.holds is True

    @property
    def evidence(self) -> dict[str, Any]:
        """What was computed, as plain data."""
        return {
            "tested": self.claim.tested,
            "printed": _plain_outcome(self.printed),
            "derived": _plain_outcome(self.derived),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        c = self.claim
        return {
            "id": self.id,
            "place": c.place,
            "kind": c.kind,
            "printed": c.printed.latex,
            "derived": c.derived.latex,
            "why": c.why,
            "evidence": self.evidence,
            "confirmed": self.confirmed,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding that was run: the main claim first, then others of the same number."""

    id: str
    """E1, E2, ..."""
    title: str
    """What is found, in a few words."""
    effect: str
    """How it changes the numbers of a user."""
    claims: tuple[Checked, ...]
    """Its claims."""

    @property
    def place(self) -> str:
        """Where in the source."""
        return self.claims[0].claim.place

    @property
    def kind(self) -> str:
        """false, gap, misprint, loose, constant or vacuous."""
        return self.claims[0].claim.kind

    @property
    def confirmed(self) -> bool:
        """Whether every claim is confirmed."""
        return all(c.confirmed for c in self.claims)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the main claim's keys, the evidence of all claims, and the claims."""
        main = self.claims[0].to_dict()
        return {
            **main,
            "id": self.id,
            "title": self.title,
            "effect": self.effect,
            "evidence": {c.id: c.evidence for c in self.claims},
            "confirmed": self.confirmed,
            "claims": [c.to_dict() for c in self.claims],
        }

    def __repr__(self) -> str:
        state = "confirmed" if self.confirmed else "NOT confirmed"
        return f"<Finding {self.id}: {self.title} ({self.kind}, {state})>"

    def __str__(self) -> str:
        return report.text(finding_page(self))

    def _repr_html_(self) -> str:
        return report.html(finding_page(self))

    def __rich__(self) -> Any:
        return report.rich_page(finding_page(self))


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings that were asked for, each run now."""

    findings: tuple[Finding, ...]
    """In the order of the source."""
    seconds: float
    """How long it took."""

    @property
    def confirmed(self) -> bool:
        """Whether every finding is confirmed."""
        return all(f.confirmed for f in self.findings)

    def __getitem__(self, id: str) -> Finding:
        for finding in self.findings:
            if finding.id == id:
                return finding
        raise InputError(f"no finding {id!r} here; there are {', '.join(self._ids())}")

    def _ids(self) -> list[str]:
        return [f.id for f in self.findings]

    def to_dict(self) -> dict[str, Any]:
        """Return what `kltheory audit --format json` prints."""
        refused = [c.id for f in self.findings for c in f.claims if not c.confirmed]
        return {
            "schema": SCHEMA,
            "source": SOURCE,
            "findings": [f.to_dict() for f in self.findings],
            "confirmed": self.confirmed,
            "seconds": round(self.seconds, 3),
            "warnings": [f"not confirmed: {', '.join(refused)}"] if refused else [],
        }

    def pages(self) -> tuple[Page, ...]:
        """One page a finding."""
        return tuple(map(finding_page, self.findings))

    def __repr__(self) -> str:
        return report.text(list_page(self))

    def _repr_html_(self) -> str:
        return report.html(list_page(self))

    def __rich__(self) -> Any:
        return report.rich_page(list_page(self))


def entries() -> dict[str, Entry]:
    """All findings by number, not yet run."""
    from kltheory.paper import findings_2, findings_3, findings_4, findings_5, findings_recovery

    rooms = (findings_2, findings_3, findings_recovery, findings_4, findings_5)
    found = {entry.id: entry for room in rooms for entry in room.ENTRIES}
    return {id: found[id] for id in IDS}


def check(entry: Entry) -> Finding:
    """Run one finding."""
    letters = "abcdefghij" if len(entry.claims) > 1 else ("",)
    checked = (
        Checked(f"{entry.id}{letter}", claim, *claim.check())
        for letter, claim in zip(letters, entry.claims, strict=False)
    )
    return Finding(entry.id, entry.title, entry.effect, tuple(checked))


def audit(*ids: str) -> Audit:
    """Recompute where the text of the source (HAL v1) does not follow from its own argument.

    For each finding the printed formula and the derived one are held against a witness: a network,
    a function or a set whose truth is computed without either.  A finding is confirmed if the
    printed formula fails there and the derived one holds.  `ids` are numbers such as "E12"; none
    means all.  About ten seconds in all.

    Raises:
        InputError: there is no finding of that number.

    >>> found = audit("E13")["E13"]
    >>> found.confirmed, found.claims[0].printed.numbers["bound at t = 0"]
    (True, 0.2)
    """
    wanted = [_known(id) for id in ids] or list(IDS)
    started = time.monotonic()
    listed = entries()
    chosen = [check(listed[id]) for id in IDS if id in wanted]
    return Audit(tuple(chosen), time.monotonic() - started)


def _known(id: str) -> str:
    name = id.strip().upper() if isinstance(id, str) else ""
    if name not in IDS:
        raise InputError(
            f"there is no finding {str(id)[:20]!r}; "
            f"there are {IDS[0]} to {IDS[-1]}: {', '.join(IDS)}"
        )
    return name


# -- words with formulas ---------------------------------------------------------------------------

_HIGH = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᵏᵖⁿᵐ", "0123456789-+kpnm", strict=True)) | {"ᵀ": r"\top "}
_LOW = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
_SIGNS = {"≳": r"\gtrsim ", "↦": r"\mapsto ", "≫": r"\gg ", "Φ": r"\Phi "}
_TOKENS = re.compile(
    r"(?P<base>x̄|[A-Za-zα-ωΑ-Ω])_(?P<below>min|max|[A-Za-z0-9Σ](?:,[A-Z0])?)"
    r"|\^(?P<above>\([^()]*\)|\d+(?:\.\d+)?|[A-Za-zα-ω])"
    rf"|(?P<high>[{''.join(_HIGH)}]+)|(?P<low>[{''.join(_LOW)}]+)|(?P<sign>[{''.join(_SIGNS)}])"
)


def prose(text: str) -> Text:
    """Words for a page; what is raised, lowered or indexed in them is set so in LaTeX.

    >>> print(prose("L_F² e^(x₁) ≥ 0").latex)
    $L_{F} ^{2}$ e$^{x_{1}}$ $\\ge$ 0
    """
    parts, at = [], 0
    for token in _TOKENS.finditer(text):
        parts += [words(text[at : token.start()]).latex, f"${_set(token)}$"]
        at = token.end()
    return Text(text, text, "".join([*parts, words(text[at:]).latex]).replace("$$", " "))


def _set(token: re.Match[str]) -> str:
    """One token in mathematical mode."""
    if token["sign"]:
        return _SIGNS[token[0]]
    if token["high"]:
        return f"^{{{''.join(_HIGH[sign] for sign in token[0])}}}"
    if token["low"]:
        return f"_{{{''.join(_LOW[sign] for sign in token[0])}}}"
    if token["base"]:
        below = {"min": r"\min", "max": r"\max", "Σ": r"\Sigma"}.get(token["below"], token["below"])
        return f"{_bare(token['base'])}_{{{below}}}"
    above = token["above"]
    return f"^{{{_bare(above[1:-1] if above[0] == '(' else above)}}}"


def _bare(text: str) -> str:
    return prose(text).latex.replace("$", "")


# -- pages -----------------------------------------------------------------------------------------


def list_page(found: Audit) -> Page:
    """One line a finding."""
    header = tuple(words(name) for name in ("id", "kind", "what, and where"))
    rows = tuple(
        (
            words(f.id),
            words(f"{f.kind}, {'confirmed' if f.confirmed else 'NOT CONFIRMED'}"),
            prose(f"{f.title} ({f.place})"),
        )
        for f in found.findings
    )
    kinds = dict.fromkeys(f.kind for f in found.findings)
    said = tuple((words(kind), words(MEANING[kind])) for kind in kinds)
    many = len(found.findings)
    confirmed = sum(f.confirmed for f in found.findings)
    claims = sum(len(f.claims) for f in found.findings)
    note = (
        f"{confirmed} of {many} findings confirmed, {claims} claims in {found.seconds:.0f} s;"
        f" `kltheory audit {found.findings[0].id}` shows one in full."
    )
    return Page(
        words(f"The text of the source ({SOURCE}) against its own argument"),
        (
            Grid("Findings", header, rows, words=True, note=note),
            Pairs("Kinds", said),
        ),
        tuple(found.to_dict()["warnings"]),
    )


def finding_page(finding: Finding) -> Page:
    """A finding in full."""
    state = "confirmed" if finding.confirmed else "NOT confirmed"
    parts: list[Pairs | Grid] = []
    for checked in finding.claims:
        claim = checked.claim
        parts.append(
            Pairs(
                f"{checked.id}: {claim.place}",
                (
                    (words("kind"), words(f"{claim.kind}: {MEANING[claim.kind]}")),
                    (words("printed"), _formula(claim.printed)),
                    (words("derived"), _formula(claim.derived)),
                    (words("why"), prose(claim.why)),
                    (words("tested"), prose(claim.tested)),
                    (words("confirmed"), words("yes" if checked.confirmed else "NO")),
                ),
            )
        )
        parts.append(_evidence(checked))
    parts.append(Pairs("For a user", ((words("effect"), prose(finding.effect)),)))
    title = f"{finding.id}: {finding.title} ({state}, in this version, HAL v1)"
    return Page(prose(title), tuple(parts))


def _formula(formula: Formula) -> Text:
    return Text(formula.text, formula.text, f"${formula.latex}$")


def _evidence(checked: Checked) -> Grid:
    """What was computed with either formula; one column where they agree."""
    printed, derived = checked.printed.numbers, checked.derived.numbers
    names = list(dict.fromkeys((*printed, *derived)))
    rows = [
        (
            words("it holds"),
            words(_shown(checked.printed.holds)),
            words(_shown(checked.derived.holds)),
        )
    ]
    rows += [
        (prose(name), words(_shown(printed.get(name, "-"))), words(_shown(derived.get(name, "-"))))
        for name in names
    ]
    header = (words("evidence"), words("printed"), words("derived"))
    return Grid(f"{checked.id}: computed now", header, tuple(rows), words=True)


def _shown(value: Any) -> str:
    """A value on a page.

    >>> [_shown(v) for v in (True, None, 0.1234567, float("inf"), [1.0, 2.0], "x")]
    ['yes', 'undecided', '0.123457', '∞', '1, 2', 'x']
    """
    if value is None:
        return "undecided"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("inf", "∞").replace("nan", "not a number")
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    return str(value)


# -- plain data ------------------------------------------------------------------------------------


def _plain_outcome(outcome: Outcome) -> dict[str, Any]:
    return {"holds": outcome.holds, **{k: _plain(v) for k, v in outcome.numbers.items()}}


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: None, and "inf" in words."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value
