"""Phonons against finite differences, analytic crystals, and what symmetry implies."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase import units
from ase.build import bulk

import mmtp_jax as mmtp

pytest.importorskip("phonopy")

from mmtp_jax.properties.bands import default_path
from mmtp_jax.properties.crystal import (
    Crystal,
    MissingPackageError,
    crystal_of,
    import_phonopy,
    phonopy_of,
    supercell_matrix,
)
from mmtp_jax.properties.disordered_phonons import SupercellSymmetry
from mmtp_jax.properties.phonon_results import (
    ImaginaryModesWarning,
    Phonons,
    without_force_constants,
)
from mmtp_jax.properties.polar import set_polar
from mmtp_jax.properties.quasiharmonic import MissingStatesWarning
from mmtp_jax.structures.structure import Structure

FOUR_PI_K = 4 * np.pi * 14.399645
"""4 pi e^2 / (4 pi epsilon_0), eV Angstrom."""

THZ = units.fs * 1e3 / (2 * np.pi)
"""Of sqrt(eV / Angstrom^2 / amu)."""


@pytest.fixture(scope="module")
def primitive(ferromagnet):
    """One atom of ferromagnetic bcc iron."""
    atoms = bulk("Fe", a=ferromagnet.cell[0, 0])
    atoms.set_initial_magnetic_moments(ferromagnet.get_initial_magnetic_moments()[:1])
    return atoms


@pytest.fixture(scope="module")
def found(iron, primitive):
    return mmtp.phonons(iron, primitive, 2, relax=False)


def _crystal(symbols, cell, scaled, masses) -> Crystal:
    """Atoms that no potential knows."""
    n = len(symbols)
    structure = Structure(
        np.asarray(cell, float), np.ones(3, bool), np.asarray(scaled) @ cell, np.zeros(n, int),
        np.zeros(n),
    )  # fmt: skip
    return Crystal(structure, tuple(symbols), np.asarray(masses, float))


def _phonons(phonopy, energy=0.0) -> Phonons:
    n = len(phonopy.supercell)
    return Phonons(phonopy, energy, phonopy.supercell.volume / n, np.zeros(1), "equilibrate", 0.0)


def test_a_zone_boundary_is_a_finite_difference(iron, ferromagnet, found) -> None:
    """Point H: the two atoms of the cubic cell against each other, moments equilibrated anew."""
    step, ends = 2e-3, []
    for sign in (1, -1):
        moved = ferromagnet.copy()
        moved.positions[0, 0] += sign * step / 2
        moved.positions[1, 0] -= sign * step / 2
        ends.append(moved)
    forces = [
        mmtp.evaluate(iron, end.atoms)[0].forces[0, 0]
        for end in mmtp.equilibrate(iron, ends, tolerance=1e-9)
    ]
    constant = -(forces[0] - forces[1]) / step
    expected = np.sqrt(constant / found.phonopy.primitive.masses[0]) * THZ
    assert found.frequencies([[0.5, -0.5, 0.5]])[0] == pytest.approx([expected] * 3, rel=1e-5)


def test_force_constants_agree_with_displacements(iron, ferromagnet) -> None:
    """Sublattices are shifted: else inversion keeps moments from following at these q."""
    atoms = ferromagnet.copy()
    atoms.positions[1] += [0.10, 0.06, 0.02]
    constants = {}
    for moments in ("equilibrate", "fixed"):
        for method in ("autodiff", "displacements"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ImaginaryModesWarning)
                of = mmtp.phonons(
                    iron, atoms, [2, 2, 1], relax=False, moments=moments, method=method
                )
            constants[moments, method] = of.phonopy.force_constants
            assert of.drift < (1e-10 if method == "autodiff" else 1e-2)
    largest = np.abs(constants["equilibrate", "autodiff"]).max()
    for moments in ("equilibrate", "fixed"):
        difference = constants[moments, "autodiff"] - constants[moments, "displacements"]
        assert np.abs(difference).max() < 1e-3 * largest
    difference = constants["equilibrate", "autodiff"] - constants["fixed", "autodiff"]
    assert np.abs(difference).max() > 1e-2 * largest


def test_inversion_keeps_moments_where_they_are(iron, primitive, found) -> None:
    """At Gamma, H and N of bcc the change of a moment is even, and so of second order."""
    clamped = mmtp.phonons(iron, primitive, 2, relax=False, moments="fixed")
    q = found.commensurate()
    assert len(q) == 8
    assert clamped.frequencies(q) == pytest.approx(found.frequencies(q), abs=1e-6)
    assert found.drift < 1e-9
    assert np.abs(found.frequencies([[0, 0, 0]])).max() < 1e-3


def test_rotations_and_reversal_change_nothing(iron, primitive, found) -> None:
    turned = primitive.copy()
    turned.rotate(40.0, (1.0, 2.0, -0.5), rotate_cell=True)
    turned.set_initial_magnetic_moments(-primitive.get_initial_magnetic_moments())
    other = mmtp.phonons(iron, turned, 2, relax=False)
    q = found.commensurate()
    assert np.sort(other.frequencies(other.commensurate()).ravel()) == pytest.approx(
        np.sort(found.frequencies(q).ravel()), abs=1e-4
    )
    assert other.energy == pytest.approx(found.energy, abs=1e-9)


def test_the_conventional_cell_gives_the_same(iron, ferromagnet, found) -> None:
    """phonopy finds the primitive cell; 2 x 2 x 1 cubic cells hold the points H and N."""
    other = mmtp.phonons(iron, ferromagnet, [2, 2, 1], relax=False)
    assert other.n_atoms == 1
    held = other.commensurate()
    reciprocal = np.linalg.inv(other.phonopy.primitive.cell).T
    lengths = ferromagnet.cell[0, 0] * np.linalg.norm((held - np.rint(held)) @ reciprocal, axis=1)
    n = held[np.argmin(np.abs(lengths - np.sqrt(0.5)))]
    for one, point in (([0.5, -0.5, 0.5], [0.5, -0.5, 0.5]), (n, [0, 0, 0.5])):
        assert other.frequencies([one])[0] == pytest.approx(found.frequencies([point])[0], abs=1e-4)


def test_an_antiferromagnet_keeps_its_moments(iron) -> None:
    atoms = bulk("Fe", a=2.75, cubic=True)
    atoms.set_initial_magnetic_moments([1.8, -1.8])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImaginaryModesWarning)
        found = mmtp.phonons(iron, atoms, [2, 2, 1], relax=False, moments="fixed")
    assert found.n_atoms == 2
    moments = found.phonopy.supercell.magnetic_moments
    assert sorted(moments) == pytest.approx([-1.8] * 4 + [1.8] * 4)


def test_thermal_properties_and_densities(found) -> None:
    thermal = found.thermal([0, 300, 3000], mesh=25.0)
    assert thermal.heat_capacity[0] == 0.0
    assert thermal.heat_capacity[2] == pytest.approx(3.0, abs=0.01)
    assert thermal.free_energy[0] == pytest.approx(thermal.zero_point, rel=1e-6)
    grid = found.phonopy.run_mesh(25.0)
    mean = np.average(grid.frequencies.sum(axis=1), weights=grid.weights)
    assert thermal.zero_point == pytest.approx(0.5 * 4.135667696e-3 * mean, rel=1e-5)
    dos = found.dos(mesh=25.0)
    assert np.trapezoid(dos.total, dos.frequencies) == pytest.approx(3.0, rel=0.02)
    assert list(dos.species) == ["Fe"]
    bands = found.bands()
    assert bands.path.labels[0] == ("G", "H")
    assert bands.frequencies[0][-1] == pytest.approx(found.frequencies([[0.5, -0.5, 0.5]])[0])
    assert "stable at the" in str(found)


def test_unstable_crystals_are_named(iron) -> None:
    atoms = bulk("Fe", "sc", a=2.4)
    atoms.set_initial_magnetic_moments([2.0])
    with pytest.warns(ImaginaryModesWarning, match=r"lowest .*i THz at q = \("):
        found = mmtp.phonons(iron, atoms, 2, relax=False, moments="fixed")
    assert not found.is_stable
    assert found.imaginary[0].frequency == found.frequencies(found.commensurate()).min()
    assert "UNSTABLE" in str(found)


def test_polar_modes_of_a_crystal_without_forces() -> None:
    """Only the macroscopic field is left: omega^2 = 4 pi Z^2 e^2 / (epsilon V mu)."""
    cell = 2.0 * (np.ones((3, 3)) - np.eye(3))
    crystal = _crystal(("Cr", "N"), cell, [[0, 0, 0], [0.5, 0.5, 0.5]], (52.0, 14.0))
    phonopy = phonopy_of(crystal, np.diag([2, 2, 2]))
    phonopy.force_constants = np.zeros((16, 16, 3, 3))
    expected = np.sqrt(
        FOUR_PI_K * 4.4**2 / 22.0 / abs(np.linalg.det(cell)) * (1 / 52 + 1 / 14)
    ) * THZ  # fmt: skip
    for method in ("gonze", "wang"):
        set_polar(phonopy, {"Cr": 4.4, "N": -4.4}, 22.0, method)
        for direction in ([1, 0, 0], [1, 1, 0.3]):
            found = _phonons(phonopy).frequencies([[0, 0, 0]], direction)[0]
            assert found[-1] == pytest.approx(expected, rel=1e-4)
            assert np.abs(found[:-1]).max() < 2e-2
    with pytest.raises(ValueError, match="must cancel"):
        set_polar(phonopy, {"Cr": 4.4, "N": 4.4}, 22.0)
    with pytest.raises(ValueError, match="one for each species"):
        set_polar(phonopy, {"Cr": 4.4}, 22.0)


def test_averages_have_the_symmetry_of_the_crystal() -> None:
    """Against phonopy's plain sum over all operations."""
    from phonopy.harmonic.force_constants import symmetrize_force_constants_by_space_group

    crystal = _crystal(
        ("Cr", "N"), 2.0 * (np.ones((3, 3)) - np.eye(3)), [[0, 0, 0], [0.5] * 3], (52.0, 14.0)
    )
    phonopy = phonopy_of(crystal, np.diag([2, 2, 2]))
    constants = np.random.default_rng(2).normal(size=(16, 16, 3, 3))
    expected = constants.copy()
    symmetrize_force_constants_by_space_group(expected, phonopy.supercell.cell, phonopy.symmetry)
    found = SupercellSymmetry(phonopy).averaged(constants)
    assert found == pytest.approx(expected, abs=1e-12)
    assert SupercellSymmetry(phonopy).averaged(found) == pytest.approx(found, abs=1e-12)


def test_paramagnetic_phonons(iron, primitive) -> None:
    atoms = primitive.copy()
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImaginaryModesWarning)
        found = mmtp.phonons(iron, atoms, 2, states=8, relax=False, seed=1)
    assert found.n_states + found.n_failed == 8
    assert found.n_states >= 2
    assert found.drift < 1e-9
    # Cubic symmetry makes the three modes at H one; a single state has none.
    h = found.frequencies([[0.5, -0.5, 0.5]])[0]
    assert np.ptp(h) < 1e-5
    assert np.all(np.abs(found.magmoms.mean(axis=1)) < 0.7)
    error = found.frequency_errors([[0.5, -0.5, 0.5]])
    of_states = []
    for constants in found.samples:
        single = without_force_constants(found.phonopy)
        single.force_constants = constants
        of_states.append(single.run_qpoints([[0.5, -0.5, 0.5]]).frequencies[0, 0])
    squares = np.array(of_states) ** 2 * np.sign(of_states)
    assert squares.mean() == pytest.approx(h[0] ** 2, rel=1e-6)
    expected = squares.std(ddof=1) / np.sqrt(found.n_states) / (2 * h[0])
    assert error[0] == pytest.approx([expected] * 3, rel=1e-5)


def test_the_paramagnetic_state_goes_where_entropy_grows(iron, primitive) -> None:
    """Maxwell: dV/dT has the sign of dS/dV."""
    atoms = primitive.copy()
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingStatesWarning)
        found = mmtp.quasiharmonic(
            iron, atoms, 2, [0, 100, 200, 300], strains=np.linspace(-0.01, 0.01, 5), relax=False,
            states=8, seed=1, pressure_GPa=2.0, mesh=10.0, allow_imaginary=True,
        )  # fmt: skip
    entropies = [phonons.thermal([300.0], mesh=10.0).entropy[0] for phonons in found.phonons]
    slope = np.polyval(np.polyder(np.polyfit(found.volumes, entropies, 3)), found.volume[-1])
    assert abs(slope) > 0.01
    assert np.all(np.diff(found.volume) * slope > 0)
    assert np.all(found.bulk_modulus > 0)
    assert found.heat_capacity[-1] == pytest.approx(3.0, abs=0.5)
    first = found.phonons[0]
    assert first.n_states + first.n_failed == 8
    assert first.energy_error > 0
    assert "times 0.99" in first.name


def test_what_is_refused(iron, primitive, monkeypatch) -> None:
    with pytest.raises(ValueError, match="method must be one of"):
        mmtp.phonons(iron, primitive, method="frozen")
    with pytest.raises(ValueError, match="a supercell is"):
        mmtp.phonons(iron, primitive, [2, 0, 2], relax=False)
    with pytest.raises(ValueError, match="both Born charges"):
        mmtp.phonons(iron, primitive, 2, relax=False, dielectric=3.0)
    with pytest.raises(TypeError, match="without one"):
        mmtp.phonons(iron, primitive, 2, states=4, force_tolerance=1e-3)
    assert supercell_matrix(None, np.eye(3) * 3.0, 4.2).tolist() == np.diag([3] * 3).tolist()
    molecule = primitive.copy()
    molecule.pbc = False
    with pytest.raises(ValueError, match="periodic in three"):
        mmtp.phonons(iron, molecule, 2, relax=False)
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "phonopy":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match=r"pip install .phonopy>=4. spglib"):
        import_phonopy()


def test_paths_join_special_points() -> None:
    path = default_path(2.0 * (np.ones((3, 3)) - np.eye(3)), points=60, path="GXWKGL,UX")
    assert path.labels == [
        ("G", "X"), ("X", "W"), ("W", "K"), ("K", "G"), ("G", "L"), ("U", "X"),
    ]  # fmt: skip
    assert 50 <= sum(len(segment) for segment in path.segments) <= 70
    assert np.allclose(path.segments[4][-1], 0.5)
    assert crystal_of(bulk("Fe")).symbols == ("Fe",)
