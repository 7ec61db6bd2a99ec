"""Coarse to fine: a fit to a D-optimal part of the data first, then to all of it.

A step costs as much as the data have atoms, and most steps lead from random coefficients to the
neighbourhood of a minimum, which a part that determines all parameters finds as well. The fit to
all data starts there, with the same loss and the same end as any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.fitting.checkpoint import Checkpoint, PartRecord, fingerprint
from mmtp_jax.fitting.optimise import Outcome, optimise
from mmtp_jax.fitting.part import d_optimal_part, packed_part
from mmtp_jax.fitting.processes import check_same, from_first
from mmtp_jax.fitting.progress import ALL, PART, Progress, Teller
from mmtp_jax.language import argument
from mmtp_jax.structures.batch import rounded_size

if TYPE_CHECKING:
    from mmtp_jax.fitting.fit import FitProblem

ATOMS_PER_PARAMETER = 4.0
"""Size of the part. An atom has four labels."""

LEAST_RATIO = 4.0
"""Atoms of all data over those of the part: below, the second compilation and the steps of the part
cost about what they save."""

TOLERANCE = 1e-2
"""The first stage ends where the loss of the part falls by less than this fraction ..."""

WINDOW = 30
"""... over so many steps of L-BFGS, or the usual number of Gauss-Newton."""


@dataclass(frozen=True)
class FirstStage:
    """How the fit to a part of the data ended."""

    part: PartRecord
    outcome: Outcome | None
    """None where it had ended before the fit was resumed."""


def room_for_part(problem: FitProblem) -> tuple[int, str]:
    """Atoms of the part that the fit begins with, 0 for none; and why, in words.

    Raises:
        ValueError: if a part is asked for, and there are too few configurations.
    """
    rule, sizes = problem.options.coarse_to_fine, [len(s) for s in problem.training.structures]
    room = rounded_size(int(ATOMS_PER_PARAMETER * problem.potential.n_parameters))
    n_atoms = sum(sizes)
    if rule == "off":
        return 0, "as told"
    if problem.max_iterations == 0:
        return 0, "no steps are asked for"
    if rule == "on":
        if len(sizes) < LEAST_RATIO:
            raise ValueError(
                f"{argument('coarse_to_fine', 'on')} needs at least {LEAST_RATIO:g} configurations "
                f"to take a part of, and there are {len(sizes)}; give more, or take 'auto'"
            )
        return min(room, int(n_atoms / LEAST_RATIO)), "as told"
    if problem.potential.record is not None:
        return 0, "the start was fitted before"
    if n_atoms < LEAST_RATIO * room:
        return 0, (
            f"{n_atoms} atoms are too few for {problem.potential.n_parameters} parameters to gain "
            f"from a part; it pays from {LEAST_RATIO * room:.0f} on"
        )
    return room, f"there are {n_atoms / room:.0f} times as many atoms as in the part"


def first_stage(
    problem: FitProblem,
    checkpoint: Checkpoint | None,
    callback: Callable[[Progress], None] | None,
) -> FirstStage | None:
    """Fit to a part of the data, where that is worth it or was begun; None otherwise.

    A checkpoint says which stage it is in, and with which part: that decides where it exists.

    Raises:
        ValueError: if a part is asked for, and there are too few configurations.
    """
    part, in_part = (None, False) if checkpoint is None else checkpoint.found_part()
    resumed = checkpoint is not None and checkpoint.path.exists()
    check_same(fingerprint(f"{resumed} {in_part} {part}"), "checkpoints")
    if resumed and not in_part:
        return None if part is None else FirstStage(part, None)
    room, _ = room_for_part(problem)
    training = problem.training
    if part is None:
        if not room:
            return None
        part = PartRecord(from_first(d_optimal_part(training, problem.potential, room)).tolist())
    packed = packed_part(training, part.indices, rounded_size(room), rounded_size(room))
    coarse = problem.on(packed)
    of_part = None if checkpoint is None else checkpoint.for_part(part)
    errors = {} if of_part is None else of_part.errors
    outcome = optimise(
        coarse.optimiser,
        theta=coarse.starting_parameters,
        max_iterations=problem.max_iterations,
        tolerance=max(TOLERANCE, problem.options.tolerance),
        checkpoint=of_part,
        tell=Teller(coarse, callback, errors, PART, (PART, ALL)),
        window=min(WINDOW, coarse.optimiser.stall_window),
    )
    part.message, part.errors = outcome.message, errors
    part.history = [float(loss) for loss in outcome.history]
    part.n_atoms = sum(len(s) for s in packed.structures)
    return FirstStage(part, outcome)


def all_data_loss(problem: FitProblem, theta: np.ndarray) -> float:
    """Loss of all data at parameters (P + m,)."""
    potential, shifts = problem.split(theta)
    loss = problem.training.shifted(shifts).loss(potential, problem.options.weights)
    return float("nan") if loss is None else loss


def described_stages(problem: FitProblem, part: PartRecord | None) -> str:
    """Which stages a fit had, and why, in words."""
    if part is None:
        return f"all data from the first step: {room_for_part(problem)[1]}"
    return (
        f"{len(part.history) - 1} steps to a D-optimal part, {len(part.indices)} of "
        f"{len(problem.training.structures)} configurations with {part.n_atoms} atoms, came before"
    )
