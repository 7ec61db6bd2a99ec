"""Fit a potential to labelled structures: initial values, L-BFGS, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mmtp_jax.fitting import processes
from mmtp_jax.fitting.checkpoint import Checkpoint, PartRecord, Validated
from mmtp_jax.fitting.coarse_to_fine import all_data_loss, described_stages, first_stage
from mmtp_jax.fitting.confine import with_confinement, without_confinement
from mmtp_jax.fitting.coverage import absent_species, warn_of_coverage, warn_of_terms
from mmtp_jax.fitting.gauss_newton import GaussNewton
from mmtp_jax.fitting.held_out import HeldOut
from mmtp_jax.fitting.initial import (
    data_domain,
    energy_constants,
    solve_linear,
    with_domain,
)
from mmtp_jax.fitting.lbfgs import LBFGS
from mmtp_jax.fitting.metric import sample
from mmtp_jax.fitting.optimise import Optimiser, Outcome, optimise
from mmtp_jax.fitting.options import FitOptions, check_following
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.progress import ALL, PART, Progress, Teller
from mmtp_jax.fitting.record import record_of
from mmtp_jax.fitting.report import Errors, Report
from mmtp_jax.fitting.shifts import known_shifts, prepared_makings
from mmtp_jax.fitting.training_data import TrainingData
from mmtp_jax.interruption import deferred
from mmtp_jax.io.lock import locked
from mmtp_jax.potential.largest_moments import declared
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.readable import readable
from mmtp_jax.structures.batch import default_chunk
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.structure import Structure
from mmtp_jax.structures.units import warn_of_units


@readable
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
    """(n_iterations + 1,) loss of all data after each step."""
    validation_loss: float | None = None
    """Loss of the validation set; None without one, or where its labels have no weight."""
    errors: dict[int, Errors] = field(default_factory=dict, repr=False)
    """Of the training set by iteration, where a callback was told of them; with a checkpoint also
    those before the fit was resumed."""
    fill: float = 1.0
    """Share of the padded rows of the training set that hold real neighbours."""
    part: PartRecord | None = field(default=None, repr=False)
    """The stage before: steps to a part of the training set, see ``coarse_to_fine``."""
    stages: str = ""
    """Which stages there were, and why, in words."""
    validation_losses: dict[int, float] = field(default_factory=dict, repr=False)
    """By iteration, where a callback was told of them or they decide what is kept."""

    def __str__(self) -> str:
        """How it ended, and the errors."""
        before = "" if self.part is None else f"\n{self.stages}"
        ended = f"{self.message}; {self.n_iterations} steps, loss {self.loss:.4e}"
        return f"{ended}{before}\n{self.report}"


@with_double_precision
def fit_structures(
    potential: Potential,
    training: Sequence[Structure],
    validation: Sequence[Structure] = (),
    options: FitOptions = FitOptions(),
    callback: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit the parameters of a potential, full batch, in float64.

    Where `jax.distributed` has joined several processes, all of them call this with the same
    arguments, and all have the result; only the first writes the checkpoint.

    Ctrl-C ends the fit after the running step; the result is then the best so far, not converged.

    Args:
        potential: start; its parameters matter where ``options.initialise`` leaves them.
        training: labelled structures.
        validation: structures that are reported, and that decide with ``best_validation`` or
            ``patience``.
        options: weights, limits, initial values, checkpoint.
        callback: told the progress after every step.

    Raises:
        ValueError: if the training set is empty or has no labels, labels are of different making
            and ``options.making`` is "refuse", or a checkpoint is not of this fit.

    Warns:
        ExtrapolationWarning: if structures lie outside of the intervals that are fitted.
        NoNeighboursWarning: if atoms have no neighbour within the cutoff.
        CoverageWarning: if the training set says nothing about a species, or about its moments; if
            labels that simulations need are few or missing; if they do not determine
            noncollinear terms in larger cells.
        UnitsWarning: if labels have a size that points to other units.
    """
    sets = prepared_sets(training, validation, potential, options.making)
    return FitProblem.of(potential, *sets, options).run(callback)


def prepared_sets(
    training: Sequence[Structure],
    validation: Sequence[Structure],
    potential: Potential,
    making: str = "refuse",
) -> tuple[PreparedSet, PreparedSet | None]:
    """Both sets, packed; None for an empty validation set.

    Raises:
        ValueError: if the training set is empty, or labels are of different making.
    """
    if not training:
        raise ValueError("the training set is empty; give at least one labelled configuration")
    everything = [*training, *validation]
    everything, shifts = prepared_makings(everything, making, potential.species)
    n, cutoff = len(training), float(potential.cutoff)
    held_out = PreparedSet.of(everything[n:], cutoff, shifts) if validation else None
    return PreparedSet.of(everything[:n], cutoff, shifts), held_out


DOMAIN = ("min_dist", "max_magmom")
"""Options that say what a potential covers in place of the data."""


@dataclass(frozen=True)
class FitProblem:
    """A fit that is ready to be run: sets, targets, and an optimiser that knows them."""

    potential: Potential
    """With the intervals that are fitted."""
    in_steps: Potential
    """The same without its confinement, where no label of the training set feels it."""
    training: PreparedSet
    validation: PreparedSet | None
    options: FitOptions
    data: TrainingData
    optimiser: Optimiser
    tested: PreparedSet | None = None
    """Reported in place of the validation set, where that decides what is kept."""

    @classmethod
    def of(
        cls,
        potential: Potential,
        training: PreparedSet,
        validation: PreparedSet | None,
        options: FitOptions,
        tested: PreparedSet | None = None,
        data: TrainingData | None = None,
    ) -> FitProblem:
        """Put the intervals, the targets and the optimiser together.

        Args:
            potential: start of the fit.
            training: what is fitted.
            validation: what is reported, and may decide what is kept.
            options: weights, limits, initial values, checkpoint.
            tested: what is reported in place of the validation set.
            data: the training set, where it is on its devices already.
        """
        potential = _with_training_domain(potential.astype(np.float64), training, options)
        in_steps = potential
        for prepared in (training, validation, tested):
            if prepared is not None:
                found = check_domain(potential, prepared.structures, prepared.tables)
                found.warn([name for name in DOMAIN if getattr(options, name) is not None])
                if prepared is training and not found.extrapolates:
                    # Inside a confined potential is the same, and a step takes a tenth more.
                    in_steps = without_confinement(potential)
        warn_of_coverage(potential, training.structures, options.weights)
        found = energy_constants(training.structures, potential.n_species)
        constants, shifts = (None, None) if found is None else found
        plain = training if shifts is None else training.shifted(shifts)
        warn_of_units(plain.structures, training.tables, constants, potential.species)
        if data is None:
            data = TrainingData.of(
                training, options.weights, options.method, options.devices, potential.n_parameters
            )
        optimiser = _optimiser(in_steps, training, data, options)
        return cls(potential, in_steps, training, validation, options, data, optimiser, tested)

    def on(self, training: PreparedSet) -> FitProblem:
        """The same fit to a part of its training set, with the intervals of all."""
        options = self.options
        data = TrainingData.of(
            training, options.weights, options.method, options.devices, self.potential.n_parameters
        )
        optimiser = _optimiser(self.in_steps, training, data, options)
        return replace(
            self, training=training, validation=None, data=data, optimiser=optimiser, tested=None
        )

    @property
    def max_iterations(self) -> int:
        """Limit of the steps."""
        limit = self.options.max_iterations
        return self.optimiser.default_iterations if limit is None else limit

    def run(self, callback: Callable[[Progress], None] | None = None) -> Fit:
        """Optimise, and evaluate the errors of the best parameters."""
        checkpoint = self._checkpoint()
        check_following(self.options, self.validation is not None)
        held_out = None
        if self.validation is not None:
            held_out = HeldOut(self, Validated() if checkpoint is None else checkpoint.validated)
        with locked(self.options.checkpoint if processes.is_first() else None), deferred():
            first = first_stage(self, checkpoint, callback)
            part = None if first is None else first.part
            if checkpoint is not None:
                checkpoint.part = part
            errors = {} if checkpoint is None else checkpoint.errors
            coarse = None if first is None else first.outcome
            if coarse is not None and coarse.interrupted:
                loss = all_data_loss(self, coarse.theta)
                outcome = replace(coarse, history=np.array([loss]))
            else:
                stages = (ALL,) if part is None else (PART, ALL)
                outcome = optimise(
                    self.optimiser,
                    theta=self.starting_parameters if coarse is None else lambda: coarse.theta,
                    max_iterations=self.max_iterations,
                    tolerance=self.options.tolerance,
                    checkpoint=checkpoint,
                    tell=Teller(self, callback, errors, ALL, stages, held_out),
                )
        if held_out is not None:
            outcome = held_out.kept(outcome)
        return replace(
            self.result(outcome, part),
            errors=errors,
            validation_losses={} if held_out is None else held_out.losses,
            part=part,
            stages=described_stages(self, part),
        )

    def starting_parameters(self) -> np.ndarray:
        """theta (P + m,) before the first step: of the potential, and constants of energies."""
        potential, shifts = self.potential, np.zeros(self.training.n_shifts)
        found = energy_constants(self.training.structures, potential.n_species)
        if found is not None:
            constants, shifts = found
        if self.options.initialise:
            if found is not None:
                # Of species without data the constants stay those of the start.
                absent = absent_species(self.training.structures, potential.n_species)
                constants = np.where(absent, potential.species_coeffs, constants)
                potential = potential.replace(species_coeffs=constants)
            potential, shifts = solve_linear(
                potential, shifts, self.data.targets, default_chunk(potential), self.data.mesh
            )
        return processes.from_first(np.concatenate([potential.flatten(), shifts]))

    def split(self, theta: np.ndarray) -> tuple[Potential, np.ndarray]:
        """The potential and the constants (m,) of the energies of parameters (P + m,)."""
        n = self.potential.n_parameters
        return self.potential.unflatten(theta[:n]), theta[n:]

    def held_out(self, theta: np.ndarray) -> tuple[Potential, PreparedSet | None]:
        """The potential of parameters (P + m,), and the validation set with their constants."""
        return self._shifted(theta, self.validation)

    def _shifted(
        self, theta: np.ndarray, held_out: PreparedSet | None
    ) -> tuple[Potential, PreparedSet | None]:
        potential, shifts = self.split(theta)
        if held_out is not None:
            known = known_shifts(self.training.structures, len(shifts))
            held_out = held_out.shifted(shifts, known)
        return potential, held_out

    def result(self, outcome: Outcome, part: PartRecord | None = None) -> Fit:
        """The potential of an outcome, with its errors; ``part`` is the stage before."""
        fitted, shifts = self.split(outcome.theta)
        warn_of_terms(fitted, self.training)
        reported = self.validation if self.tested is None else self.tested
        _, validation = self._shifted(outcome.theta, reported)
        of_making = self.training.shifts
        report = Report(
            self.data.errors(fitted, shifts),
            None if validation is None else validation.errors(fitted),
            () if of_making is None else of_making.described(shifts, fitted.species),
        )
        ended = {
            "converged": outcome.converged,
            "n_iterations": len(outcome.history) - 1,
            "loss": float(outcome.history[-1 if outcome.kept is None else outcome.kept]),
        }
        before = {} if part is None else {"part": part.summary()}
        record = record_of(
            fitted, self.training.structures, self.options, report, {**ended, **before}
        )
        return Fit(
            potential=fitted.replace(record=record),
            report=report,
            interrupted=outcome.interrupted,
            message=outcome.message,
            history=outcome.history,
            validation_loss=(
                None if validation is None else validation.loss(fitted, self.options.weights)
            ),
            fill=self.data.fill,
            **ended,
        )

    def _checkpoint(self) -> Checkpoint | None:
        path = self.options.checkpoint
        if path is None and not processes.several():
            return None
        belongs_to = self.data.fingerprint(self.potential)
        processes.check_same(belongs_to, "data, potentials, weights or methods")
        if path is None:
            return None
        theta = np.concatenate([self.potential.flatten(), np.zeros(self.training.n_shifts)])
        like, every = self.optimiser.shapes(theta), self.options.checkpoint_every
        return Checkpoint(path, belongs_to, like, every, len(theta))


def _optimiser(
    potential: Potential, training: PreparedSet, data: TrainingData, options: FitOptions
) -> Optimiser:
    targets, mesh = data.targets, data.mesh
    if options.method == "gauss-newton":
        return GaussNewton(potential, targets, default_chunk(potential), mesh)
    part = sample(training, targets, options.weights, potential.n_parameters, mesh)
    return LBFGS(potential, targets, default_chunk(potential), part, mesh)


def _with_training_domain(
    potential: Potential, training: PreparedSet, options: FitOptions
) -> Potential:
    confine = with_confinement if options.confine else without_confinement
    if options.keep_domain:
        return confine(potential)
    min_dist, max_magmom = data_domain(training.structures, training.tables, potential.n_species)
    if options.min_dist is not None:
        min_dist = options.min_dist
    if options.max_magmom is not None:
        max_magmom, still = declared(options.max_magmom, potential.non_magnetic, potential.species)
        if still != potential.non_magnetic:
            raise ValueError(
                f"max_magmom is 0 for {', '.join(set(still) - set(potential.non_magnetic))}, but "
                "the start potential has moments of that species; start from one that is "
                "non-magnetic there, or give a positive number"
            )
    return confine(with_domain(potential, min_dist=min_dist, max_magmom=max_magmom))
