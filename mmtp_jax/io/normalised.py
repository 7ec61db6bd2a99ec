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
    is_total,
    remove_magnetic_forces,
)

logger = logging.getLogger(__name__)


def normalised(
    atoms: Atoms, labels: Labels, *, fresh: bool = False, vectors: bool = False
) -> Atoms:
    """A configuration in the one schema, as it is in files; see `mmtp_jax.io.reading`.

    Args:
        atoms: the configuration; a copy is made.
        labels: its labels.
        fresh: a reader has just made it: it is changed itself, and the log says where magnetic
            forces across collinear moments are left out.
        vectors: moments (n, 3) stay so where they lie along one axis as well.

    Raises:
        ValueError: if magnetic forces and collinear moments have no common axis.
    """
    copy = atoms if fresh else atoms.copy()
    moments, initial = labels.achieved_moments, labels.initial_moments
    forces = labels.magnetic_forces
    one_axis = (lambda values: values) if vectors else collapse
    if forces is None:
        remove_magnetic_forces(copy)
    else:
        axes = labels.moments
        if axes is None or np.shape(axes) != np.shape(forces):
            axes = None
        beside_vectors = axes is not None and one_axis(np.asarray(axes)).ndim == 2
        # What is across collinear moments is nothing, and what is along them is not known.
        if not beside_vectors and not labels.transverse:
            if np.shape(forces)[1:] == (3,):
                forces, across = along_moments(forces, axes)
                if across and fresh:
                    logger.warning(
                        "magnetic forces across the collinear moments of %s are left out",
                        getattr(atoms, SOURCE, "a configuration"),
                    )
            forces = collapse(np.array(forces, float))
        copy.arrays[MAGNETIC_FORCES] = np.array(forces, float)
    if initial is None:
        initial = moments
    if initial is not None:
        # Replacing, not filling: the old array may have been (n, 3).
        copy.arrays.pop("initial_magmoms", None)
        copy.set_initial_magnetic_moments(one_axis(np.array(initial, float)))
    results = {name: value for name, value in labels.results.items() if name in all_properties}
    if moments is not None:
        results["magmoms"] = one_axis(np.array(moments, float))
        if results["magmoms"].ndim == 1 and is_total(total := results.get("magmom"), moments):
            results["magmom"] = float(np.sum(total))
    copy.calc = SinglePointCalculator(copy, **results) if results else None
    return copy
