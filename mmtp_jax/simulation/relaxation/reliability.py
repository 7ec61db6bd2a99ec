"""How reliably a potential relaxes configurations, and how close to reference ones it ends.

The relaxation reliability of Kotykhov 2024 (Sec. 2.5, Table 4) is the share of configurations that
are successfully relaxed, "i.e., with almost zero forces, stresses and magnetic forces"; the paper
gives no numbers for almost, here they are the tolerances of the relaxation. Errors are, as there,
those of the configurations that were successfully relaxed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmtp_jax.simulation.constants import GPA
from mmtp_jax.simulation.moments.reliability import REFERENCE_FORCE as REFERENCE_MAGNETIC_FORCE
from mmtp_jax.simulation.relaxation.cell import basis_of
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.simulation.relaxation.status import RelaxStatus
from mmtp_jax.simulation.relaxation.structures import RelaxedStructure
from mmtp_jax.structures.structure import Structure, lengths, n_reversed

REFERENCE_FORCE, REFERENCE_STRESS_GPA = 0.02, 0.5
"""Labels (eV/Angstrom, GPa) up to which a labelled configuration counts as relaxed by its source:
first-principles relaxations end at about these."""


@dataclass(frozen=True)
class RelaxReliability:
    """What became of many configurations."""

    n_configurations: int
    n_atoms: int
    relaxed: float
    """Share with forces, stress and magnetic forces below the tolerances."""
    left_covered_region: float
    """Share that stopped because the potential does not cover what came next."""
    statuses: dict[str, int]
    """Number of configurations by how they ended."""
    flipped: int
    """Moments that have changed their sign, or turned by more than 90 degrees."""
    mean_steps: float
    max_steps: int
    mean_evaluations: float
    n_reference: int
    """Configurations with a relaxed reference."""
    n_reference_relaxed: int
    """Those of them that were successfully relaxed: errors are over these."""
    energy_rmse: float | None
    """eV/atom."""
    length_rmse: float | None
    """Of the lengths of the cell vectors, Angstrom."""
    volume_rmse: float | None
    """Angstrom^3/atom."""
    total_magmom_rmse: float | None
    """Of the total moment, mu_B/atom."""
    magmom_rmse: dict[str, float]
    """mu_B, by species."""


def relax_reliability(
    references: Sequence[Structure | None],
    found: Sequence[RelaxedStructure],
    species: Sequence[str],
) -> RelaxReliability:
    """Compare relaxed configurations with their references.

    Args:
        references: relaxed configurations with the same atoms in the same order; None where there
            is none.
        found: the results, in the same order.
        species: chemical symbols of the types.

    Raises:
        ValueError: if a reference has other atoms.
    """
    statuses = [result.status for result in found]
    for reference, result in zip(references, found, strict=True):
        if reference is not None and not np.array_equal(reference.types, result.start.types):
            raise ValueError(
                f"{reference.name} has other atoms than {result.start.name}, whose reference it "
                "is; give the same configurations in the same order"
            )
    pairs = [
        (reference, result)
        for reference, result in zip(references, found, strict=True)
        if reference is not None
        and result.converged
        # Lengths are no reference for vectors, nor are these for numbers.
        and reference.vectors == result.start.vectors
    ]
    types = np.concatenate([r.types for r, _ in pairs] or [np.empty(0, int)])
    moments = [f.structure.magmoms - r.magmoms for r, f in pairs]
    errors = np.concatenate([lengths(of) for of in moments] or [np.empty(0)])
    sides = [_lengths(f.structure) - _lengths(r) for r, f in pairs]
    volumes = [
        (f.structure.volume - r.volume) / len(r)
        for r, f in pairs
        if r.volume is not None and f.structure.volume is not None
    ]
    return RelaxReliability(
        n_configurations=len(found),
        n_atoms=sum(len(result.start) for result in found),
        relaxed=float(np.mean([result.converged for result in found])),
        left_covered_region=float(np.mean([s.left_covered_region for s in statuses])),
        statuses={s.name.lower(): statuses.count(s) for s in RelaxStatus if s in statuses},
        flipped=sum(n_reversed(f.start.magmoms, f.structure.magmoms) for f in found),
        mean_steps=float(np.mean([f.n_steps for f in found])),
        max_steps=max(f.n_steps for f in found),
        mean_evaluations=float(np.mean([f.n_evaluations for f in found])),
        n_reference=sum(reference is not None for reference in references),
        n_reference_relaxed=len(pairs),
        energy_rmse=_rms(
            [(f.result.energy - r.energy) / len(r) for r, f in pairs if r.energy is not None]
        ),
        length_rmse=_rms(sides),
        volume_rmse=_rms(volumes),
        total_magmom_rmse=_rms([np.linalg.norm(error.mean(axis=0)) for error in moments]),
        magmom_rmse={
            symbol: _rms(errors[types == k])
            for k, symbol in enumerate(species)
            if np.any(types == k)
        },
    )


def relaxed_reference(labelled: Structure, options: RelaxOptions) -> Structure | None:
    """The configuration itself, if its labels say that its source has relaxed it.

    Forces and, where the cell may change, the stress must be known and small, magnetic forces
    small or unknown, and the moments known.
    """
    if not labelled.moments_known:
        return None
    forces, stress, magnetic = labelled.forces, labelled.stress, labelled.magnetic_forces
    if forces is None or np.abs(forces).max() > REFERENCE_FORCE:
        return None
    if magnetic is not None and lengths(magnetic).max() > REFERENCE_MAGNETIC_FORCE:
        return None
    basis = basis_of(options.cell)
    if basis.any():
        if stress is None:
            return None
        excess = stress / GPA + options.pressure_GPa * np.eye(3)
        allowed = np.tensordot(np.tensordot(basis, excess, axes=2), basis, axes=1)
        if np.abs(allowed).max() > REFERENCE_STRESS_GPA:
            return None
    return labelled


def _lengths(structure: Structure) -> np.ndarray:
    return np.linalg.norm(structure.cell[np.asarray(structure.periodic, bool)], axis=1)


def _rms(errors: Sequence[np.ndarray | float]) -> float | None:
    flat = np.concatenate([np.ravel(error) for error in errors]) if len(errors) else np.empty(0)
    return float(np.sqrt(np.mean(flat**2))) if flat.size else None
