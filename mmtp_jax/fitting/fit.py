"""Fit a potential to labelled structures: initial values, L-BFGS, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from mmtp_jax.fitting.checkpoint import Checkpoint, fingerprint
from mmtp_jax.fitting.dataset import Targets, make_targets
from mmtp_jax.fitting.gauss_newton import GaussNewton
from mmtp_jax.fitting.initial import (
    data_domain,
    species_energies,
    with_domain,
    with_linear_coefficients,
)
from mmtp_jax.fitting.lbfgs import LBFGS
from mmtp_jax.fitting.optimise import Optimiser, optimise
from mmtp_jax.fitting.report import Errors, Report, comparison, errors_of
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.potential.observables import Observables, evaluate
from mmtp_jax.potential.potential import Potential, one_per_species
from mmtp_jax.precision import with_double_precision
from mmtp_jax.structures.batch import Batch, default_chunk, make_batches
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.results import results_of
from mmtp_jax.structures.structure import Structure

METHODS = ("lbfgs", "gauss-newton")


@dataclass(frozen=True)
class Progress:
    """What a callback is told during a fit."""

    iteration: int
    max_iterations: int
    loss: float
    training: Errors | None = None
    """Errors at this iteration, where they were evaluated."""


@dataclass(frozen=True)
class Fit:
    """The result of a fit."""

    potential: Potential
    report: Report
    converged: bool
    interrupted: bool
    """The user stopped it with Ctrl-C."""
    message: str
    """Why the fit ended, in words."""
    n_iterations: int
    loss: float
    history: np.ndarray = field(repr=False)
    """(n_iterations + 1,) loss after each step."""


@dataclass(frozen=True)
class FitOptions:
    """How to fit; what to fit are the arguments of `fit_structures`."""

    weights: Weights = field(default_factory=Weights)
    method: str = "lbfgs"
    """``"lbfgs"`` (optax), or ``"gauss-newton"`` (Levenberg-Marquardt)."""
    max_iterations: int | None = None
    """Limit of the steps; None is 2000 for L-BFGS and 60 for Gauss-Newton."""
    tolerance: float = 1e-3
    """Smallest relative fall of the loss that is worth going on for, over 100 steps of L-BFGS
    or 3 of Gauss-Newton."""
    min_dist: float | None = None
    """R_min, Angstrom; None takes the shortest distance of the training set."""
    max_magmom: Sequence[float] | float | None = None
    """M_max, mu_B; None takes the largest moments of the training set and a margin."""
    keep_domain: bool = False
    """Leave R_min and M_max of the potential alone."""
    initialise: bool = True
    """Solve e0 and xi by linear least squares before the first step."""
    checkpoint: str | Path | None = None
    checkpoint_every: int = 100
    report_every: int = 20
    """Steps between evaluations of the errors that a callback is told."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.keep_domain and (self.min_dist is not None or self.max_magmom is not None):
            raise ValueError("keep_domain leaves no room for min_dist or max_magmom; drop one")


@with_double_precision
def fit_structures(
    potential: Potential,
    training: Sequence[Structure],
    validation: Sequence[Structure] = (),
    options: FitOptions = FitOptions(),
    callback: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit the parameters of a potential, full batch, in float64.

    Ctrl-C ends the fit after the running step; the result is then the best so far, not converged.

    Args:
        potential: start; its parameters matter where ``options.initialise`` leaves them.
        training: labelled structures.
        validation: structures that are only reported.
        options: weights, limits, initial values, checkpoint.
        callback: told the progress after every step.

    Raises:
        ValueError: if the training set is empty or has no labels, or a checkpoint is not of this
            fit.

    Warns:
        ExtrapolationWarning: if structures lie outside of the intervals that are fitted.
    """
    if not training:
        raise ValueError("the training set is empty; give at least one labelled configuration")
    potential = potential.astype(np.float64)
    cutoff = float(potential.cutoff)
    sets = {"training": _Prepared.of(training, cutoff)}
    if validation:
        sets["validation"] = _Prepared.of(validation, cutoff)
    potential = _with_training_domain(potential, training, sets["training"].tables, options)
    for prepared in sets.values():
        prepared.warn_of_extrapolation(potential)
    targets = jax.device_put(make_targets(training, sets["training"].batches, options.weights))
    optimiser = _optimiser(potential, targets, options, sets["training"])
    limit = options.max_iterations
    limit = optimiser.default_iterations if limit is None else limit
    outcome = optimise(
        optimiser,
        theta=lambda: _starting_parameters(potential, targets, training, options),
        max_iterations=limit,
        tolerance=options.tolerance,
        checkpoint=_checkpoint(potential, targets, optimiser, options),
        tell=_Teller(potential, sets["training"], options.report_every, limit, callback),
    )
    fitted = potential.unflatten(outcome.theta)
    errors = {name: prepared.errors(fitted) for name, prepared in sets.items()}
    return Fit(
        potential=fitted,
        report=Report(errors["training"], errors.get("validation")),
        converged=outcome.converged,
        interrupted=outcome.interrupted,
        message=outcome.message,
        n_iterations=len(outcome.history) - 1,
        loss=float(outcome.history[-1]),
        history=outcome.history,
    )


def _optimiser(
    potential: Potential, targets: list[Targets], options: FitOptions, training: _Prepared
) -> Optimiser:
    if options.method == "gauss-newton":
        return GaussNewton(potential, targets, default_chunk())
    return LBFGS(potential, targets, default_chunk(), training.predictions)


def _starting_parameters(
    potential: Potential,
    targets: list[Targets],
    training: Sequence[Structure],
    options: FitOptions,
) -> np.ndarray:
    if options.initialise:
        constants = species_energies(training, potential.n_species)
        if constants is not None:
            potential = potential.replace(species_coeffs=constants)
        potential = with_linear_coefficients(potential, targets, default_chunk())
    return potential.flatten()


def _checkpoint(
    potential: Potential, targets: list[Targets], optimiser: Optimiser, options: FitOptions
) -> Checkpoint | None:
    if options.checkpoint is None:
        return None
    return Checkpoint(
        options.checkpoint,
        fingerprint(options.method, potential, targets),
        optimiser.shapes(potential.flatten()),
        options.checkpoint_every,
    )


def _with_training_domain(
    potential: Potential, training: Sequence[Structure], tables: list, options: FitOptions
) -> Potential:
    if options.keep_domain:
        return potential
    min_dist, max_magmom = data_domain(training, tables, potential.n_species)
    if options.min_dist is not None:
        min_dist = options.min_dist
    if options.max_magmom is not None:
        max_magmom = one_per_species(options.max_magmom, potential.species)
    return with_domain(potential, min_dist=min_dist, max_magmom=max_magmom)


@dataclass(frozen=True)
class _Prepared:
    """Structures with their neighbours, packed."""

    structures: Sequence[Structure]
    tables: Sequence[NeighbourTable]
    batches: list[Batch]

    @classmethod
    def of(cls, structures: Sequence[Structure], cutoff: float) -> _Prepared:
        tables = [neighbour_table(s, cutoff) for s in structures]
        return cls(structures, tables, make_batches(structures, cutoff, tables=tables))

    def predictions(self, potential: Potential) -> list[Observables]:
        return [values for _, values in self._evaluated(potential)]

    def errors(self, potential: Potential) -> Errors:
        results = {}
        for batch, (sites, values) in zip(self.batches, self._evaluated(potential), strict=True):
            results.update(results_of(batch, self.structures, sites, values))
        in_order = [results[k] for k in range(len(self.structures))]
        return errors_of(comparison(self.structures, in_order), len(self.structures))

    def _evaluated(self, potential: Potential) -> list[tuple[np.ndarray, Observables]]:
        chunk = default_chunk()
        return jax.device_get([_evaluate(potential, b.graph, chunk) for b in self.batches])

    def warn_of_extrapolation(self, potential: Potential) -> None:
        check_domain(potential, self.structures, self.tables).warn(stacklevel=4)


_evaluate = jax.jit(evaluate, static_argnames="chunk")


@dataclass(frozen=True)
class _Teller:
    """Passes the progress on to a callback, with errors every now and then."""

    potential: Potential
    training: _Prepared
    every: int
    max_iterations: int
    callback: Callable[[Progress], None] | None

    def __call__(self, iteration: int, loss: float, theta: np.ndarray) -> None:
        if self.callback is None:
            return
        errors = None
        if iteration % self.every == 0:
            errors = self.training.errors(self.potential.unflatten(theta))
        self.callback(Progress(iteration, self.max_iterations, loss, errors))
