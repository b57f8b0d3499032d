"""Measured constants, each with the evidence that it rests on.

A bound is only as good as its weakest constant: a Lipschitz constant that was sampled is not a
bound, and a result that uses it must say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from kltheory.errors import InputError
from kltheory.shown import Content, Shown, Table, figure

__all__ = ["Constant", "Constants", "Evidence"]


class Evidence(StrEnum):
    """What a number rests on, from the strongest to the weakest."""

    PROVED = "proved"
    """Follows by proof, for every case covered."""
    PROBABILITY = "probability"
    """Holds with a stated probability over the random initialisation."""
    COMPUTED = "computed"
    """Evaluated for this very case in floating point."""
    SAMPLED = "sampled"
    """Observed at some points only: an indication, not a bound."""
    ASSUMED = "assumed"
    """Given by the user."""

    @property
    def rank(self) -> int:
        """Return 0 for the strongest evidence and 4 for the weakest."""
        return list(Evidence).index(self)


@dataclass(frozen=True, slots=True)
class Constant:
    """One number, its evidence and its meaning."""

    value: float
    """The number."""
    evidence: Evidence
    """What it rests on."""
    meaning: str
    """What it is, in words and symbols."""
    probability: float | None = None
    """With evidence "probability": the probability that it holds."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; an infinite value is the text "inf"."""
        value: float | str | None = self.value
        if math.isinf(self.value):
            value = "inf" if self.value > 0 else "-inf"
        elif math.isnan(self.value):
            value = None
        return {
            "value": value,
            "evidence": str(self.evidence),
            "meaning": self.meaning,
            "probability": self.probability,
        }


@dataclass(frozen=True, slots=True)
class Constants(Shown, Mapping[str, Constant]):
    """Constants by name.

    >>> c = Constants({"sigma_F": Constant(0.5, Evidence.COMPUTED, "σ_F")})
    >>> c.value("sigma_F"), c["sigma_F"].evidence.value
    (0.5, 'computed')
    """

    entries: Mapping[str, Constant] = field(default_factory=dict)
    """The constants, in the order of the notation table."""

    def __post_init__(self) -> None:
        """Make the mapping read-only."""
        object.__setattr__(self, "entries", MappingProxyType(dict(self.entries)))

    def __getitem__(self, name: str) -> Constant:
        """Return the constant of that name."""
        if name not in self.entries:
            raise InputError(
                f"constant {name!r} was not measured; there are: {', '.join(self.entries)}."
            )
        return self.entries[name]

    def __contains__(self, name: object) -> bool:
        """Say whether a constant of that name was measured."""
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.entries)

    def __len__(self) -> int:
        """Return how many constants there are."""
        return len(self.entries)

    def value(self, name: str) -> float:
        """Return the number alone."""
        return self[name].value

    def weakest(self, *names: str) -> Evidence:
        """Return the weakest evidence among these constants (all, if none is named)."""
        chosen = names or tuple(self.entries)
        return max((self[name].evidence for name in chosen), key=lambda evidence: evidence.rank)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: constant.to_dict() for name, constant in self.entries.items()}

    def content(self) -> Content:
        """Return what they say: value, evidence and meaning of each."""
        rows = tuple(
            (name, figure(c.value, 6), str(c.evidence), c.meaning)
            for name, c in self.entries.items()
        )
        header = ("constant", "value", "evidence", "meaning")
        return Content("Measured constants", (Table("At this network", header, rows, words=True),))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle through a plain dictionary (a read-only view does not pickle)."""
        return (Constants, (dict(self.entries),))

    def __repr__(self) -> str:
        """Return a table: name, value, evidence, meaning."""
        rows = [
            f"{name:>14} = {c.value:<12.6g} {c.evidence:<11} {c.meaning}"
            for name, c in self.entries.items()
        ]
        return "\n".join(["Constants", *rows])
