"""The order of the calculations (Burov 2026, supplement S1.3 to S1.7); knows no files.

1. Without constraint, for a density to start from.
2. At lambda_0: the fit S6 of M_int against MW_int, and from it the constraint moments S7. (The
   radii, S5, depend on the cell alone, so that they need no calculation of their own.)
3. At rising lambda, each from the density before it, until S8, S9 and S10 hold; if they never do,
   the calculation with the smallest mean error counts.
4. Refined: the same lambda with the constraint moments S11, from the density of that calculation.
5. Accepted if S8 and S9 hold for the moments of OUTCAR and the targets, and S10 for the penalty.

What the paper does not say: a constrained calculation whose electrons did not converge counts
neither as reaching the criteria nor as the best, and the next one starts from the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmtp_jax.oracles.vasp.inputs import along, constrained, like
from mmtp_jax.oracles.vasp.outputs import Output
from mmtp_jax.oracles.vasp.penalty import (
    Criteria,
    Misfit,
    MomentFit,
    constraint_moments,
    fit_moments,
    misfit,
    penalty_per_atom,
    refined_moments,
)

UNCONSTRAINED = "unconstrained"

Compute = Callable[[str, float, np.ndarray, str], Output]
"""Name, lambda, constraint moments (n,) or (n, 3), name of the calculation to start from; the
result."""


@dataclass(frozen=True, eq=False)
class Step:
    """A constrained calculation."""

    name: str
    weight: float
    """lambda, eV/mu_B^2."""
    constraint: np.ndarray
    """M_CONSTR along the axis (n,), or vectors (n, 3), mu_B."""
    output: Output
    misfit: Misfit
    """Of the smoothed moments and the constraint."""
    penalty: float
    """S10, eV per atom."""
    met: bool
    """The electrons converged, and S8, S9 and S10 hold."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How the workflow ended."""

    reason: str | None
    """Why the configuration is discarded, None where it is accepted."""
    steps: tuple[Step, ...] = ()
    """At rising lambda."""
    fit: MomentFit | None = None
    chosen: Step | None = None
    """The one of them that was refined."""
    refined: Step | None = None
    before: Misfit | None = None
    """Of the moments and the targets, before the refinement."""
    after: Misfit | None = None
    """The same after it."""


def follow(
    targets: np.ndarray,
    compute: Compute,
    criteria: Criteria,
    acceptance: Criteria,
    weights: Sequence[float],
    first_weight: float,
    axis: str,
) -> Outcome:
    """Go through the constrained calculations until the targets are met, or not.

    Args:
        targets: (n,) moments along the axis, or vectors (n, 3), mu_B.
        compute: runs one calculation.
        criteria: thresholds of S8 to S10 while lambda rises.
        acceptance: thresholds for the refined calculation.
        weights: rising lambda, eV/mu_B^2.
        first_weight: lambda_0.
        axis: ``"x"``, ``"y"`` or ``"z"``; of vectors it means nothing.
    """
    first = compute("fit", first_weight, targets, UNCONSTRAINED)
    if not first.converged:
        return Outcome("the calculation for the fit of M_int against MW_int did not converge")
    try:
        fit = fit_moments(*(like(m, targets, axis) for m in _total_and_smoothed(first)))
    except ValueError as error:
        where = "" if targets.ndim > 1 else f" (along {axis}; see the setting axis)"
        return Outcome(f"{error}{where}")
    constraint = constrained(constraint_moments(targets, fit))
    steps = _raise_penalty(constraint, compute, criteria, weights, axis)
    usable = [step for step in steps if step.output.converged]
    if not usable:
        return Outcome("no constrained calculation converged", steps, fit)
    chosen = usable[-1] if usable[-1].met else min(usable, key=lambda step: step.misfit.mean)
    total, _ = _total_and_smoothed(chosen.output)
    moments = chosen.output.moments
    wanted = along(targets, axis)
    refined = _step(
        "refined",
        chosen.weight,
        constrained(
            refined_moments(
                constraint, *(like(m, targets, axis) for m in (moments, total)), fit.slope
            )
        ),
        compute,
        criteria,
        axis,
        chosen.name,
    )
    before, after = misfit(moments, wanted), misfit(refined.output.moments, wanted)
    if refined.output.converged:
        violated = acceptance.violated(after, refined.penalty)
        reason = f"discarded after the refinement: {', '.join(violated)}" if violated else None
    else:
        reason = "the refinement did not converge"
    return Outcome(reason, steps, fit, chosen, refined, before, after)


def _raise_penalty(
    constraint: np.ndarray,
    compute: Compute,
    criteria: Criteria,
    weights: Sequence[float],
    axis: str,
) -> tuple[Step, ...]:
    """Calculations at rising lambda up to the first that meets the criteria."""
    steps: list[Step] = []
    start = "fit"
    for weight in weights:
        step = _step(f"lambda-{weight:g}", weight, constraint, compute, criteria, axis, start)
        steps.append(step)
        if step.met:
            break
        if step.output.converged:
            start = step.name
    return tuple(steps)


def _step(
    name: str,
    weight: float,
    constraint: np.ndarray,
    compute: Compute,
    criteria: Criteria,
    axis: str,
    start: str,
) -> Step:
    output = compute(name, weight, constraint, start)
    _, smoothed = _total_and_smoothed(output)
    wanted = along(constraint, axis)
    error = misfit(smoothed, wanted)
    penalty = penalty_per_atom(smoothed, wanted, weight)
    met = output.converged and not criteria.violated(error, penalty)
    return Step(name, weight, constraint, output, error, penalty, met)


def _total_and_smoothed(output: Output) -> tuple[np.ndarray, np.ndarray]:
    assert output.constraint is not None
    return output.constraint.total, output.constraint.smoothed
