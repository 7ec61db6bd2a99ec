"""What the provenance of labels says of the workflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmtp_jax.oracles.vasp.penalty import Misfit
from mmtp_jax.oracles.vasp.workflow import Outcome, Step


def summary(outcome: Outcome) -> dict[str, Any]:
    """What JSON can hold of an outcome; moments in the order of POSCAR."""
    content: dict[str, Any] = {"steps": [_step_summary(step) for step in outcome.steps]}
    if outcome.fit is not None:
        content["fit"] = {k: round(v, 6) for k, v in outcome.fit._asdict().items()}
    if outcome.chosen is not None:
        content["reached_before_refinement"] = outcome.chosen.met
        content["moment_error_before_refinement"] = _rounded(outcome.before)
    if outcome.refined is not None:
        content["refined"] = _step_summary(outcome.refined)
        content["moment_error"] = _rounded(outcome.after)
        constraint = outcome.refined.output.constraint
        assert constraint is not None
        content["penalty_energy"] = constraint.penalty
        content["m_constr"] = np.round(outcome.refined.constraint, 6).tolist()
        content["mw_int"] = constraint.smoothed.tolist()
        content["m_int"] = constraint.total.tolist()
    return content


def _step_summary(step: Step) -> dict[str, Any]:
    return {
        "lambda": step.weight,
        "error": _rounded(step.misfit),
        "penalty_per_atom": round(step.penalty, 8),
        "converged": step.output.converged,
        "met": step.met,
    }


def _rounded(misfit: Misfit | None) -> dict[str, float]:
    return {} if misfit is None else {k: round(v, 6) for k, v in misfit._asdict().items()}
