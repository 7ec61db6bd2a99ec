"""Turns of the moments of a collinear crystal to second order, and the spin waves that they make.

Moments point along e_a = s_a z + tau_a - s_a tau_a^2 z / 2, with signs s_a and turns tau_a across
the axis. To second order E = E_0 + sum_ab K_ab tau_a.tau_b / 2, where

    K_ab = |m_a| |m_b| d2E/dm_a dm_b + delta_ab m_a T_a,        T = -dE/dm,

with derivatives across the axis; the second term is what the turned moment loses along it, and
vanishes where the lengths are at equilibrium. Turning all moments together costs nothing,
sum_b K_ab s_b = 0, so that E = -sum_{a != b} J_ab e_a.e_b, each pair in both orders, with
J_ab = -K_ab / 2 (Liechtenstein et al., J. Magn. Magn. Mater. 67, 65 (1987)).

Precession is hbar de_a/dt = (g / |m_a|) e_a x dE/de_a, for waves

    hbar omega tau_a = g (s_a / |m_a|) sum_b K_ab(q) tau_b.

Some atoms may have no precession of their own: those of small moments. They follow the others at
the least energy, K -> K_ss - K_sf K_ff^-1 K_fs, at each q.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from mmtp_jax.properties.response import UnstableStateError

G_FACTOR = 2.0
"""Moments are those of spins."""

FLAT = 1e-6
"""Share of the largest rigidity below which a direction has none."""

_PHASES = 2_000_000
"""Numbers that are computed together."""


@dataclass(frozen=True, eq=False)
class SpinModel:
    """Second derivatives K of the energy by turns of n atoms: first those that precess."""

    cell: np.ndarray
    """(3, 3) Angstrom."""
    positions: np.ndarray = field(repr=False)
    """(n, 3) Angstrom."""
    moments: np.ndarray
    """(n,) mu_B, with signs."""
    n_spins: int
    """Atoms that precess; the others follow, and their turns are in mu_B."""
    first: np.ndarray = field(repr=False)
    """(p,) atom a of each pair, in both orders; also a itself."""
    second: np.ndarray = field(repr=False)
    """(p,) atom b."""
    shifts: np.ndarray = field(repr=False)
    """(p, 3) cell of b."""
    values: np.ndarray = field(repr=False)
    """(p,) K, eV."""

    @property
    def signs(self) -> np.ndarray:
        """(n_spins,) of the moments."""
        return np.sign(self.moments[: self.n_spins])

    @property
    def lengths(self) -> np.ndarray:
        """(n_spins,) mu_B."""
        return np.abs(self.moments[: self.n_spins])

    @property
    def net_moment(self) -> float:
        """Of the atoms that precess, mu_B per cell."""
        return float(self.moments[: self.n_spins].sum())

    @property
    def compensated(self) -> bool:
        """Whether moments up and down cancel, as in an antiferromagnet."""
        return abs(self.net_moment) < 1e-3 * self.lengths.sum()

    @cached_property
    def vectors(self) -> np.ndarray:
        """(p, 3) from a to b, Angstrom."""
        return self.positions[self.second] - self.positions[self.first] + self.shifts @ self.cell

    @property
    def on_site(self) -> np.ndarray:
        """(p,) bool: a and b are one atom."""
        return (self.first == self.second) & ~self.shifts.any(axis=1)

    @property
    def together(self) -> np.ndarray:
        """(n,) turns of all moments by one angle."""
        return np.concatenate([self.signs, self.moments[self.n_spins :]])

    def sum_rule(self) -> float:
        """Largest |sum_b K_ab s_b|, zero because the energy does not change, eV."""
        rows = self.values * self.together[self.second]
        return float(np.abs(np.bincount(self.first, rows, len(self.moments))).max())

    def curvature(self, q: Any) -> np.ndarray:
        """K(q) (k, n_spins, n_spins) of the atoms that precess, Hermitian, eV.

        Args:
            q: (k, 3) in reciprocal vectors of the cell.

        Raises:
            UnstableStateError: if moments that follow are at no minimum.
        """
        s, f = slice(None, self.n_spins), slice(self.n_spins, None)
        found = []
        for part, whole in self._whole(np.atleast_2d(np.asarray(q, float))):
            if self.n_spins < len(self.moments):
                if np.linalg.eigvalsh(whole[:, f, f]).min() <= 0.0:
                    raise UnstableStateError(
                        f"moments that follow the others are at no minimum against turns, among "
                        f"others at q = {_words(part[0])}"
                    )
                followed = np.linalg.solve(whole[:, f, f], whole[:, f, s])
                whole = whole[:, s, s] - whole[:, s, f] @ followed
            found.append(whole)
        return np.concatenate(found)

    def _whole(self, q: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Some q and K of all atoms there."""
        n = len(self.moments)
        place = self.first * n + self.second
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        for low in range(0, len(q), step := max(_PHASES // len(place), 1)):
            part = q[low : low + step]
            phases = np.exp(2j * np.pi * part @ self.shifts[order].T) * self.values[order]
            whole = np.zeros((len(part), n * n), complex)
            whole[:, place[order][starts]] = np.add.reduceat(phases, starts, axis=1)
            whole = whole.reshape(-1, n, n)
            yield part, (whole + whole.conj().swapaxes(1, 2)) / 2

    def energies(self, q: Any) -> np.ndarray:
        """hbar omega (k, n_spins) at q (k, 3), ascending, eV; see `spin_waves`."""
        return self.waves(q)[0]

    def waves(self, q: Any) -> tuple[np.ndarray, np.ndarray]:
        """`spin_waves` (k, n_spins) and (k, n_spins, n_spins) at q (k, 3), eV."""
        return spin_waves(self.curvature(q), self.moments[: self.n_spins])

    def rigidity(self) -> np.ndarray:
        """A (3, 3) of the energy theta^2 q.A.q / 2 per cell of a slow spiral, eV Angstrom^2.

        The spiral has a cone of a small angle theta around the axis and a small q (1/Angstrom).
        Atoms within a cell turn against each other as costs least.
        """
        together, r = self.together, self.vectors
        weights = self.values * together[self.first] * together[self.second]
        # K(q) = K + i q.K1 - q.K2.q / 2 + ..., with the phases of the atoms' own places.
        direct = -np.einsum("p,pa,pb->ab", weights, r, r)
        n = len(self.moments)
        rows = self.values * together[self.second]
        pull = np.stack([np.bincount(self.first, rows * r[:, a], n) for a in range(3)], axis=1)
        return direct / 2 - pull.T @ np.linalg.pinv(self._at_gamma(), rcond=1e-9) @ pull

    def stiffness(self) -> np.ndarray | None:
        """D (3, 3) of hbar omega = q.D.q, eV Angstrom^2; None without a net moment."""
        if self.compensated:
            return None
        return G_FACTOR * self.rigidity() / abs(self.net_moment)

    def velocity(self) -> np.ndarray | None:
        """c (3,) of hbar omega = c |q| along the axes of the rigidity, eV Angstrom.

        None with a net moment, or where A or chi are negative: then such waves grow. It is
        c^2 = g^2 A / chi with the transverse susceptibility chi.
        """
        if not self.compensated:
            return None
        weights = np.concatenate([self.lengths, np.zeros(len(self.moments) - self.n_spins)])
        chi = weights @ np.linalg.pinv(self._at_gamma(), rcond=1e-9) @ weights
        rigid = np.linalg.eigvalsh(self.rigidity())
        if chi <= 0.0 or rigid[0] < -FLAT * np.abs(rigid).max():
            return None
        return G_FACTOR * np.sqrt(np.maximum(rigid, 0.0) / chi)

    def _at_gamma(self) -> np.ndarray:
        return next(self._whole(np.zeros((1, 3))))[1][0].real

    def within(self, distance: float) -> SpinModel:
        """The Heisenberg model of the pairs that precess and are not further apart (Angstrom)."""
        inside = (np.linalg.norm(self.vectors, axis=1) <= distance) & ~self.on_site
        inside &= (self.first < self.n_spins) & (self.second < self.n_spins)
        first, second, values = self.first[inside], self.second[inside], self.values[inside]
        atoms = np.arange(self.n_spins)
        own = -self.signs * np.bincount(first, values * self.signs[second], self.n_spins)
        return replace(
            self,
            positions=self.positions[: self.n_spins],
            moments=self.moments[: self.n_spins],
            first=np.concatenate([first, atoms]),
            second=np.concatenate([second, atoms]),
            shifts=np.concatenate([self.shifts[inside], np.zeros((self.n_spins, 3), int)]),
            values=np.concatenate([values, own]),
        )


def spin_waves(curvature: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """hbar omega (k, n) of spin waves, ascending, in the unit of K, and what atoms have of them.

    The share (k, n, n) of the last index is |m_a| |tau_a|^2, by which a moment is shorter along the
    axis, over the sum of all. The energy of a wave is positive where the state is a minimum, both
    for waves that turn with and against the clock. It is negative where a wave lowers the energy;
    where waves grow, that is omega is complex, it is -|omega|.

    Args:
        curvature: K(q) (k, n, n), Hermitian.
        moments: (n,) mu_B, with signs.
    """
    root = np.sqrt(G_FACTOR / np.abs(moments))
    scaled = root[:, None] * curvature * root
    signs = np.sign(moments)
    if np.all(signs == signs[0]):
        found, waves = np.linalg.eigh(scaled)
        return found, _shares(waves)
    values, vectors = np.linalg.eigh(scaled)
    # Not below zero but by round-off: then square roots are real, and so are all frequencies.
    least = -1e-9 * np.abs(values).max(initial=1e-300)
    half = np.sqrt(np.maximum(values, 0.0))[:, :, None] * vectors.conj().swapaxes(1, 2)
    omega, turned = np.linalg.eigh((half * signs) @ half.conj().swapaxes(1, 2))
    # hbar omega w = s H w has the solutions w = s half^+ y, and where that is nothing H w = 0.
    waves = half.conj().swapaxes(1, 2) @ turned
    small = np.sum(np.abs(waves) ** 2, axis=1, keepdims=True) < -least
    shares = _shares(np.where(small, vectors[:, :, :1], waves))
    order = np.argsort(np.abs(omega), axis=1)
    found = np.take_along_axis(np.abs(omega), order, axis=1)
    shares = np.take_along_axis(shares, order[:, :, None], axis=1)
    for k in np.flatnonzero(values.min(axis=1) < least):
        omega, waves = np.linalg.eig(signs[:, None] * scaled[k])
        norms = np.einsum("ai,a,ai->i", waves.conj(), signs, waves).real
        grows = np.abs(omega.imag) > 1e-9 * np.abs(omega).max()
        energies = np.where(grows, -np.abs(omega), omega.real * np.sign(norms))
        order = np.argsort(energies)
        found[k], shares[k] = energies[order], _shares(waves[None])[0, order]
    return found, shares


def _shares(waves: np.ndarray) -> np.ndarray:
    """(k, waves, atoms) of columns (k, atoms, waves)."""
    size = np.abs(waves.swapaxes(1, 2)) ** 2
    return size / size.sum(axis=2, keepdims=True)


def _words(q: np.ndarray) -> str:
    return f"({', '.join(f'{x:.4g}' for x in q)})"
