"""How reliably a potential equilibrates moments, and how close to reference ones it ends.

The equilibration reliability of Kotykhov 2024 (Sec. 2.4, Table 3) is the share of configurations
whose largest |T_i| is below 5e-3 meV/mu_B afterwards; here, at moments that the potential covers.
Errors of the moments are those of these configurations, where the reference is an equilibrium
itself: constrained ones say nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import EquilibratedStructure
from mmtp_jax.structures.structure import LABELS, Structure, lengths, n_reversed

RELIABLE = 5e-6
"""eV/mu_B: the criterion of Kotykhov 2024, Table 3."""

REFERENCE_FORCE = 1e-3
"""eV/mu_B: references with larger magnetic forces were constrained."""


@dataclass(frozen=True)
class Reliability:
    """What became of the moments of many configurations."""

    n_configurations: int
    n_atoms: int
    converged: float
    """Share of configurations with all |T_i| below the tolerance of the search, at moments that the
    potential covers."""
    held: float
    """Share with moments held at the end of their interval, or at zero."""
    statuses: dict[str, int]
    """Number of configurations by how the search ended."""
    flipped: int
    """Moments that have changed their sign, or turned by more than 90 degrees."""
    mean_steps: float
    max_steps: int
    n_reference: int
    """Configurations whose reference moments are an equilibrium."""
    n_reference_converged: int
    """Those of them that converged."""
    magmom_rmse: dict[str, float]
    """mu_B, by species, over these."""
    energy_rmse: float | None
    """eV/atom, over these."""


def reliability(
    references: Sequence[Structure],
    found: Sequence[EquilibratedStructure],
    species: Sequence[str],
) -> Reliability:
    """Compare equilibrated moments with those of the references.

    Args:
        references: configurations with reference moments and labels. One whose magnetic forces
            are unknown or at most `REFERENCE_FORCE` counts as an equilibrium, if its moments are
            known and it has some label: without one they are a guess to start from.
        found: the results, in the same order.
        species: chemical symbols of the types.
    """
    statuses = [result.status for result in found]
    pairs = [
        (reference, result)
        for reference, result in zip(references, found, strict=True)
        if result.converged and _is_equilibrium(reference) and _like(reference, result)
    ]
    types = np.concatenate([r.types for r, _ in pairs] or [np.empty(0, int)])
    # Of vectors, the lengths of the differences.
    errors = np.concatenate([lengths(f.magmoms - r.magmoms) for r, f in pairs] or [np.empty(0)])
    energies = [(f.result.energy - r.energy) / len(r) for r, f in pairs if r.energy is not None]
    return Reliability(
        n_configurations=len(found),
        n_atoms=sum(map(len, references)),
        converged=_share(statuses, Status.CONVERGED),
        held=_share(statuses, Status.HELD_AT_BOUND, Status.HELD_AT_ZERO),
        statuses={s.name.lower(): statuses.count(s) for s in Status if s in statuses},
        flipped=sum(n_reversed(f.start_magmoms, f.magmoms) for f in found),
        mean_steps=float(np.mean([f.n_steps for f in found])),
        max_steps=max(f.n_steps for f in found),
        n_reference=sum(map(_is_equilibrium, references)),
        n_reference_converged=len(pairs),
        magmom_rmse={
            symbol: _rms(errors[types == k])
            for k, symbol in enumerate(species)
            if np.any(types == k)
        },
        energy_rmse=_rms(np.array(energies)) if energies else None,
    )


def _is_equilibrium(reference: Structure) -> bool:
    labelled = any(getattr(reference, label) is not None for label in LABELS)
    if not (reference.moments_known and labelled):
        return False
    forces = reference.magnetic_labels
    return forces is None or float(lengths(forces).max()) <= REFERENCE_FORCE


def _like(reference: Structure, result: EquilibratedStructure) -> bool:
    """Whether both have collinear moments, or vectors."""
    return reference.vectors == result.start.vectors


def _share(statuses: list[Status], *kinds: Status) -> float:
    return sum(status in kinds for status in statuses) / len(statuses)


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))
