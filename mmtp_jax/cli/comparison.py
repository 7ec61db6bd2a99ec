"""Labels against predictions of configurations that are already evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.fitting.report import Comparison, Errors
    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.structures.results import Result


def evaluate_and_compare(
    potential: Potential, atoms_list: Sequence[Atoms], dtype: str = "float64"
) -> tuple[list[Result], Comparison, Errors]:
    """Results of a potential, its labels against predictions, and its errors."""
    import mmtp_jax as mmtp
    from mmtp_jax.fitting.report import comparison, errors_of
    from mmtp_jax.io.convert import to_structures
    from mmtp_jax.io.unconverged import warn_of_unconverged

    warn_of_unconverged(atoms_list)
    structures = to_structures(atoms_list, potential.species)
    results = mmtp.evaluate(potential, atoms_list, dtype=dtype)
    compared = comparison(structures, results)
    return results, compared, errors_of(compared, len(structures))


def settled(atoms_list: list[Atoms], missing: str | None) -> list[Atoms]:
    """Configurations to predict: those without moments are left for a warning if not ``missing``.

    Raises:
        ValueError: if some have magnetic forces and no moments, or ``missing`` is "error".
    """
    from mmtp_jax.io.missing_moments import refuse_contradictions, with_moments

    if missing is not None:
        return with_moments(atoms_list, missing)
    refuse_contradictions(atoms_list)
    return atoms_list
