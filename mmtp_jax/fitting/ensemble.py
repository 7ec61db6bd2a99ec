"""Ensembles: random starts of one form, fitted to the same data (Kotykhov 2024, Sec. 2.3).

All members share one compilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mmtp_jax.fitting.fit import Fit, FitProblem, prepared_sets
from mmtp_jax.fitting.lockstep import optimise_together
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.progress import Teller
from mmtp_jax.fitting.series import (
    Callback,
    Run,
    Task,
    errors_over,
    fit_dict,
    for_task,
    is_incomplete,
    numbered_options,
    run_all,
    titled_table,
)
from mmtp_jax.fitting.statistics import Statistics
from mmtp_jax.interruption import deferred
from mmtp_jax.potential.potential import SETTINGS, Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.readable import readable
from mmtp_jax.structures.structure import Structure


@readable
@dataclass(frozen=True)
class EnsembleFit:
    """Potentials of one form, fitted to the same data from different starts."""

    fits: tuple[Fit, ...]
    """Members that are done; the first as far as it came where the user stopped it."""
    interrupted: bool
    """The user stopped with Ctrl-C."""

    @property
    def potentials(self) -> tuple[Potential, ...]:
        """The members."""
        return tuple(fit.potential for fit in self.fits)

    @property
    def best(self) -> int:
        """The member with the lowest loss on the validation set, else on the training set."""
        losses = [fit.validation_loss for fit in self.fits]
        if None in losses:
            losses = [fit.loss for fit in self.fits]
        return int(np.nanargmin(losses))

    @property
    def errors(self) -> dict[str, Statistics]:
        """Errors over the members, by the name of the set: training and maybe validation."""
        return errors_over(self.fits)

    def __str__(self) -> str:
        """Text table with 2 sigma, as Kotykhov 2024, Table 2."""
        n = len(self.fits)
        return titled_table(f"{n} member{'' if n == 1 else 's'}", self.errors, n_sigma=2)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n_members": len(self.fits),
            "best": self.best,
            "interrupted": self.interrupted,
            "errors": {name: of.as_dict() for name, of in self.errors.items()},
            "members": [fit_dict(fit) for fit in self.fits],
        }


def random_starts(potential: Potential, n: int, seed: int = 0) -> list[Potential]:
    """n potentials of the same form and intervals, with random coefficients.

    Member k has the radial and linear coefficients of `Potential.new` with the seed ``seed + k``;
    those of ``potential`` itself play no part. Its species energies are kept.
    """
    found = []
    for k in range(n):
        new = Potential.new(
            species=potential.species,
            tables=potential.tables,
            radial_size=potential.radial_size,
            magnetic_size=potential.magnetic_size,
            min_dist=float(potential.min_dist),
            cutoff=float(potential.cutoff),
            seed=seed + k,
        )
        more = potential.with_noncollinear_terms(potential.noncollinear_terms, seed + k)
        # Files of other programs bring a scaling; the radial functions shall not change in size.
        radial = potential.masked(new.radial_coeffs) / float(potential.scaling)
        found.append(
            potential.replace(
                radial_coeffs=radial,
                moment_coeffs=new.moment_coeffs,
                noncollinear=more.noncollinear,
                record=None,
            )
        )
    return found


@with_double_precision
def fit_ensemble(
    potentials: Sequence[Potential],
    training: Sequence[Structure],
    validation: Sequence[Structure] = (),
    options: FitOptions = FitOptions(),
    callback: Callback | None = None,
    *,
    parallel: bool = False,
    executor: Executor | None = None,
) -> EnsembleFit:
    """Fit several starts to the same data.

    Ctrl-C keeps the members that are done, and the running one where it is the first.

    Args:
        potentials: starts of one form, e.g. of `random_starts`.
        training: labelled structures.
        validation: structures that are only reported.
        options: weights, limits, initial values; member k has the checkpoint ``NAME.k.npz``.
        callback: told progress and results.
        parallel: all members in lock-step, by L-BFGS under `vmap`. For devices that one member
            leaves idle; on a CPU one after the other, the default, is faster.
        executor: where members run, several at once; any of `concurrent.futures`.

    Raises:
        ValueError: if the potentials differ in form, or ``parallel`` is not possible.
    """
    _check_alike(potentials)
    sets = prepared_sets(training, validation, potentials[0], options.making)
    if parallel and executor is not None:
        raise ValueError("members run in parallel in this process, or by an executor; drop one")
    if parallel:
        return _fit_together(potentials, *sets, options, callback)
    n = len(potentials)
    runs = [
        Run(f"member {k + 1} of {n}", potential, *sets, numbered_options(options, k))
        for k, potential in enumerate(potentials)
    ]
    fits = run_all(runs, callback, executor=executor)
    return EnsembleFit(fits, is_incomplete(fits, n))


def _fit_together(
    potentials: Sequence[Potential],
    training: PreparedSet,
    validation: PreparedSet | None,
    options: FitOptions,
    callback: Callback | None,
) -> EnsembleFit:
    if options.method != "lbfgs":
        raise ValueError(f"members can be fitted in parallel by lbfgs, not by {options.method}")
    if options.follows_validation:
        raise ValueError(
            "members in parallel take the same steps; leave out patience, "
            "best_validation or parallel"
        )
    if options.checkpoint is not None:
        raise ValueError("members that are fitted in parallel have no checkpoint; drop one of both")
    if options.coarse_to_fine == "on":
        raise ValueError(
            "members that are fitted in parallel are fitted to all data from the start; "
            "coarse_to_fine may be 'auto' or 'off'"
        )
    problems: list[FitProblem] = []
    for potential in potentials:
        data = problems[0].data if problems else None
        problems.append(FitProblem.of(potential, training, validation, options, data=data))
    n = len(problems)
    task = Task(0, 1, f"best of members 1 to {n}")
    with deferred():
        outcomes = optimise_together(
            [problem.optimiser for problem in problems],
            [problem.starting_parameters() for problem in problems],
            problems[0].max_iterations,
            options.tolerance,
            Teller(problems[0], for_task(callback, task)),
        )
    fits = []
    for k, (problem, outcome) in enumerate(zip(problems, outcomes, strict=True)):
        fits.append(problem.result(outcome))
        if callback is not None:
            callback(Task(k, n, f"member {k + 1} of {n}"), fits[-1])
    return EnsembleFit(tuple(fits), is_incomplete(fits, n))


def _check_alike(potentials: Sequence[Potential]) -> None:
    """One compilation and one set of intervals serve all members."""
    if not potentials:
        raise ValueError("an ensemble needs at least one potential")

    def form(potential: Potential) -> Any:
        leaves, tree = jax.tree.flatten(potential)
        alike = [getattr(potential, name) for name in SETTINGS]
        values = [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(alike)]
        return tree, [np.shape(leaf) for leaf in leaves], values

    first = form(potentials[0])
    for k, potential in enumerate(potentials):
        if form(potential) != first:
            raise ValueError(
                f"potential {k} differs from the first in form or intervals; members of an "
                "ensemble may differ in their coefficients only"
            )
