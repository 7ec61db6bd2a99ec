"""Exchange constants of a crystal in a collinear state: pairs, shells, and what they sum up to.

E = -sum_{a != b} J_ab e_a.e_b over all ordered pairs: each pair counts twice, as in Liechtenstein
et al. 1987 and Pajda et al. 2001. J is in meV here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mmtp_jax.properties.critical_temperatures import mean_field, why_no_order
from mmtp_jax.properties.spin_model import SpinModel
from mmtp_jax.readable import readable
from mmtp_jax.structures.structure import Structure
from mmtp_jax.tables import aligned

CONVENTION = (
    "E = -sum_(i != j) J_ij e_i.e_j with unit vectors e, each pair in both orders (half of the J "
    "of a sum with each pair once)"
)

BY_FORM = (
    "the potential was fitted to collinear moments alone: energies between the axes, and all that "
    "follows from them, are extrapolated by the form"
)

_SAME_DISTANCE = 2e-3
"""Angstrom within which pairs are of one shell."""
_SAME = 1e-3
"""meV, and share of J, within which they have one J."""
_SHOWN = 5e-3
"""meV; weaker shells at the end are counted."""
_VANISHES = 1e-8
"""Share of the largest J below which one is zero but for round-off."""
_LISTED = 12
"""Shells that are printed."""


class Shell(NamedTuple):
    """Pairs of one kind, distance and J."""

    pair: tuple[str, str]
    """Kinds of the atom and of its neighbours."""
    distance: float
    """Angstrom."""
    neighbours: float
    """How many an atom of the first kind has, on average."""
    J: float
    """meV."""
    vector: tuple[float, float, float]
    """To one of them, Angstrom."""


@readable
@dataclass(frozen=True, eq=False)
class Exchange:
    """Exchange constants of a crystal in a collinear magnetic state."""

    structure: Structure = field(repr=False)
    """The primitive cell of the relaxed crystal, moments included."""
    symbols: tuple[str, ...]
    """(n,) chemical symbols."""
    model: SpinModel = field(repr=False)
    """Second derivatives by turns; of ``spins``, then of atoms that follow."""
    spins: np.ndarray = field(repr=False)
    """(n_spins,) atoms of the cell that precess."""
    energy: float
    """eV per atom."""
    volume: float
    """Angstrom^3 per atom."""
    range: float
    """Angstrom from where on all J vanish: two cutoffs."""
    sum_rule: float
    """Largest change of a torque when all moments turn together, zero by symmetry, eV."""
    by_form: bool = False
    """The potential is known to be fitted to collinear moments alone (`BY_FORM`)."""
    note: str = ""
    """Which moments are held or follow, in words."""
    name: str = "structure"

    @property
    def magmoms(self) -> np.ndarray:
        """(n_spins,) moments of the atoms that precess, mu_B."""
        return self.model.moments[: self.model.n_spins]

    @cached_property
    def _pairs(self) -> np.ndarray:
        """(p,) bool: pairs of the model that have a J."""
        model, n = self.model, self.model.n_spins
        return ~model.on_site & (model.first < n) & (model.second < n)

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Atoms (p, 2) of the cell of each ordered pair, and vectors (p, 3) between, Angstrom."""
        atoms = np.column_stack([self.model.first, self.model.second])[self._pairs]
        return self.spins[atoms], self.model.vectors[self._pairs]

    @cached_property
    def J(self) -> np.ndarray:
        """(p,) of `pairs`, meV."""
        return -500.0 * self.model.values[self._pairs]

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """(n_spins,) species, with their moments where those differ, e.g. ``Cr(-2.9)``."""
        symbols = [self.symbols[k] for k in self.spins]
        rounded = {
            symbol: {round(m, 1) for s, m in zip(symbols, self.magmoms, strict=True) if s == symbol}
            for symbol in symbols
        }
        return tuple(
            symbol if len(rounded[symbol]) == 1 else f"{symbol}({m:+.1f})"
            for symbol, m in zip(symbols, self.magmoms, strict=True)
        )

    @cached_property
    def shells(self) -> tuple[Shell, ...]:
        """Pairs that are alike, by distance; of two kinds the first has the lower place."""
        atoms, vectors = self.pairs
        place = dict(zip(self.spins, self.kinds, strict=True))
        names = list(dict.fromkeys(self.kinds))
        first, second = (np.array([names.index(place[k]) for k in of]) for of in atoms.T)
        distances = np.linalg.norm(vectors, axis=1)
        count = [self.kinds.count(name) for name in names]
        found = []
        for a, b in sorted({(a, b) for a, b in zip(first, second, strict=True) if a <= b}):
            chosen = np.flatnonzero((first == a) & (second == b))
            for shell in _runs(chosen, distances, _SAME_DISTANCE):
                tolerance = _SAME + _SAME * np.abs(self.J[shell]).max()
                for same in _runs(shell, self.J, tolerance):
                    # The vector whose components are largest, first x, then y, then z.
                    one = max(same, key=lambda k: tuple(np.round(vectors[k], 3)))
                    found.append(
                        Shell(
                            (names[a], names[b]),
                            float(distances[same].mean()),
                            len(same) / count[a],
                            float(self.J[same].mean()),
                            tuple(float(x) for x in vectors[one]),
                        )
                    )
        return tuple(sorted(found, key=lambda s: (round(s.distance, 2), s.pair, -s.J)))

    @property
    def shells_until_zero(self) -> tuple[Shell, ...]:
        """`shells` without those at the end whose J vanish, as of a potential of a short range."""
        least = _VANISHES * max((abs(s.J) for s in self.shells), default=0.0)
        last = max((k + 1 for k, s in enumerate(self.shells) if abs(s.J) > least), default=0)
        return self.shells[:last]

    @cached_property
    def no_mean_field(self) -> str:
        """Why there is no `mean_field_K`, in words; empty where there is."""
        return why_no_order(self.model)

    @cached_property
    def mean_field_K(self) -> float | None:
        """Critical temperature of the order of this state by mean field, K.

        None where turns of moments lower its energy, or another order has a higher temperature.
        """
        return None if self.no_mean_field else mean_field(self.model)

    def mean_field_of(self, distance: float) -> float | None:
        """`mean_field_K` of the pairs within a distance (Angstrom); None where all have none.

        Also None where these pairs alone make another order.
        """
        return None if self.no_mean_field else mean_field(self.model.within(distance))

    @property
    def head(self) -> list[str]:
        """Lines that begin reports."""
        moments = ", ".join(
            f"{self.symbols[k]} {m:+.3f}" for k, m in zip(self.spins, self.magmoms, strict=True)
        )
        if len(self.spins) > 8:
            moments = f"{len(self.spins)} of {np.abs(self.magmoms).mean():.3f} on average"
        lines = [
            f"{self.name}: {len(self.symbols)} atoms in the primitive cell, moments (mu_B): "
            f"{moments}",
            f"all moments turned together: violated by at most {1e3 * self.sum_rule:.2g} meV",
        ]
        if self.by_form:
            lines.append(f"EXTRAPOLATED: {BY_FORM}")
        if self.note:
            lines.append(f"note: {self.note}")
        return lines

    def __str__(self) -> str:
        """The first shells, and the temperature that they make."""
        rows = [("pair", "distance (A)", "neighbours", "J (meV)", "one of them (A)")]
        shells = self.shells_until_zero
        seen = max((k + 1 for k, s in enumerate(shells) if abs(s.J) >= _SHOWN), default=1)
        shown, others = shells[: min(seen, _LISTED)], shells[min(seen, _LISTED) :]
        for shell in shown:
            vector = ", ".join(f"{x:.3f}" for x in shell.vector)
            rows.append(
                ("-".join(shell.pair), f"{shell.distance:.3f}", f"{shell.neighbours:.4g}",
                 f"{shell.J:.3f}", f"({vector})")
            )  # fmt: skip
        largest = max((abs(shell.J) for shell in others), default=0.0)
        why = self.no_mean_field
        lines = [
            f"exchange of {self.head[0]}",
            *self.head[1:],
            CONVENTION,
            aligned(rows),
            f"and {len(others)} more shells, of at most {largest:.2g} meV; they end at "
            f"{self.range:.3g} Angstrom"
            if others
            else f"none beyond, up to {self.range:.3g} Angstrom, where they would end",
            "mean-field critical temperature: "
            + (f"none, {why}" if why else f"{self.mean_field_K:.0f} K"),
        ]
        return "\n".join(lines)


def _runs(places: np.ndarray, values: np.ndarray, gap: float) -> list[np.ndarray]:
    """Places in groups of values that are apart by less than a gap."""
    ordered = places[np.argsort(values[places], kind="stable")]
    return np.split(ordered, np.flatnonzero(np.diff(values[ordered]) > gap) + 1)
