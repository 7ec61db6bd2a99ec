"""Exported programs say what `evaluate` says, for any numbers of atoms and neighbours."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.interfaces import export
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.interfaces.export import export_potential, load_exported, save_exported
from mmtp_jax.io.store import read_store, write_store
from mmtp_jax.structures.neighbours import neighbour_table

pytest.importorskip("flatbuffers", reason="jax.export writes with it: pip install flatbuffers")


@pytest.fixture(scope="module")
def potential():
    return mmtp.Potential.new(
        level=4, species=("Fe", "Al"), radial_size=4, cutoff=4.2, max_magmom=(3.0, 2.0), seed=3
    ).replace(species_coeffs=np.array([-2346.0, 5.0]))


@pytest.fixture(scope="module")
def exported(potential, tmp_path_factory):
    """Written to a file and read back."""
    path = tmp_path_factory.mktemp("export") / "potential.npz"
    save_exported(path, export_potential(potential))
    return load_exported(path)


def arguments(structure, cutoff):
    table = neighbour_table(structure, cutoff)
    free = table.index < 0
    neighbours = np.where(free, np.arange(len(structure))[:, None], table.index).astype(np.int32)
    return structure.types, structure.magmoms, table.vectors, neighbours


def test_it_is_for_cpu_and_gpu_and_knows_its_species(exported, potential) -> None:
    assert set(exported.program.platforms) == {"cpu", "cuda"}
    assert exported.species == ("Fe", "Al")
    assert exported.cutoff == pytest.approx(4.2)
    assert [len(a.shape) for a in exported.program.in_avals] == [1, 1, 3, 2, 2]
    assert not any(isinstance(size, int) for size in exported.program.in_avals[3].shape)


@pytest.mark.parametrize("n_atoms", [3, 8])
def test_it_agrees_with_evaluate(exported, potential, random_structure, n_atoms) -> None:
    structure = random_structure(4, n_atoms)
    found = jax.device_get(exported(*arguments(structure, exported.cutoff)))
    expected = evaluate_structures(potential, [structure])[0]
    assert found.energies == pytest.approx(expected.energies, abs=1e-10)
    assert np.abs(found.forces - expected.forces).max() < 1e-12
    assert np.abs(found.magnetic_forces - expected.magnetic_forces).max() < 1e-12
    xx, yy, zz, yz, xz, xy = expected.stress * structure.volume
    assert found.strain_derivative == pytest.approx(
        np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), abs=1e-12
    )
    assert np.abs(expected.forces).max() > 1e-3


def domains_add_up(exported, random_structure) -> None:
    """Two domains with the other's atoms as ghosts give the whole."""
    structure = random_structure(5, 8)
    types, magmoms, vectors, neighbours = arguments(structure, exported.cutoff)
    whole = jax.device_get(exported(types, magmoms, vectors, neighbours))
    forces, energies = np.zeros((8, 3)), np.zeros(8)
    for order in (np.arange(8), np.roll(np.arange(8), -5)):
        n_own = 5 if order[0] == 0 else 3
        place = np.argsort(order)
        part = exported(
            types[order],
            magmoms[order],
            vectors[order[:n_own]],
            place[neighbours[order[:n_own]]].astype(np.int32),
        )
        forces[order] += part.forces
        energies[order[:n_own]] += part.energies
    assert np.abs(forces - whole.forces).max() < 1e-12
    assert np.abs(energies - whole.energies).max() < 1e-10


def test_domains_add_up(exported, random_structure) -> None:
    domains_add_up(exported, random_structure)


@pytest.mark.usefixtures("gpu_path")
def test_gpus_gather_forces(exported, potential, random_structure, monkeypatch) -> None:
    monkeypatch.setattr(export, "adds_by_gathering", lambda: True)
    there = export_potential(potential, platforms=("cpu",))
    domains_add_up(there, random_structure)
    given = arguments(random_structure(4, 8), exported.cutoff)
    found, expected = there(*given), exported(*given)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12, rtol=1e-12)
    # Pairs that are not named count for the atom whose row they are in, and for no other.
    without = there(*given, incoming=np.full((8, 1), -1, np.int32))
    assert np.abs(without.forces - expected.forces).max() > 1e-3


def test_float32(potential, random_structure) -> None:
    structure = random_structure(4, 3)
    program = export_potential(potential, platforms=("cpu",), dtype=np.float32)
    types, magmoms, vectors, neighbours = arguments(structure, program.cutoff)
    found = program(types, np.float32(magmoms), np.float32(vectors), neighbours)
    assert found.forces.dtype == np.float32
    expected = evaluate_structures(potential, [structure])[0]
    assert np.asarray(found.forces) == pytest.approx(expected.forces, abs=1e-3)
    with pytest.raises(ValueError, match="one type"):
        export_potential(potential, dtype="mixed")


def test_other_files_are_refused(tmp_path) -> None:
    np.savez(tmp_path / "other.npz", theta=np.zeros(2))
    with pytest.raises(ValueError, match=r"other\.npz is no exported potential"):
        load_exported(tmp_path / "other.npz")


def test_damaged_files_are_refused(tmp_path, exported) -> None:
    path = tmp_path / "pot.npz"
    save_exported(path, exported)
    whole = path.read_bytes()
    header, arrays = read_store(path, "", "")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"pot\.npz is no exported potential .*; export"):
        load_exported(path)
    program = {"program": arrays["program"][:-100]}
    for changes, content in (
        ({}, program), ({"cutoff": -1.0}, arrays), ({"cutoff": "far"}, arrays),
        ({"species": "Fe"}, arrays), ({"version": "1"}, arrays), ({}, {}),
    ):  # fmt: skip
        write_store(path, header | changes, content)
        with pytest.raises(ValueError, match=r"pot\.npz is no exported potential"):
            load_exported(path)
    write_store(path, header | {"version": 1}, arrays)
    with pytest.raises(ValueError, match="another version"):
        load_exported(path)
    # As versions without the table of the arrays wrote it.
    np.savez(path, header=np.array(json.dumps(header)), **arrays)
    assert load_exported(path).species == exported.species


def test_a_program_of_vectors_agrees_with_evaluate(potential, random_structure, tmp_path) -> None:
    structure = random_structure(4, 5)
    given = np.random.default_rng(4).normal(size=(5, 3))
    structure = replace(structure, magmoms=given)
    save_exported(tmp_path / "vectors.npz", export_potential(potential, vectors=True))
    exported = load_exported(tmp_path / "vectors.npz")
    found = jax.device_get(exported(*arguments(structure, exported.cutoff)))
    (expected,) = evaluate_structures(potential, [structure])
    assert found.energies == pytest.approx(expected.energies, abs=1e-10)
    assert np.abs(found.forces - expected.forces).max() < 1e-12
    assert found.magnetic_forces.shape == (5, 3)
    assert np.abs(found.magnetic_forces - expected.magnetic_forces).max() < 1e-12
    types, _, *rest = arguments(structure, exported.cutoff)
    with pytest.raises(ValueError, match=r"takes vectors \(M, 3\), got 5 numbers"):
        exported(types, given[:, 0], *rest)
