"""The verbs on ASE atoms: thin wrappers that join the rooms of the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.fitting.fit import Fit, FitOptions, Progress, fit_structures
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.io.convert import to_structures
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.results import Result


def evaluate(
    potential: Potential, atoms_list: Atoms | Sequence[Atoms], dtype: Any = np.float64
) -> list[Result]:
    """Energies, forces, stresses and magnetic forces of configurations.

    Moments are the achieved ones where a configuration carries results of a calculator, else its
    initial ones. Configurations of any sizes go together; they are batched and padded inside.

    Args:
        potential: the potential.
        atoms_list: one configuration or several; they are not changed.
        dtype: float64, float32, or ``"mixed"``: neighbours in float32 and the contraction of
            their moments in float64.

    Raises:
        ValueError: if a configuration has an unknown element, noncollinear moments or values that
            are not finite.

    Example:
        >>> results = evaluate(potential, atoms_list)
        >>> results[0].energy, results[0].magnetic_forces
    """
    atoms_list = [atoms_list] if isinstance(atoms_list, Atoms) else atoms_list
    structures = to_structures(atoms_list, potential.species)
    return evaluate_structures(potential, structures, dtype)


def fit(
    potential: Potential,
    atoms_list: Sequence[Atoms],
    *,
    weights: Weights | None = None,
    validation: Sequence[Atoms] | float | None = None,
    seed: int = 0,
    callback: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Fit:
    """Fit a potential to labelled configurations (Kotykhov 2024, Eq. 8).

    Labels are those of `mmtp_jax.read`; a kind that a configuration lacks takes no part.

    Args:
        potential: start of the fit.
        atoms_list: labelled configurations, of any sizes; ``atoms.info["weight"]`` weighs one.
        weights: of energies, forces, stresses and magnetic forces.
        validation: other configurations, or the fraction of ``atoms_list`` to hold out.
        seed: of the choice of that fraction.
        callback: called with a `Progress` after every step.
        **options: the other fields of `FitOptions`, e.g. ``max_iterations``, ``checkpoint``.

    Raises:
        ValueError: if there is nothing to fit to, or a configuration is not usable.

    Example:
        >>> fit = mmtp.fit(potential, atoms_list, validation=0.1)
        >>> print(fit.report)
    """
    known = {field.name for field in dataclasses.fields(FitOptions)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(f"fit() got unknown options {unknown}; known are {sorted(known)}")
    structures = to_structures(atoms_list, potential.species)
    if isinstance(validation, (int, float)):
        training_part, held_out = split(len(structures), validation, seed)
        held_out_structures = [structures[k] for k in held_out]
        structures = [structures[k] for k in training_part]
    else:
        held_out_structures = to_structures(validation or [], potential.species)
    options = FitOptions(weights=weights or Weights(), **options)
    return fit_structures(potential, structures, held_out_structures, options, callback)


def split(n: int, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a training and a validation part, at random, each in ascending order.

    Raises:
        ValueError: if the fraction leaves either part of two or more configurations empty.
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"the validation fraction must be in [0, 1), got {fraction}")
    order = np.random.default_rng(seed).permutation(n)
    n_validation = round(fraction * n)
    if fraction > 0.0 and not 0 < n_validation < n:
        raise ValueError(
            f"a validation fraction of {fraction} leaves {n_validation} of {n} configurations "
            "for validation; give another fraction or a validation file"
        )
    return np.sort(order[n_validation:]), np.sort(order[:n_validation])
