"""Configurations to start from, as they are read or as supercells with their moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential


def read_start(settings: Any, potential: Potential, path: str | None = None) -> list[Atoms]:
    """The configurations that a section of settings names, each repeated as it says.

    Args:
        settings: with ``start`` or ``data``, ``repeat`` and ``keys``.
        potential: whose species they are of.
        path: of the potential, for commands that use the first configuration and watch no grades:
            it is graded by the active set beside the potential, and warned of where that is high.
    """
    from mmtp_jax.cli.console import read_data

    atoms_list = read_data(
        getattr(settings, "start", None) or settings.data,
        potential.species,
        settings,
    )
    if path is not None:
        from mmtp_jax.cli.watched import tell_start

        tell_start(path, potential, atoms_list[0])
    if settings.repeat is None:
        return atoms_list
    return [repeated(atoms, settings.repeat) for atoms in atoms_list]


def check_path(
    settings: Any, potential: Potential, relaxes: bool | None = None, magnetic: bool = True
) -> None:
    """Refuse special points that the lattice has not, before the work.

    What a relaxation may still make more symmetric is left for later.

    Args:
        settings: with ``path``, which may be None, ``moments``, ``relax``, and what `read_start`
            takes.
        potential: whose species they are of.
        relaxes: the shape of the cell may change; by default where it relaxes.
        magnetic: moments count for the primitive cell.

    Raises:
        ValueError: in words.
    """
    from dataclasses import replace

    import numpy as np

    from mmtp_jax.interfaces.equilibration import start_structures
    from mmtp_jax.properties import bands, primitive

    if settings.path is None:
        return
    relaxes = settings.relax if relaxes is None else relaxes
    (start,) = start_structures(potential, read_start(settings, potential)[:1], vectors=True)
    if start.volume is None:
        return
    if start.vectors and magnetic:
        # They may turn.
        return
    moments = start.magmoms
    if settings.moments != "fixed":
        # Lengths become those of the state; signs stay.
        moments = np.sign(moments)
    if not magnetic:
        moments = np.zeros(len(start))
    unit, _ = primitive.primitive_cell(replace(start, magmoms=moments))
    if not relaxes or not primitive.may_become_smaller(unit):
        bands.check_path(unit.cell, settings.path, relaxes)


def repeated(atoms: Atoms, repeat: tuple[int, int, int] | None) -> Atoms:
    """The cell, or a supercell, with its moments; results do not hold for it."""
    from mmtp_jax.interfaces.equilibration import moments_of_results
    from mmtp_jax.io.schema import SOURCE, remove_magnetic_forces, set_moments

    moments = moments_of_results(atoms)
    copy = atoms.copy()
    remove_magnetic_forces(copy)
    if moments is not None:
        set_moments(copy, moments)
    copy = copy if repeat is None else copy.repeat(repeat)
    if hasattr(atoms, SOURCE):
        setattr(copy, SOURCE, getattr(atoms, SOURCE))
    return copy
