"""Weight matrices that need not be held: drawn in blocks from one seed, plus a low-rank update.

The weights of a wide layer come in units: the columns V_i of the output layer, the rows of the
hidden layer.  Block b of units has its own generator, seeded by (seed, role, b), so that any block
can be drawn again, alone, by any process, with the same bits.  The width of a block depends on
the size of a unit only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kltheory.errors import InputError, LimitReached, brief

__all__ = ["HELD_ENTRIES", "LAWS", "SeededUnits", "Weights", "generator"]

Array = NDArray[np.float64]

LAWS: Final = ("rademacher", "uniform", "zero", "gaussian")
"""How entries are drawn; each but "zero" has mean 0 and variance 1."""

HELD_ENTRIES: Final = 2**27
"""A matrix with more entries (1 GiB) is never written out; it is used block by block."""

_BLOCK_ENTRIES: Final = 2**19


def generator(seed: int, role: int, block: int) -> np.random.Generator:
    """Return the generator of one block: a child of the seed, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(role, block)))


@dataclass(frozen=True, slots=True)
class SeededUnits:
    """`count` units of `size` entries each, drawn from a seed whenever they are needed."""

    count: int
    """The number of units, k."""
    size: int
    """The entries of a unit: n for a column of V, d for a row of W."""
    law: str
    """One of `LAWS`."""
    seed: int
    """The seed of the whole network."""
    role: int
    """Which of the network's streams this is."""

    @property
    def width(self) -> int:
        """The number of units in a block."""
        return max(1, _BLOCK_ENTRIES // self.size)

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield the units [start, stop) of each block and their entries, (stop - start, size)."""
        for block, start in enumerate(range(0, self.count, self.width)):
            stop = min(start + self.width, self.count)
            yield slice(start, stop), self._draw(block, (stop - start, self.size))

    def _draw(self, block: int, shape: tuple[int, int]) -> Array:
        if self.law == "zero":
            return np.zeros(shape)
        rng = generator(self.seed, self.role, block)
        if self.law == "gaussian":
            return rng.standard_normal(shape)
        if self.law == "uniform":
            return rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), shape)
        count = shape[0] * shape[1]
        bits = np.unpackbits(np.frombuffer(rng.bytes((count + 7) // 8), np.uint8), count=count)
        signs = bits.reshape(shape).astype(np.float64)
        signs *= 2.0
        signs -= 1.0
        return signs

    def toarray(self) -> Array:
        """Return all units, (count, size)."""
        if self.count * self.size > HELD_ENTRIES:
            raise LimitReached(
                f"a weight matrix of {self.count} x {self.size} entries is too large to be written "
                f"out (limit {HELD_ENTRIES}); it is used block by block."
            )
        out = np.empty((self.count, self.size))
        for where, block in self.blocks():
            out[where] = block
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A weight matrix by units, (k, size): the start plus an update left @ right."""

    start: Array | SeededUnits
    """The initial weights: an array (k, size), or units that are drawn when they are needed."""
    left: Array | None = None
    """Update, left factor (k, r)."""
    right: Array | None = None
    """Update, right factor (r, size)."""

    @property
    def count(self) -> int:
        """The number of units, k."""
        return self.start.count if isinstance(self.start, SeededUnits) else self.start.shape[0]

    @property
    def size(self) -> int:
        """The entries of a unit."""
        return self.start.size if isinstance(self.start, SeededUnits) else self.start.shape[1]

    @property
    def held(self) -> bool:
        """Whether the weights are held as an array."""
        return isinstance(self.start, np.ndarray)

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield slices of units and their current entries."""
        source = (
            self.start.blocks()
            if isinstance(self.start, SeededUnits)
            else iter([(slice(0, self.count), self.start)])
        )
        for where, block in source:
            if self.left is None or self.right is None:
                yield where, block
            else:
                yield where, block + self.left[where] @ self.right

    def toarray(self) -> Array:
        """Return the current weights, (k, size)."""
        start = self.start if isinstance(self.start, np.ndarray) else self.start.toarray()
        if self.left is None or self.right is None:
            return start
        return np.asarray(start + self.left @ self.right)

    def moved(self, left: Array, right: Array) -> Weights:
        """Return these weights plus left @ right."""
        if self.left is None or self.right is None:
            return Weights(self.start, left, right)
        return Weights(self.start, np.hstack([self.left, left]), np.vstack([self.right, right]))

    def times(self, x: Array) -> Array:
        """Return W x, shape (k,) or (k, c), for x of shape (size,) or (size, c)."""
        out = np.empty((self.count, *x.shape[1:]))
        for where, block in self.blocks():
            out[where] = block @ x
        return out

    def transpose_times(self, a: Array) -> Array:
        """Return Wᵀ a, shape (size,) or (size, c), for a of shape (k,) or (k, c)."""
        out = np.zeros((self.size, *a.shape[1:]))
        for where, block in self.blocks():
            out += block.T @ a[where]
        return out

    def norms(self) -> Array:
        """Return the norm of each unit, (k,)."""
        out = np.empty(self.count)
        for where, block in self.blocks():
            out[where] = np.sqrt(np.vecdot(block, block))
        return out

    def largest_entry(self) -> float:
        """Return the largest absolute entry."""
        return max(float(np.abs(block).max()) for _, block in self.blocks())


def check_law(law: str) -> str:
    """Return the law of an output layer, or refuse it."""
    if law not in LAWS[:3]:
        raise InputError(f"output: got {brief(law)}; allowed are {', '.join(LAWS[:3])}.")
    return law
