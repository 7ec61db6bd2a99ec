"""The order of calculations, without files: what starts from what, and what is chosen."""

import numpy as np
import pytest

from mmtp_jax.oracles.vasp.outputs import Constraint, Output
from mmtp_jax.oracles.vasp.penalty import Criteria
from mmtp_jax.oracles.vasp.workflow import follow

CRITERIA = Criteria(0.03, 0.02, 0.01)
WEIGHTS = (2.0, 5.0, 10.0)


class Code:
    """Answers with moments that miss the constraint by what is told, at each lambda."""

    def __init__(self, missed, unconverged=(), bias=0.0, axis=0):
        self.missed, self.unconverged, self.bias, self.axis = missed, unconverged, bias, axis
        self.calls = []

    def __call__(self, name, weight, constraint, start):
        self.calls.append((name, start))
        smoothed = np.zeros((len(constraint), 3))
        if name == "fit":
            smoothed[:, self.axis] = np.linspace(-1.5, 1.5, len(constraint))
        else:
            key = self.missed["refined" if name == "refined" else weight]
            smoothed[:, self.axis] = constraint + key
        total = 1.3 * smoothed
        return Output(
            -1.0, np.zeros_like(smoothed), np.zeros(6), total - self.bias,
            name not in self.unconverged, "6",
            Constraint(weight, 0.0, smoothed, total, None),
        )  # fmt: skip


def run(code, axis="x"):
    return follow(np.array([2.0, -1.0, 0.0]), code, CRITERIA, CRITERIA, WEIGHTS, 0.01, axis)


def test_lambda_rises_until_the_criteria_hold():
    code = Code({2.0: 0.05, 5.0: 0.01, "refined": 0.01})
    outcome = run(code)
    assert code.calls == [
        ("fit", "unconstrained"), ("lambda-2", "fit"), ("lambda-5", "lambda-2"),
        ("refined", "lambda-5"),
    ]  # fmt: skip
    assert outcome.reason is None
    assert [step.met for step in outcome.steps] == [False, True]
    assert outcome.chosen.weight == outcome.refined.weight == 5.0
    np.testing.assert_allclose(outcome.fit, [1.3, 0.0, 1.0], atol=1e-12)


def test_the_best_mean_error_is_refined_where_the_criteria_never_hold():
    code = Code({2.0: 0.05, 5.0: 0.04, 10.0: 0.06, "refined": 0.001})
    outcome = run(code)
    assert code.calls[-1] == ("refined", "lambda-5")
    assert not any(step.met for step in outcome.steps)
    assert outcome.reason is None


def test_the_penalty_energy_alone_can_forbid():
    # 10 * 0.029^2 = 0.0084 per atom holds, 30 * 0.019^2 = 0.0108 does not.
    code = Code({30.0: 0.019, "refined": 0.019})
    outcome = follow(np.array([2.0, 0.0]), code, CRITERIA, CRITERIA, (30.0,), 0.01, "x")
    assert not outcome.steps[0].met
    assert "penalty is 0.0108 eV per atom" in outcome.reason


def test_unconverged_calculations_are_passed_over():
    code = Code({2.0: 0.05, 5.0: 0.0, 10.0: 0.01, "refined": 0.0}, unconverged=["lambda-5"])
    outcome = run(code)
    assert code.calls[1:] == [
        ("lambda-2", "fit"), ("lambda-5", "lambda-2"), ("lambda-10", "lambda-2"),
        ("refined", "lambda-10"),
    ]  # fmt: skip
    assert outcome.reason is None


@pytest.mark.parametrize(
    ("unconverged", "reason", "n_calls"),
    [
        (["fit"], "fit of M_int against MW_int did not converge", 1),
        (["lambda-2", "lambda-5", "lambda-10"], "no constrained calculation converged", 4),
        (["refined"], "the refinement did not converge", 3),
    ],
)
def test_without_convergence_there_is_no_label(unconverged, reason, n_calls):
    code = Code(dict.fromkeys((*WEIGHTS, "refined"), 0.0), unconverged)
    assert reason in run(code).reason
    assert len(code.calls) == n_calls


def test_the_refinement_can_be_refused():
    outcome = run(Code({2.0: 0.0, "refined": 0.2}))
    assert outcome.reason.startswith("discarded after the refinement: the largest error is 0.26")


def test_the_bias_of_outcar_is_what_the_refinement_removes():
    outcome = run(Code(dict.fromkeys((*WEIGHTS, "refined"), 0.0), bias=[0.1, 0.0, 0.0]))
    assert outcome.before.largest == pytest.approx(0.1, abs=2e-4)
    assert outcome.after.largest < 1e-3
    assert outcome.reason is None


def test_moments_along_another_axis_are_told():
    code = Code(dict.fromkeys((*WEIGHTS, "refined"), 0.0), axis=2)
    assert "(along x; see the setting axis)" in run(code).reason
    assert run(Code(dict.fromkeys((*WEIGHTS, "refined"), 0.0), axis=2), axis="z").reason is None
