"""Error numbers by hand, and how they are shown."""

import json

import numpy as np
import pytest

from mmtp_jax.fitting.report import Report, comparison, errors_of
from mmtp_jax.structures.results import Result
from mmtp_jax.structures.structure import Structure


def structure(n, **labels):
    return Structure(
        cell=3.0 * np.eye(3),
        periodic=np.ones(3, bool),
        positions=np.zeros((n, 3)),
        types=np.zeros(n, np.int32),
        magmoms=np.zeros(n),
        **labels,
    )


def result(energy, **values):
    """What `evaluate` gives, with round numbers."""
    nothing = {"forces": np.zeros((1, 3)), "stress": None, "magnetic_forces": np.zeros(1)}
    return Result(energy=energy, energies=np.array([energy]), **(nothing | values))


@pytest.fixture
def compared():
    stress = np.diag([1.0, 2.0, 3.0])
    structures = [
        structure(2, energy=-10.0, forces=np.ones((2, 3)), stress=stress),
        structure(1, energy=-4.0, magnetic_forces=np.array([0.5])),
    ]
    results = [
        result(
            -10.04,
            forces=np.array([[1.0, 1.3, 1.0], [1.0, 1.0, 1.0]]),
            stress=np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.06]),
        ),
        result(-4.01, magnetic_forces=np.array([0.48])),
    ]
    return comparison(structures, results)


def test_comparison_pairs_labels_with_predictions(compared):
    labels, predicted, count = compared["energy"]
    np.testing.assert_allclose(labels, [-5.0, -4.0])
    np.testing.assert_allclose(predicted, [-5.02, -4.01])
    assert count == 2
    labels, predicted, count = compared["stress"]
    # ASE order: xx yy zz yz xz xy.
    np.testing.assert_allclose(labels, [1.0, 2.0, 3.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(predicted, [1.0, 2.0, 3.0, 0.0, 0.0, 0.06])
    assert compared["forces"][0].shape == (6,)
    np.testing.assert_allclose(compared["magnetic_forces"][1], [0.48])


def test_errors_are_means_over_numbers_in_the_units_of_reports(compared):
    errors = errors_of(compared, 2)
    energy, forces = errors["energy"], errors["forces"]
    assert energy.unit == "meV/atom"
    assert energy.rmse == pytest.approx(np.sqrt((10**2 + 20**2) / 2))
    assert energy.mae == pytest.approx(15.0)
    assert energy.largest == pytest.approx(20.0)
    assert (energy.n_configurations, energy.n_values) == (2, 2)
    assert forces.rmse == pytest.approx(np.sqrt(300.0**2 / 6))
    assert forces.mae == pytest.approx(50.0)
    assert forces.largest == pytest.approx(300.0)
    assert (forces.n_configurations, forces.n_values) == (1, 6)
    assert errors["stress"].unit == "GPa"
    assert errors["stress"].largest == pytest.approx(0.06 * 160.21766208)
    assert errors["stress"].rmse == pytest.approx(0.06 * 160.21766208 / np.sqrt(6))
    assert errors["magnetic_forces"].rmse == pytest.approx(20.0)
    assert errors.n_configurations == 2


def test_kinds_without_labels_are_not_reported():
    errors = errors_of(comparison([structure(1, energy=1.0)], [result(1.0)]), 1)
    assert "energy" in errors
    assert "forces" not in errors
    with pytest.raises(KeyError, match="no labels of kind 'forces'; there are"):
        errors["forces"]


def test_report_prints_one_line_per_kind_and_set(compared):
    errors = errors_of(compared, 3)
    lines = str(Report(errors, errors)).splitlines()
    assert len(lines) == 2 + 4 + 4
    assert lines[0].split()[:5] == ["set", "quantity", "RMSE", "MAE", "max"]
    (energy,) = (line for line in lines if line.startswith("training") and "energy" in line)
    assert energy.split()[2:] == ["15.811", "15.000", "20.000", "meV/atom", "2/3", "2"]
    assert sum("magnetic forces" in line for line in lines) == 2
    assert sum(line.startswith("validation") for line in lines) == 4
    assert "validation" not in str(Report(errors))


def test_report_as_dict_is_json(compared):
    errors = errors_of(compared, 2)
    content = json.loads(json.dumps(Report(errors).as_dict()))
    assert list(content) == ["training"]
    training = content["training"]
    assert training["n_configurations"] == 2
    assert training["energy"] == {
        "unit": "meV/atom",
        "rmse": pytest.approx(errors["energy"].rmse),
        "mae": pytest.approx(15.0),
        "max": pytest.approx(20.0),
        "n_configurations": 2,
        "n_values": 2,
    }
    assert set(Report(errors, errors).as_dict()) == {"training", "validation"}
