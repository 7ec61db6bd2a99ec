"""The verbs on ASE atoms: thin wrappers that join the rooms of the package."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.fitting import cross_validation, ensemble
from mmtp_jax.fitting.cross_validation import SCAN_VALUES, CrossValidation, WeightScan
from mmtp_jax.fitting.ensemble import EnsembleFit
from mmtp_jax.fitting.fit import Fit, fit_structures
from mmtp_jax.fitting.options import FitOptions, check_deciding
from mmtp_jax.fitting.progress import Progress
from mmtp_jax.fitting.series import Callback
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_committee, evaluate_structures
from mmtp_jax.io.convert import given_configurations, structures_for, to_structures
from mmtp_jax.io.labels import tell_of_other_names
from mmtp_jax.io.missing_moments import with_moments
from mmtp_jax.io.unconverged import warn_of_unconverged
from mmtp_jax.options import also, made, takes
from mmtp_jax.potential.committee import committee_of
from mmtp_jax.potential.potential import Potential
from mmtp_jax.progress import FitProgress
from mmtp_jax.structures.domain import warn_of_canted
from mmtp_jax.structures.making import makings_of
from mmtp_jax.structures.results import Result
from mmtp_jax.structures.screening import Suspect, warn_of_outliers
from mmtp_jax.structures.screening import screen as screen_structures
from mmtp_jax.structures.structure import Structure

logger = logging.getLogger(__name__)

Given = Atoms | Sequence[Atoms] | str | os.PathLike | Sequence[str | os.PathLike]
"""Configurations, or the files that they are in."""


def evaluate(
    potential: Potential | Sequence[Potential], atoms_list: Given, dtype: Any = np.float64
) -> list[Result]:
    """Energies, forces, stresses and magnetic forces of configurations.

    Moments are the achieved ones where a configuration carries results of a calculator, else its
    initial ones: (n,) collinear ones, or (n, 3) vectors for potentials that are even.
    Configurations of any sizes go together; they are batched and padded inside.

    Args:
        potential: the potential; or several, a committee, for means over its members and their
            standard deviations ``energy_std``, ``forces_std`` and so on.
        atoms_list: one configuration or several, which are not changed; or files, for `read`.
        dtype: float64, float32, or ``"mixed"``: neighbours in float32 and the contraction of
            their moments in float64.

    Raises:
        ValueError: if a configuration has an unknown element, vectors as moments where the
            potential has no energy of them, or values that are not finite; or potentials of a
            committee differ in their species.

    Returns:
        A `Result` of each configuration, or a `CommitteeResult`.

    Warns:
        MissingMomentsWarning: if configurations have no moments; they are taken at zero.
        NoNeighboursWarning: if atoms have no neighbour within the cutoff.
        ExtrapolationWarning: if distances or moments are outside of the potential's intervals, or
            moments are canted and the potential was fitted to collinear ones alone.

    Example:
        >>> results = evaluate(potential, atoms_list)
        >>> results[0].energy, results[0].magnetic_forces
        >>> mmtp.evaluate(ensemble.potentials, atoms_list)[0].energy_std
    """
    several = not isinstance(potential, Potential)
    first = committee_of(potential)[0] if several else potential
    atoms_list = given_configurations(atoms_list, first.species)
    tell_of_other_names(atoms_list)
    structures = structures_for(first, atoms_list, vectors=True)
    warn_of_canted(first, structures)
    evaluate_all = evaluate_committee if several else evaluate_structures
    return evaluate_all(potential, structures, dtype)


def screen(atoms_list: Sequence[Atoms]) -> list[Suspect]:
    """Labels that stand apart from the others of their composition, as those of a DFT code may.

    `fit` warns of them, `label_all` and `learn` keep them out; see
    `mmtp_jax.structures.screening` for what is compared.

    Args:
        atoms_list: labelled configurations; they are not changed.

    Raises:
        ValueError: if a configuration has values that are not finite or of a wrong shape.

    Example:
        >>> for suspect in mmtp.screen(atoms_list):
        ...     print(suspect)
    """
    species = sorted({symbol for atoms in atoms_list for symbol in atoms.symbols})
    return screen_structures(to_structures(atoms_list, species, vectors=True), species)


@takes(FitOptions)
def fit(
    potential: Potential,
    atoms_list: Given,
    *,
    weights: Weights | None = None,
    validation: Given | float | None = None,
    seed: int = 0,
    missing_moments: str = "error",
    progress: bool = False,
    callback: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Fit:
    """Fit a potential to labelled configurations (Kotykhov 2024, Eq. 8).

    Labels are those of `mmtp_jax.read`; a kind that a configuration lacks takes no part.

    Args:
        potential: start of the fit.
        atoms_list: labelled configurations, of any sizes, or files with them for `read`;
            ``atoms.info["weight"]`` weighs one.
        weights: of energies, forces, stresses and magnetic forces.
        validation: other configurations, files, or the fraction of ``atoms_list`` to hold out.
        seed: of the choice of that fraction.
        missing_moments: what to do about configurations without moments: ``"error"``, ``"zero"``
            or ``"skip"``, see `mmtp_jax.io.missing_moments`.
        progress: show how it goes on: a bar on a terminal and in a notebook, else lines.
        callback: called with a `Progress` after every step.
        **options: the other fields of `FitOptions`, e.g. ``max_iterations``, ``checkpoint``, or
            ``making`` for labels of different making.

    Raises:
        ValueError: if there is nothing to fit to, a configuration is not usable, some have no
            moments, or labels are of different making.

    Warns:
        CoverageWarning: if the data say nothing about a species, or about its moments; if labels
            that simulations need are few or missing.

    Example:
        >>> fit = mmtp.fit(potential, atoms_list, validation=0.1)
        >>> print(fit.report)
    """
    chosen = _options("fit", weights, options)
    sets = _sets(potential, atoms_list, validation, seed, chosen.making, missing_moments)
    if not progress:
        return fit_structures(potential, *sets, chosen, callback)
    with FitProgress() as shown:

        def both(news: Progress) -> None:
            shown(news)
            if callback is not None:
                callback(news)

        return fit_structures(potential, *sets, chosen, both)


@also(ensemble="n")
@takes(FitOptions)
def fit_ensemble(
    potential: Potential,
    atoms_list: Given,
    n: int = 5,
    *,
    weights: Weights | None = None,
    validation: Given | float | None = None,
    seed: int = 0,
    missing_moments: str = "error",
    parallel: bool = False,
    executor: Executor | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> EnsembleFit:
    """Fit n potentials of one form to the same data from random starts (Kotykhov 2024, Sec. 2.3).

    Args:
        potential: the form and the intervals. Its coefficients play no part, also where it was
            fitted before: member k starts from those of `Potential.new` with ``seed + k``.
        atoms_list: labelled configurations, as for `fit`.
        n: number of members.
        weights: of energies, forces, stresses and magnetic forces.
        validation: other configurations, or the fraction of ``atoms_list`` to hold out; the same
            for all members.
        seed: of the first member, and of the choice of that fraction.
        missing_moments: what to do about configurations without moments: ``"error"``, ``"zero"``
            or ``"skip"``, see `mmtp_jax.io.missing_moments`.
        parallel: all members in lock-step; for devices that one leaves idle. On a CPU one after
            the other, the default, is faster.
        executor: where the fits run, several at once: any of `concurrent.futures`, see
            `mmtp_jax.executor`; it tells of each fit at its end only.
        callback: called with a `Task` and its `Progress` after every step, or its `Fit` at its end.
        **options: the other fields of `FitOptions`.

    Example:
        >>> ensemble = mmtp.fit_ensemble(potential, atoms_list, n=5, validation=0.1)
        >>> print(ensemble)
        >>> mmtp.save("pot.mtp", ensemble.potentials[ensemble.best])
    """
    if n < 1:
        raise ValueError(f"an ensemble needs at least one member, got n = {n}")
    chosen = _options("fit_ensemble", weights, options)
    starts = ensemble.random_starts(potential, n, seed)
    sets = _sets(potential, atoms_list, validation, seed, chosen.making, missing_moments)
    return ensemble.fit_ensemble(
        starts, *sets, chosen, callback, parallel=parallel, executor=executor
    )


@also(folds="n_folds")
@takes(FitOptions)
def cross_validate(
    potential: Potential,
    atoms_list: Given,
    n_folds: int = 5,
    *,
    validation: Given | None = None,
    weights: Weights | None = None,
    seed: int = 0,
    missing_moments: str = "error",
    executor: Executor | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> CrossValidation:
    """Errors on configurations that were not fitted, each held out once (Kotykhov 2024, Sec. 2.2).

    Args:
        potential: start of each fit. One that was fitted to ``atoms_list`` before has seen what
            is held out.
        atoms_list: labelled configurations, as for `fit`.
        n_folds: number of parts, chosen at random; each is held out once.
        validation: more configurations, which decide in all fits what is kept and where they end,
            with ``best_validation`` or ``patience``.
        weights: of energies, forces, stresses and magnetic forces.
        seed: of the choice of the parts.
        missing_moments: what to do about configurations without moments: ``"error"``, ``"zero"``
            or ``"skip"``, see `mmtp_jax.io.missing_moments`.
        executor: where the fits run, several at once: any of `concurrent.futures`, see
            `mmtp_jax.executor`; it tells of each fit at its end only.
        callback: called with a `Task` and its `Progress` after every step, or its `Fit` at its end.
        **options: the other fields of `FitOptions`.

    Example:
        >>> folds = mmtp.cross_validate(potential, atoms_list, n_folds=5)
        >>> print(folds)
        >>> folds.errors["validation"]["energy"].rmse.mean
    """
    chosen = _options("cross_validate", weights, options)
    check_deciding(chosen, validation is not None)
    structures, decides = _sets(
        potential, atoms_list, validation, seed, chosen.making, missing_moments
    )
    return cross_validation.cross_validate(
        potential, structures, n_folds, chosen, seed, callback, executor, decides
    )


@also(scan="kind", scan_values="values", folds="n_folds")
@takes(FitOptions)
def scan_weights(
    potential: Potential,
    atoms_list: Given,
    kind: str = "magnetic_forces",
    values: Sequence[float] = SCAN_VALUES,
    n_folds: int = 5,
    *,
    validation: Given | None = None,
    weights: Weights | None = None,
    seed: int = 0,
    missing_moments: str = "error",
    executor: Executor | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> WeightScan:
    """`cross_validate` for several values of one weight (Kotykhov 2024, Fig. 2).

    Args:
        potential: start of each fit.
        atoms_list: labelled configurations, as for `fit`.
        kind: of the weight, a field of `Weights`.
        values: of the weight, positive.
        n_folds: number of parts; they are the same for all values.
        validation: as for `cross_validate`.
        weights: the others.
        seed: of the choice of the parts.
        missing_moments: what to do about configurations without moments: ``"error"``, ``"zero"``
            or ``"skip"``, see `mmtp_jax.io.missing_moments`.
        executor: where the fits run, several at once: any of `concurrent.futures`, see
            `mmtp_jax.executor`; it tells of each fit at its end only.
        callback: called with a `Task` and its `Progress` after every step, or its `Fit` at its end.
        **options: the other fields of `FitOptions`.

    Example:
        >>> print(mmtp.scan_weights(potential, atoms_list, values=(0.01, 0.1, 1.0)))
    """
    chosen = _options("scan_weights", weights, options)
    check_deciding(chosen, validation is not None)
    structures, decides = _sets(
        potential, atoms_list, validation, seed, chosen.making, missing_moments
    )
    return cross_validation.scan_weights(
        potential, structures, kind, values, n_folds, chosen, seed, callback, executor, decides
    )


def _options(function: str, weights: Weights | None, options: dict[str, Any]) -> FitOptions:
    return made(FitOptions, {"weights": weights or Weights(), **options}, function)


def _sets(
    potential: Potential,
    atoms_list: Given,
    validation: Given | float | None,
    seed: int,
    making: str,
    missing_moments: str,
) -> tuple[list[Structure], list[Structure]]:
    """Training and validation structures; labels of either that stand apart are named."""
    structures = _labelled(potential, atoms_list, missing_moments)
    held_out: list[Structure] = []
    if not isinstance(validation, (int, float)):
        held_out = _labelled(potential, validation or [], missing_moments)
    _compare([*structures, *held_out], potential.species, making)
    if isinstance(validation, (int, float)):
        kept, others = split(len(structures), validation, seed)
        return [structures[k] for k in kept], [structures[k] for k in others]
    return structures, held_out


def _compare(structures: list[Structure], species: tuple[str, ...], making: str) -> None:
    """Refuse labels of different making, unless told, and name those that stand apart."""
    makings = makings_of(structures, species)
    makings.check(making)
    if making == "refuse" and 0 < makings.n_unknown < len(structures):
        logger.warning(
            "%d of %d configurations do not say how their labels were made (info['making']); they "
            "are taken for labels of the same making as the others",
            makings.n_unknown,
            len(structures),
        )
    warn_of_outliers(structures, species)


def _labelled(potential: Potential, atoms_list: Given, missing_moments: str) -> list[Structure]:
    """Structures of labelled configurations, all with moments where the energy depends on them."""
    atoms_list = given_configurations(atoms_list, potential.species)
    warn_of_unconverged(atoms_list)
    tell_of_other_names(atoms_list)
    if potential.magnetic_size > 1:
        atoms_list = with_moments(atoms_list, missing_moments, non_magnetic=potential.non_magnetic)
    return structures_for(potential, atoms_list, vectors=True)


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
