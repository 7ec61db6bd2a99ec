"""Second derivatives of the energy of ASE atoms."""

from __future__ import annotations

from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.response import Response, structure_response


def response(potential: Potential, atoms: Atoms) -> Response:
    """Second derivatives of the energy by positions, strain and moments, exact by autodiff.

    The atoms are taken as they are. For adiabatic derivatives, where moments follow atoms and
    strain, relax them first with small tolerances (`mmtp_jax.relax`, `mmtp_jax.equilibrate`).

    Args:
        potential: the potential.
        atoms: a configuration; of a supercell, force constants contain the sums over its images.
            Moments are the initial ones, or where there are none those of its results.

    Raises:
        ValueError: if it has no moments, an unknown element or noncollinear moments.

    Example:
        >>> found = mmtp.response(pot, mmtp.relax(pot, atoms, magnetic_tolerance=1e-6).atoms)
        >>> found.force_constants().shape, found.elastic_constants() / ase.units.GPa
    """
    (structure,) = start_structures(potential, [atoms])
    return structure_response(potential, structure)
