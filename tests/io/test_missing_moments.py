"""Configurations without moments, and labels that are marked as unconverged."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.io.convert import to_structure, to_structures
from mmtp_jax.io.labels import count_labels
from mmtp_jax.io.missing_moments import with_moments
from mmtp_jax.io.schema import labels_of
from mmtp_jax.io.unconverged import mark_of, warn_of_unconverged


def iron(moments=None, forces=None):
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [1.4, 1.4, 1.4]], cell=[2.8] * 3, pbc=True)
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)
    if forces is not None:
        atoms.set_array("magnetic_forces", np.array(forces))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    return atoms


def test_given_zeros_are_known_and_missing_ones_are_not():
    assert to_structure(iron([0.0, 0.0]), ("Fe",)).moments_known
    assert not to_structure(iron(), ("Fe",)).moments_known
    counts = count_labels(to_structures([iron(), iron([2.0, 2.0])], ("Fe",)))
    assert (counts.configurations["magmoms"], counts.numbers["magmoms"]) == (1, 2)
    assert "\nmoments                       1           2" in str(counts)


def test_three_answers(caplog):
    mixed = [iron([2.0, 2.0]), iron(), iron()]
    with pytest.raises(
        ValueError, match=r"^2 of 3 configurations .the first is configuration 2. have no magnetic"
    ):
        with_moments(mixed)
    assert with_moments(mixed, "skip") == mixed[:1]
    assert "2 of 3 configurations" in caplog.text
    zero = with_moments(mixed, "zero")[2]
    assert labels_of(zero).moments.tolist() == [0.0, 0.0]
    assert labels_of(zero).results["energy"] == -1.0
    assert not mixed[2].has("initial_magmoms")
    with pytest.raises(ValueError, match="must be one of error, zero, got 'skip'"):
        with_moments(mixed, "skip", may_skip=False)


@pytest.mark.parametrize("answer", ["error", "skip"])
def test_magnetic_forces_without_moments_contradict_themselves(answer):
    with pytest.raises(ValueError, match="has magnetic forces but no magnetic moments"):
        with_moments([iron([2.0, 2.0]), iron(forces=[0.1, 0.1])], answer)
    assert len(with_moments([iron(forces=[0.1, 0.1])], "zero")) == 1


@pytest.mark.parametrize(
    ("key", "value", "marked"),
    [
        ("EFS_by", "VASP_not_converged", True),
        ("EFS_by", "VASP", False),
        ("status", "SCF unconverged", True),
        ("note", "did not converge", True),
        ("note", "converged", False),
        ("converged", False, True),
        ("converged", np.bool_(True), False),
        ("scf_converged", "F", True),
        ("converged", 0, True),
        ("not_converged", True, True),
        ("unconverged", 0, False),
        ("convergence", 1e-6, False),
        ("converged_in", 12, False),
    ],
)
def test_marks_of_unconverged_labels(key, value, marked, caplog):
    good, bad = iron(), iron()
    bad.info[key] = value
    assert mark_of(good) is None
    assert mark_of(bad) == (f"{key} {value}" if marked else None)
    warn_of_unconverged([good, bad])
    assert (f"1 of 2 configurations are marked as not converged: '{key} {value}' (1)"
            in caplog.text) == marked  # fmt: skip
