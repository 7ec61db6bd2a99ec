"""Labels of a loop are judged anew in each iteration: set aside, taken back, or taken anyhow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp
from mmtp_jax.active.learning_iteration import Iteration
from mmtp_jax.active.learning_labels import label
from mmtp_jax.active.learning_state import LearnFolder
from mmtp_jax.io.cfg import read_cfg, write_cfg
from mmtp_jax.oracles.oracle import Failure, Labelled, Provenance


@dataclass(frozen=True)
class Scripted:
    """The energy follows the first moment: 1 eV/atom lower for each 0.1 mu_B above 2."""

    in_process: bool = True

    def fingerprint(self) -> str:
        return "scripted"

    def label(self, atoms, folder: Path) -> Labelled | Failure:
        moments = atoms.get_initial_magnetic_moments()
        if moments[0] < 0.0:
            return Failure("no density was found", final=True)
        copy = atoms.copy()
        energy = -len(atoms) * (8.0 + 10.0 * (moments[0] - 2.0))
        copy.calc = SinglePointCalculator(
            copy, energy=energy, forces=np.zeros((len(atoms), 3)), magmoms=moments
        )
        return Labelled(copy, Provenance("scripted", "1"))


@pytest.fixture
def iteration(tmp_path):
    """iteration(number, first moments of what is selected, options)."""
    files = LearnFolder(tmp_path)

    def cells(number, moments):
        found = []
        for k, moment in enumerate(moments):
            atoms = bulk("Fe", "bcc", a=2.83, cubic=True)
            atoms.rattle(0.02, seed=100 * number + k)
            atoms.set_initial_magnetic_moments([moment, 2.0])
            found.append(atoms)
        return found

    def make(number, moments, **options):
        at = Iteration(number, files, mmtp.LearnOptions(**options), ("Fe",))
        write_cfg(at.folder / "selected.cfg", cells(number, moments), ("Fe",))
        if number == 0:
            start = [Scripted().label(atoms, tmp_path).atoms for atoms in cells(99, [2.0])]
            write_cfg(at.folder / "train.cfg", start, ("Fe",))
        return at, label(at, Scripted(), None)

    return make


def jobs_of(at: Iteration) -> list[str | None]:
    """Where the labels of the next training set come from."""
    path = at.files.iteration(at.number + 1) / "train.cfg"
    return [atoms.info.get("job") for atoms in read_cfg(path, ("Fe",))]


def names(iteration: int, *jobs: int) -> list[str]:
    return [f"iteration-{iteration:03d}/job-{k:05d}" for k in jobs]


def test_labels_are_judged_anew_when_there_are_more(iteration) -> None:
    # With that of the start these are three labels, too few to say anything.
    at, labelling = iteration(0, [3.4, 2.0, -1.0])
    assert (labelling.labelled, labelling.suspect, labelling.grown) == (2, 0, True)
    assert jobs_of(at) == [None, *names(0, 0, 1)]
    assert not (at.folder / "suspect").exists()
    # Among six, one of the first stands apart, and leaves the training set.
    at, labelling = iteration(1, [2.01, 2.02, 2.03])
    assert (labelling.labelled, labelling.suspect, labelling.grown) == (3, 0, True)
    assert jobs_of(at) == [None, *names(0, 1), *names(1, 0, 1, 2)]
    (ghost,) = read_cfg(at.folder / "suspect" / "suspect.cfg", ("Fe",))
    assert ghost.info["job"] == names(0, 0)[0]
    assert ghost.get_potential_energy() == pytest.approx(-44.0)
    reasons = json.loads((at.folder / "suspect" / "reasons.json").read_text())
    assert "13.9 eV/atom below the median of 6 labels of Fe" in reasons[names(0, 0)[0]][0]
    assert f"set aside: {names(0, 0)[0]}: energy" in (at.folder / "log").read_text()
    # A stage that was cut off is done again with the same result.
    again, _ = iteration(1, [2.01, 2.02, 2.03])
    assert jobs_of(again) == jobs_of(at)
    # New energies fill the gap, and it is taken back.
    at, labelling = iteration(2, list(np.linspace(2.0, 3.4, 12)))
    assert labelling.labelled == 12
    assert names(0, 0)[0] in jobs_of(at)
    assert not (at.folder / "suspect").exists()


def test_all_apart_ends_the_loop_unless_they_are_taken(iteration) -> None:
    iteration(0, [2.0, 2.01, 2.02, 2.03])
    at, labelling = iteration(1, [3.4])
    assert (labelling.labelled, labelling.suspect, labelling.grown) == (0, 1, False)
    assert not (at.files.path / "iteration-002" / "train.cfg").exists()
    at, labelling = iteration(1, [3.4], accept_outliers=True)
    assert (labelling.labelled, labelling.suspect, labelling.grown) == (1, 0, True)
    assert jobs_of(at)[-1] == names(1, 0)[0]
    assert not (at.folder / "suspect").exists()
