"""Fit a potential to labelled structures: initial values, L-BFGS, report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.fitting import lbfgs
from mmtp_jax.fitting.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from mmtp_jax.fitting.dataset import Targets, make_targets
from mmtp_jax.fitting.initial import (
    data_domain,
    species_energies,
    with_domain,
    with_linear_coefficients,
)
from mmtp_jax.fitting.loss import loss
from mmtp_jax.fitting.report import Errors, Report, comparison, errors_of
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.potential.observables import Observables, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.structures.batch import Batch, default_chunk, make_batches
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

logger = logging.getLogger(__name__)

STALL_WINDOW = 100
"""A fit has converged when the loss falls by less than the tolerance over so many steps."""

SCALE_SAMPLES = 16
"""Random vectors from which the curvature of each parameter is estimated."""


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
    max_iterations: int = 2000
    tolerance: float = 1e-3
    """Smallest relative fall of the loss over `STALL_WINDOW` steps that is worth going on for."""
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


@with_double_precision
def fit_structures(
    potential: Potential,
    training: Sequence[Structure],
    validation: Sequence[Structure] = (),
    options: FitOptions = FitOptions(),
    callback: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit the parameters of a potential by optax L-BFGS, full batch, in float64.

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
    """
    if not training:
        raise ValueError("the training set is empty; give at least one labelled configuration")
    potential = potential.astype(np.float64)
    tables = [neighbour_table(s, float(potential.cutoff)) for s in training]
    potential = _with_training_domain(potential, training, tables, options)
    sets = {
        "training": _Prepared(
            training, make_batches(training, float(potential.cutoff), tables=tables)
        )
    }
    if validation:
        sets["validation"] = _Prepared(
            validation, make_batches(validation, float(potential.cutoff))
        )
    targets = jax.device_put(make_targets(training, sets["training"].batches, options.weights))
    chunk = default_chunk()

    belongs_to = fingerprint(potential, targets)
    run = _Run(potential, targets, chunk, options, sets["training"], belongs_to, callback)
    outcome = run.optimise()

    fitted = potential.unflatten(np.asarray(outcome.theta))
    errors = {name: prepared.errors(fitted) for name, prepared in sets.items()}
    report = Report(errors["training"], errors.get("validation"))
    return Fit(
        potential=fitted,
        report=report,
        converged=outcome.converged,
        message=outcome.message,
        n_iterations=len(outcome.history) - 1,
        loss=float(min(outcome.history)),
        history=np.array(outcome.history),
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
        max_magmom = np.broadcast_to(options.max_magmom, (potential.n_species,))
    return with_domain(potential, min_dist=min_dist, max_magmom=max_magmom)


@dataclass(frozen=True)
class _Prepared:
    """Structures with their batches."""

    structures: Sequence[Structure]
    batches: list[Batch]

    def predictions(self, potential: Potential) -> list[Observables]:
        return [_predict(potential, batch.graph, default_chunk()) for batch in self.batches]

    def errors(self, potential: Potential) -> Errors:
        compared = comparison(self.structures, self.batches, self.predictions(potential))
        return errors_of(compared, len(self.structures))


@partial(jax.jit, static_argnames="chunk")
def _predict(potential: Potential, graph: Any, chunk: int | None) -> Observables:
    return evaluate(potential, graph, chunk)[1]


@dataclass
class _Outcome:
    theta: Any
    history: list[float]
    converged: bool
    message: str


class _Run:
    """The loop of one fit."""

    def __init__(
        self,
        potential: Potential,
        targets: list[Targets],
        chunk: int | None,
        options: FitOptions,
        training: _Prepared,
        belongs_to: str,
        callback: Callable[[Progress], None] | None,
    ) -> None:
        self.potential, self.targets, self.options = potential, targets, options
        self.chunk, self.training = chunk, training
        self.belongs_to, self.callback = belongs_to, callback
        self.loss = _loss_in_chunks(chunk)
        self.data = (potential, targets)

    def optimise(self) -> _Outcome:
        scale, progress, history = self._begin()
        options = self.options
        best = (float(progress.value), progress.x)
        converged, message = False, f"stopped after {options.max_iterations} iterations"
        restarted_at = -1
        try:
            self._tell(history, progress.x * scale)
            while len(history) <= options.max_iterations:
                progress = lbfgs.step(self.loss, scale, progress, *self.data)
                value = float(progress.value)
                if value < best[0]:
                    best = (value, progress.x)
                elif restarted_at == len(history) - 1 or not np.isfinite(value):
                    # Not even the steepest descent after a restart gets any lower.
                    message = (
                        "the line search finds no lower loss"
                        if np.isfinite(value)
                        else "the loss became infinite or NaN"
                    )
                    converged = bool(np.isfinite(value))
                    break
                else:
                    progress = lbfgs.start(self.loss, scale, best[1] * scale, *self.data)
                    restarted_at = len(history)
                history.append(min(value, best[0]))
                self._tell(history, best[1] * scale)
                self._save(scale, progress, history)
                if _stalled(history, options.tolerance):
                    converged = True
                    message = (
                        f"converged: the loss fell by less than {options.tolerance:g} of itself "
                        f"over {STALL_WINDOW} steps"
                    )
                    break
        except KeyboardInterrupt:
            message = "stopped by the user; this is the best so far"
        self._save(scale, progress, history, now=True)
        return _Outcome(best[1] * scale, history, converged, message)

    def _begin(self) -> tuple[Any, lbfgs.Progress, list[float]]:
        theta = jnp.asarray(self.potential.flatten())
        checkpoint = self.options.checkpoint
        if checkpoint is not None and Path(checkpoint).exists():
            shapes = jax.eval_shape(partial(lbfgs.start, self.loss), theta, theta, *self.data)
            header, (scale, progress) = load_checkpoint(
                checkpoint, (theta, shapes), self.belongs_to
            )
            logger.info("resumed %s after %d steps", checkpoint, len(header["history"]) - 1)
            scale, progress = jax.tree.map(jnp.asarray, (scale, progress))
            return scale, progress, list(header["history"])
        start = self.potential
        if self.options.initialise:
            constants = species_energies(self.training.structures, start.n_species)
            if constants is not None:
                start = start.replace(species_coeffs=constants)
            start = with_linear_coefficients(start, self.targets, self.chunk)
            theta = jnp.asarray(start.flatten())
        scale = self._curvature_scale(theta)
        progress = lbfgs.start(self.loss, scale, theta, *self.data)
        return scale, progress, [float(progress.value)]

    def _curvature_scale(self, theta: Any) -> Any:
        """One over the root of each parameter's curvature in the loss, J^T W J.

        The diagonal is the mean of (J^T sqrt(W) z)^2 over vectors z of random signs, and
        J^T sqrt(W) z is a gradient of the loss itself, for labels off by z / (2 sqrt(W)).
        """
        rng = np.random.default_rng(0)
        predicted = self.training.predictions(self.potential.unflatten(np.asarray(theta)))
        diagonal = jnp.zeros_like(theta)
        for _ in range(SCALE_SAMPLES):
            shifted = [
                part._replace(
                    values=jax.tree.map(
                        lambda p, w: jnp.asarray(_shifted(np.asarray(p), np.asarray(w), rng)),
                        values,
                        part.weights,
                    )
                )
                for part, values in zip(self.targets, predicted, strict=True)
            ]
            probe = lbfgs.start(self.loss, jnp.ones_like(theta), theta, self.potential, shifted)
            diagonal += probe.gradient**2 / SCALE_SAMPLES
        # Parameters that no label depends on keep the scale of the softest that matter.
        floor = 1e-10 * jnp.max(diagonal)
        return 1.0 / jnp.sqrt(jnp.maximum(diagonal, floor))

    def _tell(self, history: list[float], theta: Any) -> None:
        if self.callback is None:
            return
        iteration = len(history) - 1
        errors = None
        if iteration % self.options.report_every == 0:
            errors = self.training.errors(self.potential.unflatten(np.asarray(theta)))
        self.callback(Progress(iteration, self.options.max_iterations, history[-1], errors))

    def _save(
        self, scale: Any, progress: lbfgs.Progress, history: list[float], now: bool = False
    ) -> None:
        path, every = self.options.checkpoint, self.options.checkpoint_every
        if path is None or not (now or (len(history) - 1) % every == 0):
            return
        header = {"fingerprint": self.belongs_to, "history": history}
        save_checkpoint(path, header, (scale, progress))


def _shifted(predicted: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    root = np.sqrt(np.broadcast_to(weights, predicted.shape))
    signs = rng.choice([-1.0, 1.0], predicted.shape)
    safe = np.where(root > 0.0, root, 1.0)
    return predicted - np.where(root > 0.0, signs / (2.0 * safe), 0.0)


def _stalled(history: list[float], tolerance: float) -> bool:
    if len(history) <= STALL_WINDOW:
        return False
    before, now = history[-1 - STALL_WINDOW], history[-1]
    return before - now < tolerance * before


_LOSSES: dict[int | None, lbfgs.Loss] = {}


def _loss_in_chunks(chunk: int | None) -> lbfgs.Loss:
    """The loss for a chunk size; always the same object, so that nothing is compiled twice."""
    if chunk not in _LOSSES:
        _LOSSES[chunk] = partial(loss, chunk=chunk)
    return _LOSSES[chunk]
