"""LAMMPS with the potential on one, two and four ranks, next to the package itself."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

import mmtp_jax as mmtp
from mmtp_jax.interfaces.lammps.options import BridgeOptions

BAR = 1.0 / 1.6021765e6
"""eV/Angstrom^3, by the constant of LAMMPS."""


@pytest.mark.parametrize("ranks", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("system", ["alloy", "iron"])
def test_energies_forces_and_pressure_are_those_of_evaluate(
    iron_file, folder, run, system, ranks
) -> None:
    """Triclinic cells; types of LAMMPS in another order than the potential's species."""
    found = run("physics", ranks, 40)
    symbols = np.full(54, "Fe")
    if system == "alloy":
        symbols = np.where(np.load(folder / "alloy_types.npy"), "Al", "Fe")
    potential = mmtp.load({"alloy": folder / "alloy.mtp", "iron": iron_file}[system])
    get = lambda name: getattr(found, f"{system}_{name}")  # noqa: E731
    atoms = Atoms(list(symbols), positions=get("positions"), cell=get("cell"), pbc=True)
    atoms.set_initial_magnetic_moments(get("magmoms"))
    expected = mmtp.evaluate(potential, atoms)[0]
    assert get("energy") / len(atoms) == pytest.approx(expected.energy / len(atoms), abs=1e-10)
    assert np.abs(get("forces") - expected.forces).max() < 1e-10
    assert np.abs(get("magnetic_forces") - expected.magnetic_forces).max() < 1e-10
    assert np.abs(get("pressure") * BAR + expected.stress).max() < 1e-10
    assert np.abs(expected.stress).max() > 1e-3


@pytest.mark.parametrize("ranks", [1, 2])
def test_moments_are_those_of_equilibrate(iron_file, folder, run, ranks) -> None:
    found = run("physics", ranks, 40)
    atoms = Atoms("Fe54", positions=found.iron_positions, cell=found.iron_cell, pbc=True)
    atoms.set_initial_magnetic_moments(np.full(54, 2.2))
    expected = mmtp.equilibrate(mmtp.load(iron_file), atoms, tolerance=1e-8)
    assert expected.converged
    assert np.abs(found.iron_magmoms - expected.magmoms).max() < 1e-6
    assert np.ptp(found.iron_magmoms) > 1e-2
    magmom, mean_size, force, evaluations, grade, unconverged = found.thermo
    assert magmom == pytest.approx(found.iron_magmoms.sum())
    assert mean_size == pytest.approx(np.abs(found.iron_magmoms).mean())
    assert force < 1e-8
    assert evaluations > 1
    assert np.isnan(grade)
    assert unconverged == 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_dynamics_conserve_energy_and_compile_once(folder, run, ranks) -> None:
    """NVE, then NPT of a triclinic cell and NVT, all with the programs of the first step."""
    found = run("physics", ranks, 40)
    assert np.abs(found.nve_energies - found.nve_energies[0]).max() / 54 < 1e-4
    assert list(found.compiled) == [1, 1, 1, 1]
    assert found.searches >= 1
    volumes = [np.linalg.det(c) for c in (found.nve_cell, found.npt_cell)]
    assert volumes[0] != pytest.approx(volumes[1], rel=1e-5)
    assert np.isfinite(found.nvt_energy)
    lines = (folder / f"dump{ranks}").read_text().splitlines()
    dumped = np.array([line.split() for line in lines[-54:]], float)
    assert dumped[:, 0] == pytest.approx(np.arange(1, 55))
    assert np.ptp(dumped[:, 1]) > 1e-2
    assert dumped[:, 1] == pytest.approx(found.npt_magmoms, abs=0.3)


def test_one_and_two_ranks_go_the_same_way(run) -> None:
    one, two = run("physics", 1, 40), run("physics", 2, 40)
    for name, limit in (
        ("nve_positions", 1e-9),
        # Of 1.8e5 eV, so some ten times the spacing of numbers there.
        ("nve_energies", 1e-8),
        ("npt_positions", 1e-9),
        # Moments are equilibrated to 1e-8 eV/mu_B only.
        ("nve_magmoms", 1e-7),
        ("nve_forces", 1e-7),
    ):
        assert np.abs(getattr(one, name) - getattr(two, name)).max() < limit, name


@pytest.mark.slow
def test_500_steps_are_the_same_on_one_and_four_ranks(run) -> None:
    one, four = run("nve", 1, 500), run("nve", 4, 500)
    assert np.abs(one.nve_positions - four.nve_positions).max() < 1e-9
    assert np.abs(one.nve_magmoms - four.nve_magmoms).max() < 1e-8
    assert one.etotal / 54 == pytest.approx(four.etotal / 54, abs=1e-9)


@pytest.mark.slow
def test_volumes_at_constant_pressure_are_those_of_md(iron_file, folder, run) -> None:
    """Nose-Hoover in LAMMPS, Langevin and stochastic cell rescaling here: means within errors."""
    steps = 5000
    volumes = run("npt", 2, steps).volumes
    atoms = read(folder / "iron.data", format="lammps-data", atom_style="atomic")
    atoms.symbols[:] = "Fe"
    atoms.set_initial_magnetic_moments(np.full(len(atoms), 2.2))
    found = mmtp.md(
        mmtp.load(iron_file), atoms, steps + steps // 5, ensemble="npt", temperature_K=300.0,
        barostat_time_fs=500.0, seed=3,
    )  # fmt: skip
    own = found.series.volume[steps // 5 :, 0]
    means, errors = zip(*(_mean_and_error(np.ravel(v)) for v in (volumes, own)), strict=True)
    assert found.completed, found.message
    assert max(errors) < 3e-3 * means[0]
    assert abs(means[0] - means[1]) < 4.0 * np.hypot(*errors), (means, errors)


def test_minimise_and_box_relax_end_where_relax_does(iron_file, run) -> None:
    found = run("minimise", 1)
    iron = mmtp.load(iron_file)
    for prefix, cell in (("minimised", False), ("relaxed", True)):
        atoms = Atoms(
            "Fe16",
            positions=getattr(found, f"{prefix}_positions"),
            cell=getattr(found, f"{prefix}_cell"),
            pbc=True,
        )
        atoms.set_initial_magnetic_moments(getattr(found, f"{prefix}_magmoms"))
        # From LAMMPS's minimum there is nowhere to go.
        expected = mmtp.relax(
            iron, atoms, cell=cell, force_tolerance=1e-4, stress_tolerance_GPa=1e-3,
            magnetic_tolerance=1e-6,
        )  # fmt: skip
        assert expected.converged, expected.message
        energy = getattr(found, f"{prefix}_energy")
        assert energy / 16 == pytest.approx(expected.energy / 16, abs=1e-6)
        assert atoms.get_volume() == pytest.approx(expected.volume, rel=1e-4)
        assert np.abs(getattr(found, f"{prefix}_forces")).max() < 1e-3
    assert found.minimised_energy - found.relaxed_energy > 1e-3


@pytest.mark.parametrize("mode", ["neighborhood", "configuration"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_both_thresholds_are_honoured(iron_file, folder, run, mode, ranks) -> None:
    found = run("grades", ranks)
    get = lambda name: getattr(found, f"{mode}_{name}")  # noqa: E731
    active = mmtp.ActiveSet.load(folder / f"{mode}.npz", mmtp.load(iron_file))
    atoms_list = []
    for positions in get("positions"):
        atoms = Atoms("Fe16", positions=positions, cell=get("cell"), pbc=True)
        atoms.set_initial_magnetic_moments(np.full(16, 2.2))
        atoms_list.append(atoms)
    assert list(get("steps")) == [0, 4, 8, 12]
    assert get("kept") == 4
    expected = active.grade(atoms_list)
    assert get("grades") == pytest.approx(expected, rel=1e-6)
    assert get("thermo") == pytest.approx(expected[-1], rel=1e-6)
    of_atoms = np.full(16, expected[-1])
    if mode == "neighborhood":
        of_atoms = active.atom_grades(atoms_list[-1:])[0]
    assert get("of_atoms") == pytest.approx(of_atoms, rel=1e-6)

    # The second run stopped in its first part, and the second part did nothing.
    assert "the extrapolation grade" in str(get("stopped"))
    assert f"stopped at step {get('stopped_at')}:" in str(get("stopped"))
    assert get("stopped_at") < 200
    store = mmtp.CandidateStore(folder / f"{mode}external{ranks}").read()
    kept = np.array([candidate.grade for candidate in store])
    assert kept[-1] > get("high")
    assert np.all(kept[:-1] <= get("high"))
    assert np.all(kept >= get("high") / 2)


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_exception_stops_all_ranks_with_its_message(run, ranks) -> None:
    found = run("failures", ranks)
    assert found.one[-1] == "OSError: the disk is full"
    for message in found.one[:-1]:
        assert message == f"RankError: rank {ranks - 1} failed: OSError: the disk is full"
    assert found.one_at <= 4
    assert found.resumed_at == found.one_at + 2
    assert all(message is not None for message in found.all)


def test_a_rank_may_have_no_atoms_and_bad_sessions_are_refused(iron_file, run) -> None:
    found = run("vacuum", 2)
    assert sorted(found.n_own) == [0, 36]
    atoms = Atoms("Fe36", positions=found.slab_positions, cell=found.slab_cell, pbc=True)
    atoms.set_initial_magnetic_moments(found.slab_magmoms)
    expected = mmtp.evaluate(mmtp.load(iron_file), atoms)[0]
    assert found.slab_energy / 36 == pytest.approx(expected.energy / 36, abs=1e-10)
    assert np.abs(found.slab_forces - expected.forces).max() < 1e-10
    messages = (
        "units metal", "atom_style spin gives atoms vectors", "not for Al",
        "1 atom types, but 2 species", "no magnetic moments to start", "no moment for Fe",
        "one finite moment", "reset_atoms id",
    )  # fmt: skip
    for text, message in zip(found.refused, messages, strict=True):
        assert message in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"moments": "free"}, "moments must be one of"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"moments_every": 0}, "moments_every must be at least 1"),
    ],
)
def test_options_are_checked(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        BridgeOptions(**options)


def _mean_and_error(values: np.ndarray, n_blocks: int = 10) -> tuple[float, float]:
    """Mean of a correlated series, and its standard error from the means of blocks."""
    blocks = [block.mean() for block in np.array_split(values, n_blocks)]
    return float(np.mean(blocks)), float(np.std(blocks, ddof=1) / np.sqrt(n_blocks))
