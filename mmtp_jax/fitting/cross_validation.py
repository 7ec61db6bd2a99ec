"""Cross-validation, and with it the scan of a weight (Kotykhov 2024, Sec. 2.2 and Fig. 2).

All folds, and all weights, share one compilation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from mmtp_jax.fitting.fit import Fit
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.series import (
    Callback,
    Run,
    errors_over,
    fit_dict,
    is_incomplete,
    numbered_options,
    run_all,
    titled_table,
)
from mmtp_jax.fitting.shifts import prepared_makings
from mmtp_jax.fitting.statistics import CONFIDENCE, Spread, Statistics
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interruption import deferred
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.readable import readable
from mmtp_jax.structures.structure import Structure
from mmtp_jax.tables import aligned

SCAN_VALUES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Weights of Kotykhov 2024, Fig. 2."""


@readable
@dataclass(frozen=True)
class CrossValidation:
    """Fits to all but one part of the data, each tested on the part that it has not seen."""

    held_out: tuple[np.ndarray, ...]
    """Indices of the configurations of each part, in the order of ``fits``."""
    fits: tuple[Fit, ...]
    """Folds that are done; the first as far as it came where the user stopped it."""
    n_folds: int
    interrupted: bool
    """The user stopped with Ctrl-C."""

    @property
    def errors(self) -> dict[str, Statistics]:
        """Errors over the folds: of the configurations fitted, and of those held out."""
        return errors_over(self.fits)

    def __str__(self) -> str:
        """Text table with 1 sigma, as Kotykhov 2024, Fig. 2."""
        done = "" if len(self.fits) == self.n_folds else f"{len(self.fits)} of "
        return titled_table(f"{done}{self.n_folds} folds", self.errors, n_sigma=1)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n_folds": self.n_folds,
            "interrupted": self.interrupted,
            "errors": {name: of.as_dict() for name, of in self.errors.items()},
            "folds": [
                {"held_out": held_out.tolist(), **fit_dict(fit)}
                for held_out, fit in zip(self.held_out, self.fits, strict=True)
            ],
        }


@readable
@dataclass(frozen=True)
class WeightScan:
    """Cross-validated errors for several values of one weight (Kotykhov 2024, Fig. 2)."""

    kind: str
    """Whose weight."""
    values: tuple[float, ...]
    """Weights that are done."""
    results: tuple[CrossValidation, ...]
    """One for each value."""
    interrupted: bool
    """The user stopped with Ctrl-C."""

    @property
    def validation(self) -> tuple[Statistics, ...]:
        """Errors of the held-out configurations for each value."""
        return tuple(result.errors["validation"] for result in self.results)

    def __str__(self) -> str:
        """Text table of the validation errors with 1 sigma."""
        units = {k.kind: k.unit for of in self.validation for k in of.kinds}
        header = [f"weight of {self.kind.replace('_', ' ')}"]
        header += [f"{kind.replace('_', ' ')} ({unit})" for kind, unit in units.items()]
        rows = [
            [f"{value:g}", *(of[kind].rmse.text(1) if kind in of else "" for kind in units)]
            for value, of in zip(self.values, self.validation, strict=True)
        ]
        n = self.results[0].n_folds
        title = f"validation RMSE, mean +- sigma ({CONFIDENCE[1]}) over {n} folds:"
        return f"{title}\n{aligned([header, *rows])}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "interrupted": self.interrupted,
            "values": [
                {"weight": value, **result.as_dict()}
                for value, result in zip(self.values, self.results, strict=True)
            ],
        }

    def rows(self) -> list[list[str]]:
        """Header and one row per weight and quantity, for CSV."""
        numbers = [f"{of} RMSE {n}" for of in ("training", "validation") for n in ("mean", "sigma")]
        rows = [[f"{self.kind} weight", "quantity", "unit", *numbers, "folds"]]
        for value, result in zip(self.values, self.results, strict=True):
            sets = result.errors
            for kind in sets["validation"].kinds:
                cells = []
                for of in (sets["training"], sets["validation"]):
                    spread = of[kind.kind].rmse if kind.kind in of else Spread((math.nan,))
                    cells += [_cell(spread.mean), _cell(spread.sigma)]
                rows.append([f"{value:g}", kind.kind, kind.unit, *cells, str(len(result.fits))])
        return rows


def fold_indices(n: int, n_folds: int, seed: int = 0) -> list[np.ndarray]:
    """Indices of each fold, at random, in ascending order; sizes differ by one at most.

    Raises:
        ValueError: if there are fewer than two folds, or fewer configurations than folds.
    """
    if not 2 <= n_folds <= n:
        raise ValueError(
            f"{n_folds} folds of {n} configurations: there must be at least two folds, and a "
            "configuration for each"
        )
    order = np.random.default_rng(seed).permutation(n)
    return [np.sort(part) for part in np.array_split(order, n_folds)]


@with_double_precision
def cross_validate(
    potential: Potential,
    structures: Sequence[Structure],
    n_folds: int = 5,
    options: FitOptions = FitOptions(),
    seed: int = 0,
    callback: Callback | None = None,
    executor: Executor | None = None,
    validation: Sequence[Structure] = (),
) -> CrossValidation:
    """Hold each of ``n_folds`` random parts of the data out once, and fit to the rest.

    Intervals and initial values are those of the configurations that are fitted, so nothing of a
    held-out configuration enters, unless ``potential`` was fitted to it before. The training sets
    of the folds overlap, so sigma says how much one fold differs from another, not how far the
    mean is from the truth.

    Ctrl-C keeps the folds that are done, and the running one where it is the first.

    Args:
        potential: start of each fit.
        structures: labelled structures.
        n_folds: number of parts.
        options: weights, limits, initial values; fold k has the checkpoint ``NAME.k.npz``.
        seed: of the choice of the parts.
        callback: told progress and results.
        executor: where folds run, several at once; any of `concurrent.futures`.
        validation: labelled structures that decide, in all folds, what is kept and where a fit
            ends, with ``best_validation`` or ``patience``; they are in no part.
    """
    folds = _Folds.of(structures, n_folds, seed, potential, options.making, validation)
    return folds.cross_validate(potential, options, callback, executor=executor)


@with_double_precision
def scan_weights(
    potential: Potential,
    structures: Sequence[Structure],
    kind: str = "magnetic_forces",
    values: Sequence[float] = SCAN_VALUES,
    n_folds: int = 5,
    options: FitOptions = FitOptions(),
    seed: int = 0,
    callback: Callback | None = None,
    executor: Executor | None = None,
    validation: Sequence[Structure] = (),
) -> WeightScan:
    """`cross_validate` for several values of one weight, the others as in ``options.weights``.

    All values have the same folds. Ctrl-C keeps the values that are done, and what is done of the
    running one where it is the first.

    Args:
        potential: start of each fit.
        structures: labelled structures.
        kind: of the weight, a field of `Weights`.
        values: of the weight, positive.
        n_folds: number of parts.
        options: other weights, limits; fold k of value i has the checkpoint ``NAME.i.k.npz``.
        seed: of the choice of the parts.
        callback: told progress and results.
        executor: where folds run, several at once; any of `concurrent.futures`.
        validation: as for `cross_validate`.

    Raises:
        ValueError: for an unknown kind, or values that are not positive.
    """
    kinds = [field.name for field in fields(Weights) if field.name != "scaling"]
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)}, got {kind!r}")
    values = tuple(float(value) for value in values)
    if not values or not all(0.0 < value < math.inf for value in values):
        raise ValueError(f"the values of a scan must be positive numbers, got {list(values)}")
    folds = _Folds.of(structures, n_folds, seed, potential, options.making, validation)
    results: list[CrossValidation] = []
    try:
        with deferred():
            for i, value in enumerate(values):
                of_value = replace(options, weights=replace(options.weights, **{kind: value}))
                result = folds.cross_validate(
                    potential,
                    numbered_options(of_value, i),
                    callback,
                    f"weight {value:g}, ",
                    first=i * n_folds,
                    n_tasks=len(values) * n_folds,
                    executor=executor,
                )
                if not (result.interrupted and results):
                    results.append(result)
                if result.interrupted:
                    break
    except KeyboardInterrupt:
        if not results:
            raise
    interrupted = len(results) < len(values) or results[-1].interrupted
    return WeightScan(kind, values[: len(results)], tuple(results), interrupted)


@dataclass(frozen=True)
class _Folds:
    """Parts of the data, packed into the same shapes."""

    held_out: list[np.ndarray]
    training: list[PreparedSet]
    tested: list[PreparedSet]
    validation: PreparedSet | None
    """Decides what is kept; without, the parts that are held out are the validation sets."""

    @classmethod
    def of(
        cls,
        structures: Sequence[Structure],
        n_folds: int,
        seed: int,
        potential: Potential,
        making: str,
        validation: Sequence[Structure],
    ) -> _Folds:
        n, cutoff = len(structures), float(potential.cutoff)
        held_out = fold_indices(n, n_folds, seed)
        together = [*structures, *validation]
        together, shifts = prepared_makings(together, making, potential.species)
        everything = PreparedSet.of(together[:n], cutoff, shifts)
        decides = PreparedSet.of(together[n:], cutoff, shifts) if validation else None
        rest = [np.setdiff1d(np.arange(n), part) for part in held_out]
        return cls(held_out, everything.parts(rest), everything.parts(held_out), decides)

    def cross_validate(
        self,
        potential: Potential,
        options: FitOptions,
        callback: Callback | None,
        prefix: str = "",
        first: int = 0,
        n_tasks: int | None = None,
        executor: Executor | None = None,
    ) -> CrossValidation:
        n = len(self.held_out)
        runs = [
            Run(
                f"{prefix}fold {k + 1} of {n}",
                potential,
                training,
                tested if self.validation is None else self.validation,
                numbered_options(options, k),
                None if self.validation is None else tested,
            )
            for k, (training, tested) in enumerate(zip(self.training, self.tested, strict=True))
        ]
        fits = run_all(runs, callback, first, n_tasks, executor)
        return CrossValidation(
            tuple(self.held_out[: len(fits)]), fits, n, interrupted=is_incomplete(fits, n)
        )


def _cell(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6g}"
