"""What active learning is given: configurations in any form, and a potential known by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms

    Configurations = Atoms | Structure | Sequence[Atoms | Structure]


def polynomials(potential: Potential) -> Potential:
    """What rows are of: a confinement would hide by flat polynomials how far outside one is."""
    return potential.astype(np.float64).replace(confinement=None)


def fingerprint(potential: Potential) -> str:
    """Hash of all that rows depend on; the same after a round trip through a file."""
    potential = polynomials(potential)
    tables = potential.tables
    form = (potential.species, potential.form == "symmetrised")
    form += (potential.parities,) if potential.parities else ()
    form += (potential.non_magnetic,) if potential.non_magnetic else ()
    digest = hashlib.sha256(repr(form).encode())
    for array in (tables.basic, tables.products, tables.scalars, *jax.tree.leaves(potential)):
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def require_same(own: Potential, other: Potential, message: str) -> None:
    """ValueError unless both potentials are the same function of atoms, species, form and all."""
    if own is not other and fingerprint(own) != fingerprint(other):
        raise ValueError(
            f"{message}; make one with ActiveSet.from_configurations(potential, "
            "training_configurations)"
        )


def as_structures(
    configurations: Configurations,
    potential: Potential,
    missing_moments: str = "error",
    *,
    one_each: bool = False,
) -> list[Structure]:
    """Structures from ASE atoms or structures, one or several.

    Args:
        configurations: atoms, or structures, which are taken as they are.
        potential: whose species count.
        missing_moments: what to do about atoms without moments.
        one_each: there has to be a structure for each of them, so that none can be left out.

    Raises:
        ValueError: if a configuration is not usable, see `mmtp_jax.io.convert.to_structure`.
    """
    if isinstance(configurations, Structure):
        return [configurations]
    if hasattr(configurations, "get_chemical_symbols"):
        configurations = [configurations]
    configurations = list(configurations)
    if all(isinstance(c, Structure) for c in configurations):
        return configurations
    from mmtp_jax.io.convert import structures_for
    from mmtp_jax.io.missing_moments import with_moments

    if potential.magnetic_size > 1:
        configurations = with_moments(
            configurations,
            missing_moments,
            may_skip=not one_each,
            non_magnetic=potential.non_magnetic,
        )
    return structures_for(potential, configurations, vectors=True)
