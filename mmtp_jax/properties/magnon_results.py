"""What is found of magnons: bands, densities of states, stiffness, critical temperatures.

Energies are in meV; negative ones are of turns that lower the energy of the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mmtp_jax.properties.bands import Path, checked_q, default_path, distances_along
from mmtp_jax.properties.critical_temperatures import (
    MESH,
    NO_MINIMUM,
    counts_of,
    mesh_of,
    random_phase,
    soft_places,
)
from mmtp_jax.properties.exchange_results import Exchange
from mmtp_jax.properties.tetrahedra import states_below
from mmtp_jax.readable import readable
from mmtp_jax.warn import warn

_PARTS = 200
"""Energies of a density of states."""
_NEAR = 1e-3
"""1/Angstrom; q of the curvature of bands."""


class SoftMagnonsWarning(UserWarning):
    """A magnetic state is no minimum against turns of its moments."""


class Soft(NamedTuple):
    """A spin wave, one that lowers the energy if that is negative."""

    q: tuple[float, float, float]
    """In reciprocal vectors of the primitive cell."""
    energy: float
    """meV."""

    def __str__(self) -> str:
        """E.g. ``-1.2 meV at q = (0.5, 0, 0)``."""
        return f"{self.energy:.3g} meV at q = ({', '.join(f'{x:.4g}' for x in self.q)})"


class MagnonBands(NamedTuple):
    """Energies along a path."""

    path: Path
    distances: list[np.ndarray]
    """(k,) of each line, 1/Angstrom without 2 pi, from the start of the path."""
    energies: list[np.ndarray]
    """(k, n_spins) meV."""

    @property
    def lowest(self) -> Soft:
        """The wave of the lowest energy, which may be positive."""
        q, values = np.concatenate(self.path.segments), np.concatenate(self.energies)[:, 0]
        k = int(np.argmin(values))
        return Soft(tuple(float(x) for x in q[k]), float(values[k]))


class MagnonDOS(NamedTuple):
    """Density of states per atom that precesses; its integral is 1."""

    energies: np.ndarray
    """(k,) meV."""
    total: np.ndarray
    """(k,) 1/meV per atom."""
    species: dict[str, np.ndarray]
    """Parts of it (k,), by what moments of each species have of a wave, see `spin_waves`."""


@readable
@dataclass(frozen=True, eq=False)
class Magnons:
    """Spin waves of a crystal in a collinear magnetic state, by linear spin-wave theory."""

    exchange: Exchange
    """Couplings, crystal and moments."""
    path: Path = field(repr=False)
    """Where `bands` goes."""
    stiffness: np.ndarray | None = field(repr=False)
    """D (3, 3) of energies q.D.q at small q, meV Angstrom^2; None where moments cancel."""
    velocity: np.ndarray | None = field(repr=False)
    """(3,) of energies c |q| along the axes of the crystal, ascending, meV Angstrom; None where
    moments do not cancel, or where slow turns lower the energy."""
    mean_field_K: float | None
    """Critical temperature by mean field, K; None where the state is no minimum, or where another
    order has a higher one."""
    random_phase_K: float | None
    """Critical temperature with random phases, K; None where the state is no minimum."""
    soft: tuple[Soft, ...]
    """On a mesh of q, lowest first; see `is_stable`."""

    @property
    def is_stable(self) -> bool:
        """No turns on a mesh of q lower the energy."""
        return not self.soft

    @property
    def mean_stiffness(self) -> float | None:
        """A third of the trace of D, meV Angstrom^2."""
        return None if self.stiffness is None else float(np.trace(self.stiffness)) / 3

    def energies(self, q: Any) -> np.ndarray:
        """Energies (k, n_spins) at q (k, 3), ascending, meV.

        Args:
            q: in reciprocal vectors of the primitive cell, that of ``exchange.structure``.

        Raises:
            ValueError: if q are not three finite numbers each.
        """
        return 1e3 * self.exchange.model.energies(checked_q(q))

    def bands(self, path: Path | None = None) -> MagnonBands:
        """Energies along a path, by default `path`."""
        path = self.path if path is None else path
        cell = self.exchange.model.cell
        found = [self.energies(segment) for segment in path.segments]
        return MagnonBands(path, distances_along(path, cell), found)

    def dos(self, mesh: float | Any = MESH, parts: int = _PARTS) -> MagnonDOS:
        """Density of states by the tetrahedron method.

        Args:
            mesh: length in Angstrom, or three integers.
            parts: intervals of the energy, in each of which it is a mean.
        """
        counts = counts_of(self.exchange.model.cell, mesh)
        energies, shares = self.exchange.model.waves(mesh_of(self.exchange.model.cell, counts))
        found = 1e3 * energies.reshape(*counts, -1)
        symbols = np.array([self.exchange.symbols[k] for k in self.exchange.spins])
        kinds = list(dict.fromkeys(symbols))
        parts_of = np.stack([shares[..., symbols == kind].sum(axis=-1) for kind in kinds], axis=-1)
        low, high = min(0.0, float(found.min())), float(found.max())
        edges = np.linspace(low - 0.01 * (high - low) * (low < 0), high, parts + 1)
        counted = states_below(found, edges, parts_of.reshape(*found.shape, -1)) / found.shape[-1]
        density = np.diff(counted, axis=0).T / np.diff(edges)
        middle, species = (edges[1:] + edges[:-1]) / 2, dict(zip(kinds, density, strict=True))
        return MagnonDOS(middle, density.sum(axis=0), species)

    def band_stiffness(self) -> np.ndarray | None:
        """D (3, 3) from the curvature of the lowest band at small q, a check of `stiffness`."""
        if self.stiffness is None:
            return None
        directions = np.array(
            [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
        ) / np.sqrt([[1], [1], [1], [2], [2], [2]])
        cell = self.exchange.model.cell
        q = _NEAR * directions @ cell.T / (2 * np.pi)
        once, twice = (self.energies(n * q)[:, 0] / (n * _NEAR) ** 2 for n in (1, 2))
        # What is of the fourth power drops out.
        lowest = (4 * once - twice) / 3
        xx, yy, zz = lowest[:3]
        yz, xz, xy = lowest[3:] - [(yy + zz) / 2, (xx + zz) / 2, (xx + yy) / 2]
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

    def __str__(self) -> str:
        """A few lines."""
        lines = [f"magnons of {self.exchange.head[0]}", *self.exchange.head[1:]]
        if self.soft:
            lines.append(
                f"UNSTABLE: turns of the moments lower the energy at {len(self.soft)} q of the "
                f"mesh, lowest {self.soft[0]}"
            )
        else:
            lines.append("stable: no turns of the moments on the mesh of q lower the energy")
        if self.stiffness is not None:
            axes = np.linalg.eigvalsh(self.stiffness)
            along = f" ({', '.join(f'{x:.4g}' for x in axes)} along its axes)"
            even = np.ptp(axes) < 1e-3 * np.abs(axes).max()
            lines.append(
                f"spin-wave stiffness D: {self.mean_stiffness:.4g} meV Angstrom^2"
                f"{'' if even else along}"
            )
        if self.velocity is not None:
            lines.append(
                "spin-wave velocities along the axes: "
                f"{', '.join(f'{x:.4g}' for x in self.velocity)} meV Angstrom"
            )
        elif self.exchange.model.compensated:
            lines.append(f"spin-wave velocities along the axes: none, {NO_MINIMUM}")
        if self.mean_field_K is None:
            why = NO_MINIMUM if self.soft else self.exchange.no_mean_field
            lines.append(f"critical temperature by mean field: none, {why}")
        else:
            lines.append(f"critical temperature by mean field: {self.mean_field_K:.0f} K")
        if self.random_phase_K is None:
            lines.append(f"critical temperature with random phases: none, {NO_MINIMUM}")
        elif self.random_phase_K == 0.0:
            lines.append(
                "critical temperature with random phases: 0 K, as turns along a direction cost "
                "nothing (a chain, or a layer)"
            )
        else:
            lines.append(
                f"critical temperature with random phases (Tyablikov): {self.random_phase_K:.0f} K"
            )
        return "\n".join(lines)


def magnons_of(exchange: Exchange, mesh: float | Any = MESH) -> Magnons:
    """Spin waves of couplings.

    Args:
        exchange: of a crystal.
        mesh: where it is looked for turns that lower the energy.

    Warns:
        SoftMagnonsWarning: if there are any.
    """
    model = exchange.model
    q = mesh_of(model.cell, mesh)
    curvature = model.curvature(q)
    places = soft_places(curvature)
    lowest = 1e3 * model.energies(q[places])[:, 0] if places.size else np.empty(0)
    soft = tuple(
        Soft(tuple(float(x) for x in q[places[k]]), float(lowest[k])) for k in np.argsort(lowest)
    )
    if soft:
        warn(
            f"{exchange.name}: turns of the moments lower the energy at {len(soft)} of {len(q)} q, "
            f"lowest {soft[0]}: the magnetic state is no minimum of this potential",
            SoftMagnonsWarning,
        )
    stiffness, velocity = model.stiffness(), model.velocity()
    return Magnons(
        exchange=exchange,
        path=default_path(model.cell),
        stiffness=None if stiffness is None else 1e3 * stiffness,
        velocity=None if velocity is None else 1e3 * velocity,
        mean_field_K=None if soft else exchange.mean_field_K,
        random_phase_K=None if soft else random_phase(model),
        soft=soft,
    )
