"""Configurations in MLIP's ``.cfg`` text format, to and from ASE.

Conventions of the format, and how they map to ASE:

- ``Supercell`` rows are the periodic directions: none is a free cluster, three a crystal. A row
  of zeros is a direction that is not periodic.
- ``AtomData:`` names its columns, in any order: ``id``, ``type`` (index of the species),
  ``cartes_*`` or ``direct_*``, ``fx fy fz``, ``magmom_*``, ``en_der_m*``, ``site_en`` (kept as
  the calculator's ``energies``). Any other column goes to ``atoms.arrays`` under its own name,
  and so does ``id`` where it does not count from 1.
- ``PlusStress:`` (eV) is -stress * volume, in the order that its header names.
- ``Feature`` lines carry free text by name, kept in ``atoms.info`` (as numbers where they are
  numbers); a repeated name continues the text on a new line, ``\\_`` in a name is a blank. What
  would be read as something else (text that is blank or spells a number, arrays, dictionaries)
  our writer puts there as JSON after the mark ``_JSON``, as ASE does in extended XYZ.
- **Sign trap.** ``en_der_m*`` of published data sets is the magnetic force T = -dE/dm; in files
  that MLIP-3 writes after it evaluated a potential it is +dE/dm.
- Types are only numbers. So that a file can speak for itself, `write_cfg` adds a feature
  ``species`` with the symbols; other programs take it for free text.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from ase import Atoms

from mmtp_jax.io.cfg_atoms import AtomsMaker
from mmtp_jax.io.cfg_sections import read_drafts
from mmtp_jax.io.cfg_writer import write_cfg

__all__ = ["read_cfg", "write_cfg"]

logger = logging.getLogger(__name__)


def read_cfg(
    path: str | os.PathLike,
    species: Sequence[str] | str | None = None,
    magnetic_gradient: bool = False,
    vectors: bool = False,
) -> list[Atoms]:
    """Read all configurations of a ``.cfg`` file.

    Labels are on a ``SinglePointCalculator``: energy, forces, stress and magmoms, each only
    where the file has it. Collinear moments, whichever of the three columns holds them, are
    (n,) in mu_B, and the initial moments are set to the same; noncollinear ones stay (n, 3).
    Magnetic forces are in ``atoms.arrays["magnetic_forces"]``, (n,) or (n, 3) as the moments, in
    eV/mu_B.

    Args:
        path: the file.
        species: chemical symbols of the types 0, 1, ...; may be left out where the file names
            them itself.
        magnetic_gradient: take ``en_der_m*`` as +dE/dm, as MLIP-3 writes it after it evaluated
            a potential, and turn its sign. Off, they are -dE/dm, as data sets have it.
        vectors: moments in three columns stay vectors where they lie along one axis as well.

    Raises:
        ValueError: if the file is broken or cut, or the species are missing or are not those
            that the file names. The message gives configuration (from 1) and line.

    Example:
        >>> atoms_list = read_cfg("train.cfg", species=("Fe", "Al"))
    """
    maker = AtomsMaker(species, magnetic_gradient, vectors)
    atoms_list = [maker(draft) for draft in read_drafts(path)]
    if maker.lost_stress:
        logger.warning(
            "%s: PlusStress of %d configurations is left out: they are not periodic in three "
            "directions and have no volume", os.fspath(path), maker.lost_stress,
        )  # fmt: skip
    if maker.lost_transverse:
        logger.warning(
            "%s: %d configurations have magnetic forces across their collinear moments; only "
            "the component along the moments is read", os.fspath(path), maker.lost_transverse,
        )  # fmt: skip
    return atoms_list
