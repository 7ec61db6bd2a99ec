"""Preselection: what is kept, what stops, and that nothing is lost or compiled again."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.active.candidates import CandidateStore, candidates_of, last_outside
from mmtp_jax.active.options import Thresholds
from mmtp_jax.active.preselection import Preselection
from mmtp_jax.io.convert import to_structures
from mmtp_jax.simulation.dynamics.integrate import Outcome
from mmtp_jax.simulation.dynamics.loop import take_steps
from mmtp_jax.simulation.dynamics.molecular_dynamics import simulate
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import equilibrate_structures
from mmtp_jax.simulation.moments.watched import equilibrate_watched
from mmtp_jax.simulation.system import system_of, thermal_velocities
from mmtp_jax.simulation.watch import drained

FIXED = DynamicsOptions(moments="fixed", timestep_fs=3.0, chunk_steps=64, bounded=False)
FOLLOWED = replace(FIXED, moments="equilibrate", tolerance=1e-5)


@pytest.fixture(scope="module")
def data(iron):
    """Two-atom cells of the shipped data."""
    atoms_list = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    return to_structures([a for a in atoms_list if len(a) == 2], iron.species)


@pytest.fixture(scope="module", params=["configuration", "neighborhood"])
def active(iron, data, request) -> ActiveSet:
    return ActiveSet.from_configurations(iron, data[::3], mode=request.param)


@pytest.fixture(scope="module")
def by_configuration(iron, data) -> ActiveSet:
    return ActiveSet.from_configurations(iron, data[::3])


@pytest.fixture(scope="module")
def system(data):
    """A cold and a hot crystal of two atoms."""
    start = [replace(data[0], positions=data[0].positions + 0.01 * k) for k in range(2)]
    cell = system_of(start, np.full(2, 55.845))
    warm = thermal_velocities(cell, np.array([50.0, 2500.0]), [1, 2])
    return cell._replace(velocities=warm)


def everything(kept):
    return [c for block in kept for c in candidates_of(block)]


def test_grades_are_those_of_the_active_set(iron, active, system) -> None:
    watch = Preselection.of(active, Thresholds(1e-9, 1e9))
    run = simulate(iron, system, 20, FIXED, watch=watch)
    kept = everything(run.kept)
    assert len(kept) == 2 * 21
    grades = [c.grade for c in kept]
    np.testing.assert_allclose(grades, active.grade([c.structure for c in kept]), rtol=1e-8)
    assert watch.tally.highest == pytest.approx(max(grades))
    assert watch.tally.n_kept == 42
    assert sorted((c.step, c.replica) for c in kept) == [(s, r) for s in range(21) for r in (0, 1)]
    # The hot one is where the simulation says it is.
    last = next(c for c in kept if (c.step, c.replica) == (20, 1))
    np.testing.assert_allclose(last.structure.positions, run.system.positions[1], atol=1e-12)


def test_below_between_and_above(iron, by_configuration, system) -> None:
    free = simulate(
        iron, system, 60, FIXED, watch=Preselection.of(by_configuration, Thresholds(1e-9, 1e9))
    )
    grades = np.full((61, 2), np.nan)
    for c in everything(free.kept):
        grades[c.step, c.replica] = c.grade
    assert grades[:, 0].max() < 0.5 * grades[:, 1].max()
    low, high = 1.05 * grades[:, 0].max(), 0.7 * grades[:, 1].max()
    watch = Preselection.of(by_configuration, Thresholds(low, high))
    run = simulate(iron, system, 60, FIXED, watch=watch)
    stop = int(np.argmax(grades[:, 1] > high))
    assert run.outcomes == (Outcome.RUNNING, Outcome.WATCH)
    assert run.stopped_at.tolist() == [-1, stop]
    kept = everything(run.kept)
    expected = [s for s in range(stop + 1) if grades[s, 1] >= low]
    assert len(expected) > 2
    assert [c.step for c in kept] == expected
    assert {c.replica for c in kept} == {1}
    assert kept[-1].grade > high >= max(c.grade for c in kept[:-1])
    # A cold crystal alone meets nothing.
    assert watch.tally.highest == pytest.approx(grades[: stop + 1, 1].max())


def test_nothing_is_lost_with_a_tiny_buffer(iron, by_configuration, system, tmp_path) -> None:
    thresholds = Thresholds(1e-9, 1e9)
    whole = simulate(
        iron, system, 30, FOLLOWED, watch=Preselection.of(by_configuration, thresholds)
    )
    expected = everything(whole.kept)
    assert len(expected) > 70, "iterates of the equilibration are kept as well"
    store = CandidateStore(tmp_path / "md")
    watch = Preselection.of(by_configuration, thresholds, store=store, grade_capacity=20)
    run = simulate(iron, system, 30, FOLLOWED, watch=watch)
    assert run.kept == ()
    assert len(store.files) > 2
    found = CandidateStore(tmp_path / "md").read()
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.step, one.replica) == (other.step, other.replica)
        assert one.grade == pytest.approx(other.grade, rel=1e-6)
        np.testing.assert_allclose(one.structure.magmoms, other.structure.magmoms, atol=1e-8)
    # No configuration is kept twice while its neighbours in the batch go on.
    seen = {
        (c.replica, c.structure.positions.tobytes(), c.structure.magmoms.tobytes()) for c in found
    }
    assert len(seen) == len(found)
    assert watch.tally.n_kept == len(found)


def test_a_buffer_without_room_for_one_step_is_an_error(iron, by_configuration, system) -> None:
    watch = Preselection.of(by_configuration, Thresholds(1e-9, 1e9), grade_capacity=1)
    with pytest.raises(ValueError, match="larger buffer"):
        simulate(iron, system, 5, FOLLOWED, watch=watch)


def test_thinning_keeps_one_in_so_many_steps_and_the_stop(iron, by_configuration, system) -> None:
    watch = Preselection.of(by_configuration, Thresholds(1e-9, 1e9), grade_every=7)
    run = simulate(iron, system, 30, FIXED, watch=watch)
    kept = [c.step for c in everything(run.kept) if c.replica == 0]
    assert kept == [0, 7, 14, 21, 28]
    highest = watch.tally.highest
    watch = Preselection.of(by_configuration, Thresholds(1e-9, 0.8 * highest), grade_every=1000)
    run = simulate(iron, system, 60, FIXED, watch=watch)
    steps = [c.step for c in everything(run.kept) if c.replica == 1]
    assert steps == [0, run.stopped_at[1]]


def test_what_leaves_the_intervals_is_kept_if_asked(iron, data, system) -> None:
    narrow = iron.replace(min_dist=np.float64(2.38))
    active = ActiveSet.from_configurations(narrow, data[:5])
    bounded = replace(FIXED, bounded=True)
    for asked in (False, True):
        watch = Preselection.of(active, Thresholds(1e8, 1e9), keep_outside=asked)
        run = simulate(narrow, system, 60, bounded, watch=watch)
        kept = everything(run.kept)
        assert run.outcomes[1] == Outcome.TOO_CLOSE
        assert [(c.replica, c.step) for c in kept if c.replica == 1] == (
            [(1, run.stopped_at[1])] if asked else []
        )
        assert all(c.outside for c in kept)
        assert watch.tally.n_outside == len(kept)
        assert sorted(kept[k].replica for k in last_outside(kept)) == sorted(
            {c.replica for c in kept}
        )


def test_equilibration_is_watched(iron, by_configuration, data, tmp_path) -> None:
    start = [replace(s, magmoms=1.3 * s.magmoms) for s in data[1::30]]
    start.insert(1, _four_atoms(data[5]))
    options = MomentOptions(tolerance=1e-6)
    store = CandidateStore(tmp_path / "equilibration")
    watch = Preselection.of(by_configuration, Thresholds(1e-9, 1e9), store=store)
    found = equilibrate_structures(iron, start, options, watch=watch)
    kept = store.read()
    direct = equilibrate_structures(iron, start, options)
    for k, (structure, result) in enumerate(zip(start, found, strict=True)):
        own = [c for c in kept if c.replica == k]
        assert len(own) > 2
        np.testing.assert_allclose(own[0].structure.positions, structure.positions)
        np.testing.assert_allclose(own[-1].structure.magmoms, result.magmoms, atol=1e-12)
        np.testing.assert_allclose(result.magmoms, direct[k].magmoms, atol=1e-5)
        assert result.status == direct[k].status
        assert not result.stopped
    np.testing.assert_allclose(
        [c.grade for c in kept], by_configuration.grade([c.structure for c in kept]), rtol=1e-8
    )
    # With a threshold in between, what meets it stops, and is kept that once.
    first = [next(c for c in kept if c.replica == k).grade for k in range(len(start))]
    threshold = float(np.median(first))
    watch = Preselection.of(by_configuration, Thresholds(0.999 * threshold, threshold))
    blocks = []
    found = equilibrate_structures(iron, start, options, watch=watch, keep=blocks.extend)
    stopped = [k for k, grade in enumerate(first) if grade > threshold]
    assert stopped
    assert all(found[k].stopped for k in stopped)
    again = everything(blocks)
    for k in stopped:
        assert [c.grade for c in again if c.replica == k] == pytest.approx([first[k]])


def _four_atoms(structure):
    shift = structure.cell[2]
    return replace(
        structure,
        cell=structure.cell * np.array([[1.0], [1.0], [2.0]]),
        positions=np.concatenate([structure.positions, structure.positions + shift]),
        types=np.tile(structure.types, 2),
        magmoms=np.tile(structure.magmoms, 2),
    )


def test_numbers_that_were_given_before_do_not_count(by_configuration, system) -> None:
    """The buffer is not erased when it is drained: relaxations give their numbers every time."""
    watch = Preselection.of(by_configuration)
    state = {**watch.start(system), "n": np.int32(1)}
    for _ in range(2):
        state["replica"] = np.append(1, state["replica"][1:])
        (block,), state = drained(watch, state, (40, 60))
        assert block.replica.tolist() == [60]
        state["n"] = np.int32(1)


def test_an_equilibration_that_all_leave_ends(iron, by_configuration, data) -> None:
    start = [replace(s, magmoms=1.3 * s.magmoms) for s in data[1::30]]
    watch = Preselection.of(by_configuration, Thresholds(1e-12, 1e-9))
    found = equilibrate_structures(iron, start, MomentOptions(tolerance=1e-6), watch=watch)
    assert {(f.status, f.n_steps) for f in found} == {(Status.STOPPED, 1)}


def test_nothing_is_compiled_again_in_a_loop(iron, data, system) -> None:
    sizes = []
    for k in range(3):
        potential = iron.replace(moment_coeffs=iron.moment_coeffs * (1 + 1e-3 * k))
        active = ActiveSet.from_configurations(potential, data[k::4])
        watch = Preselection.of(active, Thresholds(2.0 + k, 10.0 + k), grade_every=k or None)
        simulate(potential, system, 5, FIXED, watch=watch)
        equilibrate_structures(
            potential, data[:3], watch=Preselection.of(active, Thresholds(1.5, 10.0))
        )
        sizes.append((take_steps._cache_size(), equilibrate_watched._cache_size()))
    assert sizes[0] == sizes[1] == sizes[2]


def test_a_store_survives_a_crash(tmp_path, iron, by_configuration, system) -> None:
    store = CandidateStore(tmp_path)
    watch = Preselection.of(by_configuration, Thresholds(1e-9, 1e9), store=store)
    simulate(iron, system, 3, FIXED, watch=watch)
    before = store.read()
    # What a killed writer leaves is not read.
    (tmp_path / ".tmp-1234-candidates-000002.npz").write_bytes(b"half")
    assert len(store.read()) == len(before) == 8
    cells = [data_atoms(system, r) for r in range(2)]
    options = {"moments": "fixed", "timestep_fs": 3.0, "chunk_steps": 64, "bounded": False}
    mmtp.md(iron, cells, 3, watch=watch, **options)
    assert len(store.read()) == 16
    assert [path.name for path in store.files] == ["candidates-000001.npz", "candidates-000002.npz"]
    (tmp_path / "candidates-000003.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"candidates-000003.npz is no file of candidates"):
        store.read()
    store.clear()
    assert store.read() == []


def data_atoms(system, r) -> Atoms:
    return Atoms(
        "Fe2", positions=system.positions[r], cell=system.cell[r], pbc=True,
        magmoms=system.magmoms[r],
    )  # fmt: skip


def test_an_active_set_of_another_potential_is_refused(iron, by_configuration, data) -> None:
    other = iron.replace(moment_coeffs=1.01 * iron.moment_coeffs)
    with pytest.raises(ValueError, match="active set of another potential"):
        equilibrate_structures(other, data[:3], watch=Preselection.of(by_configuration))
    atoms = Atoms("Fe2", positions=data[0].positions, cell=data[0].cell, pbc=True, magmoms=[2, 2])
    with pytest.raises(ValueError, match="active set of another potential"):
        mmtp.md(other, atoms, 2, watch=Preselection.of(by_configuration))


@pytest.mark.parametrize(("low", "high"), [(2.0, 2.0), (0.0, 1.0), (3.0, 2.0), (1.0, np.inf)])
def test_thresholds_are_checked(low, high) -> None:
    with pytest.raises(ValueError, match=r"must be (below grade_br|positive)"):
        Thresholds(low, high)


def test_settings_are_checked(by_configuration) -> None:
    for name in ("grade_every", "grade_capacity"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1"):
            Preselection.of(by_configuration, **{name: 0})


def test_vectors_are_graded_kept_and_stored(iron, data, tmp_path) -> None:
    """By the rows of vectors, in dynamics and at the iterates of an equilibration."""
    near = np.array([0.3, 0.1, 0.9]) + np.array([[0.0, 0.1, 0.0], [0.2, 0.0, 0.0]])
    canted = [
        replace(s, magmoms=np.abs(s.magmoms)[:, None] * near, magnetic_forces=None) for s in data
    ]
    active = ActiveSet.from_configurations(iron, canted[::3])
    store = CandidateStore(tmp_path / "md")
    watch = Preselection.of(active, Thresholds(1e-9, 1e9), store=store)
    system = system_of(canted[:1], np.full(2, 55.845))
    system = system._replace(velocities=thermal_velocities(system, np.array([300.0]), [1]))
    run = simulate(iron, system, 4, replace(FOLLOWED, directions="fixed"), watch=watch)
    assert run.completed
    kept = store.read()
    assert len(kept) > 5
    structures = [c.structure for c in kept]
    assert structures[-1].magmoms.shape == (2, 3)
    np.testing.assert_array_equal(structures[-1].magmoms, run.system.magmoms[0])
    np.testing.assert_allclose([c.grade for c in kept], active.grade(structures), rtol=1e-8)
    # Among collinear configurations, which are apart, both are graded as alone.
    both = [structures[0], data[0], structures[-1]]
    alone = [active.grade([s])[0] for s in both]
    np.testing.assert_allclose(active.grade(both), alone, rtol=1e-9)
    watch = Preselection.of(active, Thresholds(1e-9, 1e9))
    blocks: list = []
    found = equilibrate_structures(
        iron, [canted[0], data[0]], MomentOptions(1e-5), watch=watch, keep=blocks.extend
    )
    assert {s.magmoms.ndim for s in (c.structure for c in everything(blocks))} == {1, 2}
    assert [f.magmoms.ndim for f in found] == [2, 1]
