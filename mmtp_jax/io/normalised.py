"""A configuration in the one schema of labels, whatever reader or calculator it comes from."""

from __future__ import annotations

import logging

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.io.schema import (
    MAGNETIC_FORCES,
    SOURCE,
    Labels,
    along_moments,
    collapse,
    remove_magnetic_forces,
)

logger = logging.getLogger(__name__)


def normalised(atoms: Atoms, labels: Labels, *, fresh: bool = False) -> Atoms:
    """A configuration in the one schema, as it is in files; see `mmtp_jax.io.reading`.

    Args:
        atoms: the configuration; a copy is made.
        labels: its labels.
        fresh: a reader has just made it: it is changed itself, and the log says where magnetic
            forces across collinear moments are left out.

    Raises:
        ValueError: if magnetic forces and collinear moments have no common axis.
    """
    copy = atoms if fresh else atoms.copy()
    moments, initial = labels.achieved_moments, labels.initial_moments
    forces = labels.magnetic_forces
    if forces is None:
        remove_magnetic_forces(copy)
    else:
        if forces.ndim == 2 and forces.shape[1:] == (3,):
            axes = labels.moments
            same = axes is not None and axes.shape == forces.shape
            forces, transverse = along_moments(forces, axes if same else None)
            if transverse and fresh:
                logger.warning(
                    "magnetic forces across the collinear moments of %s are left out",
                    getattr(atoms, SOURCE, "a configuration"),
                )
        copy.arrays[MAGNETIC_FORCES] = collapse(np.array(forces, float))
    if initial is None:
        initial = moments
    if initial is not None:
        # Replacing, not filling: the old array may have been (n, 3).
        copy.arrays.pop("initial_magmoms", None)
        copy.set_initial_magnetic_moments(collapse(np.array(initial, float)))
    results = {name: value for name, value in labels.results.items() if name in all_properties}
    if moments is not None:
        results["magmoms"] = collapse(np.array(moments, float))
    copy.calc = SinglePointCalculator(copy, **results) if results else None
    return copy
