"""Settings varied one by one, on a labeller whose errors and derivatives are known formulas."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa

import mmtp_jax as mmtp
from mmtp_jax.io.atoms import bare_atoms, with_results
from mmtp_jax.oracles.choice import different
from mmtp_jax.oracles.convergence import plan_convergence
from mmtp_jax.oracles.oracle import Failure, Labelled, Provenance

WAVE = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
"""Of the energy over scaled positions, for each atom."""


@dataclass(frozen=True)
class Formula:
    """E = 0.5 (V/20 - 1)^3 + sum sin(k s) + sum (m^2 - 4)^2 / 8, and errors by settings."""

    cutoff: float = 10.0
    width: float = 0.2
    kmesh: tuple[int, int, int] | None = None
    kspacing: float = 0.7
    limits: dict[str, float] | None = None
    false_forces: float = 0.0

    in_process: ClassVar[bool] = True
    shift: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)

    @property
    def spacing(self) -> float:
        return self.kspacing

    def grids(self, lengths):
        return {}

    def with_mesh(self, mesh, grids):
        return replace(self, kmesh=tuple(mesh))

    def with_spacing(self, spacing):
        return replace(self, kspacing=spacing)

    def better(self) -> dict[str, dict[str, Any]]:
        return {"cutoff": {"cutoff": 2 * self.cutoff}, "width": {"width": self.width / 2}}

    def varied(self, **settings):
        return replace(self, **settings)

    def fingerprint(self) -> str:
        return json.dumps(asdict(self))

    def making(self) -> dict[str, str]:
        return {"code": "formula"}

    def label(self, atoms: Atoms, folder) -> Labelled | Failure:
        if self.width < 0.06:
            return Failure("the width is too small", final=True)
        cell, volume = atoms.cell.array, atoms.get_volume()
        moments = atoms.get_initial_magnetic_moments()
        phase = (WAVE * atoms.get_scaled_positions(wrap=False)).sum(axis=1)
        x = volume / 20.0 - 1.0
        given = moments.reshape(len(atoms), -1)
        well = (given**2).sum(axis=1, keepdims=True) - 4.0
        energy = 0.5 * x**3 + np.sin(phase).sum() + (well**2).sum() / 8.0
        forces = -(WAVE * np.cos(phase)[:, None]) @ np.linalg.inv(cell).T
        stress = np.array([1.5 * x**2 / 20.0] * 3 + [0.0] * 3)
        magnetic = (-0.5 * given * well).reshape(moments.shape)
        # Errors: of the cutoff by volume and moments, of the width everywhere, of the mesh.
        error = 1.0 / self.cutoff
        energy += error * volume + error * given[0, 0] + 0.01 * self.width
        forces[0, 0] += 0.1 * error
        forces += self.false_forces
        stress[0] += 0.01 * error * cell[2, 2]
        stress[3] += 0.001 / np.prod(self.kmesh)
        magnetic[1] += 0.3 * error
        labelled = with_results(
            bare_atoms(atoms, moments),
            {"energy": energy, "forces": forces, "stress": stress, "magmoms": moments},
            magnetic,
        )
        about = {"n_steps": int(self.cutoff), "cpu_s": 3.0 * self.cutoff}
        provenance = Provenance("formula", "1", about, making=self.making(), kmesh=self.kmesh)
        return Labelled(labelled, provenance)


def cell(a: float, moments, shift: float = 0.0, symbols: str = "Fe2") -> Atoms:
    return Atoms(
        symbols, scaled_positions=[[0.1, 0.2 + shift, 0.0], [0.5, 0.6, 0.55]],
        cell=[[a, 0, 0], [0.2, a, 0], [0, 0.1, a]], pbc=True, magmoms=moments,
    )  # fmt: skip


@pytest.fixture
def cells() -> list[Atoms]:
    return [cell(2.8, [2.0, 1.5]), cell(2.9, [2.0, -1.5], 0.1)]


def test_each_setting_is_told_apart(cells, tmp_path) -> None:
    told = []
    found = mmtp.converge(Formula(), cells, tmp_path / "a", strain=0.05, callback=told.append)
    assert told[-1] == 12
    mesh, cutoff, width = found.changes
    assert (mesh.text, cutoff.text) == ("k-points 4x4x4 -> 5x5x5", "cutoff 10 -> 20")
    assert width.text == "width 0.2 -> 0.1"
    volumes = [atoms.get_volume() for atoms in cells]
    volumes.append(1.05 * volumes[0])
    spread = max(volumes) - min(volumes)
    assert cutoff.energy == pytest.approx(1e3 * 0.05 * spread / 2)
    assert cutoff.largest_force == pytest.approx(1e3 * 0.005)
    assert cutoff.forces == pytest.approx(1e3 * 0.005 / np.sqrt(6))
    assert cutoff.stress == pytest.approx(0.01 * 0.05 * 1.05 * 2.8 / GPa)
    # The first and the last are strains of one state; the second is another state.
    assert cutoff.stress_difference == pytest.approx(0.01 * 0.05 * 0.05 * 2.8 / GPa)
    assert cutoff.largest_magnetic_force == pytest.approx(1e3 * 0.3 * 0.05)
    assert cutoff.magnetic_forces == pytest.approx(1e3 * 0.3 * 0.05 / np.sqrt(2))
    assert mesh.stress == pytest.approx(0.001 * (1 / 64 - 1 / 125) / GPa)
    # What all energies share is no change of their differences.
    for change in (mesh, width):
        assert change.energy == pytest.approx(0.0, abs=1e-9)
        assert change.forces == pytest.approx(0.0, abs=1e-9)
    assert cutoff.beyond(found.bounds) == ["energy"]
    assert not found.converged
    whole = found.together
    assert (whole.energy, whole.forces) == pytest.approx((cutoff.energy, cutoff.forces))
    stresses = [0.01 * 0.05 * 1.05 * 2.8, mesh.stress * GPa]
    assert whole.stress == pytest.approx(max(stresses) / GPa)
    assert [row[-2:] for row in found.rows()] == [
        [30.0, 10.0], [30.0, 10.0], [60.0, 20.0], [30.0, 10.0], [None, None],
    ]  # fmt: skip
    text = str(found)
    assert f"{cutoff.energy:.1f}*" in text
    assert "all of these, if they add up" in text
    assert "needs strains" not in text
    json.dumps(found.as_dict())
    assert [one.name for one in found.cells] == [
        "configuration 1", "configuration 2", "configuration 1, stretched by 5 %",
    ]  # fmt: skip
    axes = mmtp.plot.settings(found).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        mesh.text, cutoff.text, width.text, whole.text,
    ]  # fmt: skip
    energies = axes.lines[0]
    assert energies.get_label() == "energy, bound 2 meV/atom"
    assert energies.get_xdata() == pytest.approx(
        [1e-3, cutoff.energy / 2.0, 1e-3, whole.energy / 2.0]
    )


def test_within_the_bounds_it_is_converged(cells, tmp_path) -> None:
    wide = {"max_energy": 500.0}
    found = mmtp.converge(Formula(), cells, tmp_path, **wide)
    assert found.converged
    assert "*" not in str(found)
    assert "strain makes one" in str(found)


def test_nothing_is_computed_twice(cells, tmp_path, monkeypatch) -> None:
    count = []
    original = Formula.label

    def label(self, atoms, folder):
        count.append(self)
        return original(self, atoms, folder)

    monkeypatch.setattr(Formula, "label", label)
    first = mmtp.converge(Formula(), cells, tmp_path)
    assert len(count) == 8
    assert str(mmtp.converge(Formula(), cells, tmp_path)) == str(first)
    assert len(count) == 8
    # What was tried becomes the settings; the other way round it is the same change.
    back = mmtp.converge(Formula(cutoff=20.0), cells, tmp_path, vary=("cutoff=10.0",))
    assert len(count) == 8
    assert back.changes[0].energy == pytest.approx(first.changes[1].energy)
    assert (back.changes[0].better, back.together) == (False, None)
    plan = plan_convergence(Formula(), cells, tmp_path)
    assert [plan.n_found(v) for v in plan.variations] == [2, 2, 2, 2]
    plan = plan_convergence(Formula(), cells, tmp_path / "other", check_derivatives=True)
    assert [plan.n_found(v) for v in plan.variations] == [0, 0, 0, 0]
    assert plan.n_jobs == 14
    assert not (tmp_path / "other").exists()


def test_derivatives_are_those_of_the_energy(cells, tmp_path) -> None:
    # Without the errors by settings, for they are of no energy.
    exact = Formula(cutoff=1e9)
    options = {"vary": ("width",), "check_derivatives": True}
    found = mmtp.converge(exact, cells, tmp_path, **options)
    force, stress, moment = found.derivatives
    assert (force.kind, stress.kind, moment.kind) == ("force", "stress", "dE/dm")
    strongest = max(
        (exact.with_mesh((4, 4, 4), {}).label(atoms, None).atoms for atoms in cells),
        key=lambda atoms: np.abs(atoms.get_forces()).max(),
    )
    assert abs(force.label) == pytest.approx(np.abs(strongest.get_forces()).max())
    # The mean over the interval is not the label in its middle: the second is off by h^2.
    for one, tolerance in zip(found.derivatives, (1e-4, 1e-5, 1e-4), strict=True):
        assert abs(one.difference) < tolerance, one
    assert abs(moment.label - moment.from_energies) > 1e-3
    assert found.converged
    false = mmtp.converge(
        replace(exact, false_forces=0.02), [cells[0]], tmp_path / "false",
        vary=("width=0.19",), check_derivatives=True,
    )  # fmt: skip
    assert false.derivatives[0].difference == pytest.approx(20.0, abs=1e-3)
    assert not false.converged
    assert "20.000*" in str(false)


def test_vectors_are_varied_and_their_derivatives_checked(cells, tmp_path) -> None:
    exact = Formula(cutoff=1e9)
    canted = [cell(2.8, [[0.3, 2.3, 0.2], [1.5, 0.0, 0.6]]), cell(2.9, [[0.0, 0.0, 2.0]] * 2, 0.1)]
    options = {"vary": ("width", "cutoff=10.0"), "check_derivatives": True, "strain": 0.05}
    found = mmtp.converge(exact, canted, tmp_path, **options)
    assert not found.failures
    _, change = found.changes
    assert change.largest_magnetic_force == pytest.approx(1e3 * 0.3 * 0.1)
    assert change.magnetic_forces == pytest.approx(1e3 * 0.3 * 0.1 / np.sqrt(2))
    assert found.cells[2].is_strain_of(found.cells[0])
    moment = found.derivatives[2]
    # The component that is largest of all, of the configuration with the largest force.
    assert "along" in moment.where
    assert abs(moment.difference) < 1e-4
    json.dumps(found.as_dict())


def test_what_fails_is_counted_and_told(cells, tmp_path) -> None:
    found = mmtp.converge(Formula(width=0.1), cells, tmp_path, max_energy=500.0)
    assert len(found.failures) == 2
    assert "the width is too small" in found.failures[0]
    (width,) = [change for change in found.changes if "width" in change.text]
    assert (width.energy, width.forces, width.stress) == (None, None, None)
    assert "width 0.1 -> 0.05: 0 of 2 configurations have labels" in str(found)
    # A sum over what is not there would look converged.
    assert found.together.of_cells == {}


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (("cutof",), "what is varied is one of mesh, cutoff, width, or a setting"),
        (("kspacing",), r"e.g. kspacing=\.\.\."),
        (("cutoff=high",), "cutoff must be a number, got 'high'"),
        (("cutof=3",), "unknown setting 'cutof'; did you mean 'cutoff'"),
        (("cutoff='high'",), "cutoff must be a number, got 'high'"),
        (("cutoff=10.0",), "changes nothing"),
    ],
)
def test_what_cannot_be_varied_is_refused_in_words(cells, tmp_path, vary, words) -> None:
    with pytest.raises(ValueError, match=words):
        mmtp.converge(Formula(), cells, tmp_path / "jobs", vary=vary)
    assert not (tmp_path / "jobs").exists()


def test_labellers_without_settings_are_refused(cells, iron_file, tmp_path) -> None:
    with pytest.raises(ValueError, match="PotentialOracle has no settings that could converge"):
        mmtp.converge(mmtp.PotentialOracle(iron_file), cells, tmp_path)
    with pytest.raises(ValueError, match="1 of 1 configurations have no initial magnetic moments"):
        mmtp.converge(Formula(), [Atoms("Fe", cell=[2, 2, 2], pbc=True)], tmp_path)


def test_tables_keep_what_is_not_given(cells, tmp_path) -> None:
    oracle = Formula(limits={"a": 1.0, "b": 2.0})
    plan = plan_convergence(oracle, cells, tmp_path, vary=("limits.b=3.0, cutoff=11.0",))
    assert plan.variations[1].text == "limits.b 2 -> 3, cutoff 10 -> 11"
    one = plan.variations[1].oracles[0]
    assert (one.limits, one.cutoff) == ({"a": 1.0, "b": 3.0}, 11.0)
    assert one.kmesh == plan.variations[0].oracles[0].kmesh


def test_meshes_grow_along_all_vectors_and_only_where_they_are_varied(cells, tmp_path) -> None:
    given = plan_convergence(Formula(kmesh=(6, 4, 1)), cells, tmp_path, vary=("mesh", "cutoff"))
    assert [v.oracles[0].kmesh for v in given.variations] == [(6, 4, 1), (8, 5, 2), (6, 4, 1)]
    long = cells[0] * (1, 1, 2)
    long.set_initial_magnetic_moments([2.0, 1.5] * 2)
    plan = plan_convergence(Formula(), [cells[0], long], tmp_path, vary=("mesh", "kspacing=0.55"))
    meshes = [[one.kmesh for one in v.oracles] for v in plan.variations]
    assert meshes[0] == [(4, 4, 4), (4, 4, 2)]
    # Supercells sample the same points before and after.
    assert meshes[1] == [(5, 5, 6), (5, 5, 3)]
    assert meshes[2] == [(5, 5, 6), (5, 5, 3)]


def test_configurations_are_chosen_to_differ() -> None:
    atoms_list = [cell(2.8 + 1e-3 * k, [2.0, 2.0]) for k in range(6)]
    atoms_list[1] = cell(2.8, [2.0, -2.0])
    atoms_list[4] = cell(3.2, [2.0, 2.0])
    large = cell(2.6, [0.1, 0.1]) * (2, 1, 1)
    large.set_initial_magnetic_moments([0.1] * 4)
    other = cell(4.0, [0.0, 0.0], symbols="CrFe")
    chosen = different([*atoms_list, large, other], 3)
    assert set(chosen) > {1, 4}
    assert max(chosen) < 6
    assert chosen == sorted(chosen)
    assert len(different(atoms_list, 99)) == 6
