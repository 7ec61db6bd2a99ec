"""The route of ``pair_style mliap unified``, next to ``fix external`` and the package itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.interfaces.lammps.mliap import Unified, missing
from mmtp_jax.interfaces.lammps.options import BridgeOptions
from mmtp_jax.interfaces.lammps.pairs import PairBuffers, evaluate_pairs
from mmtp_jax.interfaces.lammps.rows import Sizes

BAR = 1.0 / 1.6021765e6
"""eV/Angstrom^3, by the constant of LAMMPS."""
VOIGT = (0, 1, 2, 5, 4, 3)
"""Of LAMMPS's per-atom stress (xx, yy, zz, xy, xz, yz) in the order of ASE."""
STEPS = 100


@pytest.fixture(scope="module")
def lacking(run) -> str:
    """What the LAMMPS here lacks for the route; empty if nothing."""
    return str(run("able", 1, route="mliap").missing)


@pytest.fixture(scope="module")
def run_mliap(run, lacking):
    """As ``run``, on this route."""
    if lacking:
        pytest.skip(f"no pair_style mliap unified: {lacking}")
    return lambda task, ranks, steps=0: run(task, ranks, steps, "mliap")


def _check(found: SimpleNamespace, prefix: str, potential: mmtp.Potential, symbols: Any) -> Any:
    """Assert that a state is what the package makes of its positions and moments."""
    get = lambda name: getattr(found, f"{prefix}_{name}")  # noqa: E731
    atoms = Atoms(list(symbols), positions=get("positions"), cell=get("cell"), pbc=True)
    atoms.set_initial_magnetic_moments(get("magmoms"))
    expected = mmtp.evaluate(potential, atoms)[0]
    assert get("energy") / len(atoms) == pytest.approx(expected.energy / len(atoms), abs=1e-10)
    assert np.abs(get("forces") - expected.forces).max() < 1e-10
    assert np.abs(get("magnetic_forces") - expected.magnetic_forces).max() < 1e-10
    return expected


@pytest.mark.parametrize("ranks", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_energies_forces_and_pressure_are_those_of_evaluate(
    iron_file, folder, run_mliap, ranks
) -> None:
    """Triclinic cells; types of LAMMPS in another order than the potential's species."""
    found = run_mliap("routes", ranks, STEPS)
    symbols = np.where(np.load(folder / "alloy_types.npy"), "Al", "Fe")
    expected = _check(found, "alloy", mmtp.load(folder / "alloy.mtp"), symbols)
    assert np.abs(found.alloy_pressure * BAR + expected.stress).max() < 1e-10
    assert np.abs(expected.stress).max() > 1e-3
    assert np.abs(found.alloy_e[:, 0] - expected.energies).max() < 1e-10
    total = found.alloy_s.sum(axis=0)[list(VOIGT)] / np.linalg.det(found.alloy_cell)
    assert np.abs(total * BAR - expected.stress).max() < 1e-10

    expected = _check(found, "mliap_iron", mmtp.load(iron_file), ["Fe"] * 54)
    assert np.abs(found.mliap_iron_pressure * BAR + expected.stress).max() < 1e-10
    # Own atoms have moved through faces and between ranks.
    _check(found, "mliap_npt", mmtp.load(iron_file), ["Fe"] * 54)


@pytest.mark.parametrize("ranks", [1, 2])
def test_moments_are_those_of_equilibrate(iron_file, run_mliap, ranks) -> None:
    found = run_mliap("routes", ranks, STEPS)
    atoms = Atoms("Fe54", found.mliap_iron_positions, cell=found.mliap_iron_cell, pbc=True)
    atoms.set_initial_magnetic_moments(np.full(54, 2.2))
    expected = mmtp.equilibrate(mmtp.load(iron_file), atoms, tolerance=1e-8)
    assert expected.converged
    assert np.abs(found.mliap_iron_magmoms - expected.magmoms).max() < 1e-6
    assert np.ptp(found.mliap_iron_magmoms) > 1e-2
    magmom, mean_size, force, evaluations, _, unconverged = found.mliap_thermo
    assert magmom == pytest.approx(found.mliap_npt_magmoms.sum())
    assert mean_size == pytest.approx(np.abs(found.mliap_npt_magmoms).mean())
    assert force < 1e-10
    assert evaluations > 1
    assert unconverged == 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_dynamics_are_those_of_fix_external_and_compile_once(run_mliap, ranks) -> None:
    found = run_mliap("routes", ranks, STEPS)
    for name, limit in (("positions", 1e-9), ("magmoms", 1e-8), ("forces", 1e-8)):
        for part in ("nve", "npt"):
            one, other = (getattr(found, f"{r}_{part}_{name}") for r in ("external", "mliap"))
            assert np.abs(one - other).max() < limit, (name, part)
    assert np.abs(found.mliap_nve_positions - found.mliap_iron_positions).max() > 0.05
    assert found.mliap_etotal / 54 == pytest.approx(found.external_etotal / 54, abs=1e-9)
    volumes = [np.linalg.det(c) for c in (found.mliap_iron_cell, found.mliap_npt_cell)]
    assert volumes[0] != pytest.approx(volumes[1], rel=1e-5)
    # What the first step compiled is all that a run needs.
    assert not found.mliap_compiled.any()


def test_one_and_two_ranks_go_the_same_way(run_mliap) -> None:
    one, two = run_mliap("routes", 1, STEPS), run_mliap("routes", 2, STEPS)
    assert np.abs(one.mliap_nve_positions - two.mliap_nve_positions).max() < 1e-9
    assert np.abs(one.mliap_nve_magmoms - two.mliap_nve_magmoms).max() < 1e-8


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_exception_stops_all_ranks_with_its_message(run_mliap, ranks) -> None:
    found = run_mliap("failures", ranks)
    assert found.one[-1] == "OSError: the disk is full"
    for message in found.one[:-1]:
        assert message == f"RankError: rank {ranks - 1} failed: OSError: the disk is full"
    assert found.one_at <= 4
    assert found.resumed_at == found.one_at + 2
    # One atom has left the box for good.
    assert all(message.startswith("ValueError: LAMMPS has 15 atoms") for message in found.all)


def test_a_rank_may_have_no_atoms(iron_file, run_mliap) -> None:
    found = run_mliap("vacuum", 2)
    assert sorted(found.n_own) == [0, 36]
    _check(found, "slab", mmtp.load(iron_file), ["Fe"] * 36)


def test_both_thresholds_are_honoured(iron_file, folder, run_mliap) -> None:
    found = run_mliap("grades", 2)
    for mode in ("neighborhood", "configuration"):
        get = lambda name, mode=mode: getattr(found, f"{mode}_{name}")  # noqa: E731
        active = mmtp.ActiveSet.load(folder / f"{mode}.npz", mmtp.load(iron_file))
        atoms_list = []
        for positions in get("positions"):
            atoms = Atoms("Fe16", positions=positions, cell=get("cell"), pbc=True)
            atoms.set_initial_magnetic_moments(np.full(16, 2.2))
            atoms_list.append(atoms)
        assert get("grades") == pytest.approx(active.grade(atoms_list), rel=1e-6)
        assert "the extrapolation grade" in str(get("stopped"))
        assert get("stopped_at") < 200
        store = mmtp.CandidateStore(folder / f"{mode}mliap2").read()
        assert [c.grade > get("high") for c in store] == [False] * (len(store) - 1) + [True]


def test_minimise_and_box_relax_end_where_they_do_with_fix_external(run, run_mliap) -> None:
    found, other = run_mliap("minimise", 1), run("minimise", 1)
    for prefix in ("minimised", "relaxed"):
        energies = [getattr(r, f"{prefix}_energy") / 16 for r in (found, other)]
        assert energies[0] == pytest.approx(energies[1], abs=1e-6)
        assert np.abs(getattr(found, f"{prefix}_forces")).max() < 1e-3
    assert found.minimised_energy - found.relaxed_energy > 1e-3


def test_what_a_lammps_lacks_is_said(run, lacking) -> None:
    """A LAMMPS that cannot do it refuses the route, as one without the packages does."""
    if lacking:
        message = str(run("refusal", 1, route="mliap").message)
        assert lacking in message
        assert "MLIAP_ENABLE_PYTHON=on" in message
    bare = SimpleNamespace(has_package=lambda name: name == "ML-IAP")
    assert missing(bare) == "this LAMMPS was built without the package PYTHON"
    with pytest.raises(ValueError, match="route must be one of external, mliap"):
        BridgeOptions(route="kokkos")


def test_rows_of_pairs_are_those_of_evaluate() -> None:
    """A list in another order than the atoms, an atom alone, another number of pairs."""
    potential = mmtp.Potential.new(
        level=4, species=("Fe", "Al"), radial_size=4, cutoff=4.2, max_magmom=(3.0, 2.5), seed=1
    )
    rng = np.random.default_rng(5)
    cluster = bulk("Fe", cubic=True, a=2.9).repeat((2, 2, 1)).positions
    buffers = PairBuffers(Sizes(False, None).with_room(11, 0, 0, 9), 9)
    before = evaluate_pairs._cache_size()
    for stretch in (1.0, 1.2):
        positions = np.concatenate([cluster * stretch, [[50.0, 0.0, 0.0]]])
        positions += rng.normal(0.0, 0.05, positions.shape)
        n = len(positions)
        symbols, ids = rng.choice(["Fe", "Al"], n), rng.permutation(n) + 1
        atoms = Atoms(list(symbols), positions=positions)
        atoms.set_initial_magnetic_moments(rng.uniform(-2.0, 2.0, n))
        data, forces = _pairs_of(atoms, rng.permutation(n)), np.zeros((n, 3))
        pairs = buffers.fill(data, ids)
        magmoms = np.zeros(n + 1)
        magmoms[ids] = atoms.get_initial_magnetic_moments()
        values = evaluate_pairs(potential, pairs.rows, magmoms, None)
        of_pairs = buffers.forces_of(pairs, values.vectors)
        np.add.at(forces, data.pair_i, of_pairs)
        np.add.at(forces, data.jatoms, -of_pairs)
        magnetic = np.bincount(pairs.targets, np.ravel(values.neighbour_magmoms), n + 1)
        magnetic[pairs.own_ids] += values.magmoms[:n]
        expected = mmtp.evaluate(potential, atoms)[0]
        assert np.abs(values.sites[:n] - expected.energies[data.iatoms]).max() < 1e-12
        assert np.abs(forces - expected.forces).max() < 1e-12
        assert np.abs(magnetic[ids] + expected.magnetic_forces).max() < 1e-12
        assert np.abs(expected.magnetic_forces).max() > 1e-5
        shortest = np.sqrt(np.min(values.squares))
        assert shortest == pytest.approx(np.linalg.norm(data.rij, axis=1).min())
        # Nothing comes from free places.
        assert np.sum(of_pairs) == pytest.approx(np.sum(values.vectors))
    # The number of pairs is another one, the shapes are not.
    assert evaluate_pairs._cache_size() == before + 1
    data.nlistatoms -= 1
    with pytest.raises(ValueError, match="8 of 9 atoms"):
        buffers.fill(data, ids)


def _pairs_of(atoms: Atoms, order: np.ndarray) -> SimpleNamespace:
    """What LAMMPS gives to the pair style, for an open cluster."""
    n = len(atoms)
    pairs = [
        (i, j)
        for i in order
        for j in range(n)
        if i != j and np.linalg.norm(atoms.positions[j] - atoms.positions[i]) < 4.2
    ]
    i, j = np.array(pairs).T
    return SimpleNamespace(
        nlocal=n,
        nlistatoms=n,
        ntotal=n,
        npairs=len(pairs),
        elems=np.array([("Fe", "Al").index(s) for s in atoms.symbols]),
        iatoms=order,
        numneighs=np.array([np.sum(i == k) for k in order]),
        pair_i=i,
        jatoms=j,
        rij=atoms.positions[j] - atoms.positions[i],
    )


def test_a_bridge_that_is_gone_is_an_error() -> None:
    class Owner:
        def compute(self, data: list) -> None:
            data.append(1)

    owner, seen = Owner(), []
    unified = Unified(("Fe",), 4.0)
    unified.connect(owner.compute)
    unified.compute_forces(seen)
    assert seen == [1]
    assert 2 * unified.rcutfac == 4.0
    del owner
    with pytest.raises(RuntimeError, match="keep what attach"):
        unified.compute_forces(seen)
