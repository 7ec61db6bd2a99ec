"""The stages of one iteration of active learning; each reads and writes files of its folder.

A stage that was cut off is done again from its start, with the same result: all that it needs is
on disk, and random numbers depend on the number of the iteration.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.active.beside import path_beside
from mmtp_jax.active.candidates import Candidate, CandidateStore, last_outside
from mmtp_jax.active.learning_simulations import Happened, LearningSimulation
from mmtp_jax.active.learning_state import LearnFolder, Row, read_fields
from mmtp_jax.active.options import LearnOptions
from mmtp_jax.active.preselection import Preselection, Tally
from mmtp_jax.active.select import Selection, first_of_its_kind
from mmtp_jax.fitting.confine import without_confinement
from mmtp_jax.fitting.fit import fit_structures
from mmtp_jax.fitting.initial import shortest_distance
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.atoms import to_atoms
from mmtp_jax.io.cfg import read_cfg, write_cfg
from mmtp_jax.io.convert import structures_for
from mmtp_jax.io.documents import write_json
from mmtp_jax.io.mtp import load, save
from mmtp_jax.io.names import GRADE
from mmtp_jax.language import counted
from mmtp_jax.oracles.oracle import Oracle, refusal_of
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision
from mmtp_jax.structures.structure import LABELS, Structure

if TYPE_CHECKING:
    from ase import Atoms

_ErrorsOf = dict[str, int | dict[str, float | str | None]]
"""Number of configurations, and errors of each kind of label."""


@dataclass(frozen=True)
class _Done(Tally, Happened):
    """``done.json`` of a simulation."""


@dataclass(frozen=True)
class _Fitted:
    """``errors.json`` of a fit."""

    before: _ErrorsOf | None
    after: _ErrorsOf
    n_iterations: int
    loss: float
    message: str


@dataclass(frozen=True)
class Iteration:
    """One iteration."""

    number: int
    files: LearnFolder
    options: LearnOptions
    species: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.files.iteration(self.number)

    def log(self, text: str) -> None:
        self.files.log(self.number, text)

    # --- what is on disk ---

    @property
    def training(self) -> list[Atoms]:
        return read_cfg(self.folder / "train.cfg", self.species)

    @property
    def potential(self) -> Potential:
        return load(self.folder / "potential.mtp")

    @property
    def previous(self) -> Potential:
        """That of the iteration before, or the start."""
        if self.number == 0:
            return load(self.files.path / "start.mtp")
        return load(self.files.iteration(self.number - 1) / "potential.mtp")

    # --- stages ---

    def fit(self) -> None:
        """Refit from the previous parameters, and make the active set."""
        start, options = self.previous, self.options.fit
        structures = structures_for(start, self.training, vectors=True)
        before = None
        prepared = PreparedSet.of(structures, float(start.cutoff))
        if self.number > 0:
            with double_precision():
                before = prepared.errors(start)
        if not options.keep_domain and options.min_dist is None:
            shortest = shortest_distance(prepared.tables)
            if shortest is not None:
                options = replace(options, min_dist=self.options.min_dist_margin * shortest)
        self.log(f"fit to {counted(len(structures), 'configuration')}")
        fit = fit_structures(start, structures, options=options)
        if fit.interrupted:
            raise KeyboardInterrupt
        save(self.folder / "potential.mtp", fit.potential)
        write_json(
            self.folder / "errors.json",
            {
                "before": None if before is None else before.as_dict(),
                "after": fit.report.training.as_dict(),
                "n_iterations": fit.n_iterations,
                "loss": fit.loss,
                "message": fit.message,
            },
        )
        active = ActiveSet.from_configurations(self.potential, structures, mode=self.options.mode)
        active.save(self.folder / "active.npz")
        self.log(f"{fit.message}; {fit.n_iterations} steps, loss {fit.loss:.3e}; {active}")

    def simulate(self, simulations: list[LearningSimulation]) -> None:
        """Run the simulations that are not done yet."""
        # What lies outside of the intervals has to be labelled, not kept out.
        potential = without_confinement(self.potential)
        active = ActiveSet.load(self.folder / "active.npz", potential)
        for simulation in simulations:
            done = self.folder / "candidates" / simulation.name / "done.json"
            if done.exists():
                continue
            store = CandidateStore(done.parent, simulation.name)
            # What a run that was cut off has left; it starts again.
            store.clear()
            options = self.options
            watch = Preselection.of(
                active, options.thresholds, store=store, keep_outside=True,
                grade_every=options.grade_every, grade_capacity=options.grade_capacity,
            )  # fmt: skip
            happened = simulation.run(potential, watch, self.number)
            tally = watch.tally
            write_json(done, {**asdict(happened), **asdict(tally)})
            self.log(
                f"{simulation.name}: {happened.message}; {tally.n_kept} preselected, highest "
                f"grade {tally.highest:.3g}"
            )

    def happened(self, simulations: list[LearningSimulation]) -> dict[str, Happened]:
        """How the simulations ended."""
        contents = self._done(simulations)
        return {name: Happened(c["completed"], c["message"]) for name, c in contents.items()}

    def _done(self, simulations: list[LearningSimulation]) -> dict[str, dict]:
        folder = self.folder / "candidates"
        return {s.name: read_fields(folder / s.name / "done.json", _Done) for s in simulations}

    def select(self, simulations: list[LearningSimulation], oracle: Oracle) -> tuple[int, str]:
        """Choose among the candidates that the oracle would label.

        Returns:
            How many candidates there were, and why none of them is chosen, where it refuses all.
        """
        candidates: list[Candidate] = []
        forced: list[int] = []
        refused: list[str] = []
        for simulation in simulations:
            store = CandidateStore(self.folder / "candidates" / simulation.name, simulation.name)
            own = []
            for candidate in store.read():
                reason = refusal_of(oracle, atoms_of(candidate.structure, self.species))
                if reason is None:
                    own.append(candidate)
                else:
                    refused.append(reason)
            # Where the last one outside is refused, the last one that is not.
            forced += [len(candidates) + k for k in last_outside(own)]
            candidates += own
        n_candidates, first = len(candidates) + len(refused), next(iter(refused), "")
        if refused:
            self.log(
                f"{len(refused)} of {counted(n_candidates, 'candidate')} left out, since the "
                f"labeller would refuse them; the first: {first}"
            )
        if not candidates:
            return n_candidates, first
        active = ActiveSet.load(self.folder / "active.npz", self.potential)
        structures = [c.structure for c in candidates]
        selection = Selection.of(active, structures, self.options.limit)
        chosen = [int(k) for k in selection.indices]
        grades = [float(g) for g in selection.grades]
        # Where a simulation left the intervals of the potential no grade need be high, but without
        # a label from there the next one will end at the same place.
        for k in _new(structures, chosen, forced):
            if self.options.limit is None or len(chosen) < self.options.limit:
                chosen.append(k)
                grades.append(float(selection.candidate_grades[k]))
        selected = []
        for k, grade in zip(chosen, grades, strict=True):
            atoms = atoms_of(structures[k], self.species)
            atoms.info |= {GRADE: grade, "origin": structures[k].name.replace(" ", "_")}
            selected.append(atoms)
        write_cfg(self.folder / "selected.cfg", selected, self.species)
        self.log(
            f"{len(candidates)} candidates, {len(selection.duplicates)} of them duplicates; "
            f"{len(selected)} selected"
        )
        return n_candidates, ""

    # --- summary ---

    def row(
        self,
        simulations: list[LearningSimulation] | None,
        labelled: int | None = None,
        suspect: int = 0,
    ) -> Row:
        """What the table says of this iteration; without simulations, of its fit alone."""
        errors = read_fields(self.folder / "errors.json", _Fitted)
        found = {
            f"{kind}_{when}": _rmse(errors[when], kind)
            for kind in LABELS
            if kind != "stress"
            for when in ("before", "after")
        }
        row = Row(self.number, errors["after"]["n_configurations"], **found)
        if simulations is None:
            return row
        contents = self._done(simulations).values()
        n_selected = self._number_in("selected.cfg")
        return replace(
            row,
            preselected=sum(c["n_kept"] for c in contents),
            highest_grade=max((c["highest"] for c in contents), default=0.0),
            selected=n_selected,
            labelled=labelled,
            suspect=None if labelled is None else suspect,
            failed=None if labelled is None else n_selected - labelled - suspect,
        )

    def _number_in(self, name: str) -> int:
        path = self.folder / name
        return len(read_cfg(path, self.species)) if path.exists() else 0

    def publish(self) -> None:
        """Copy the potential to the top of the folder, with its active set beside it."""
        potential = self.files.path / "potential.mtp"
        for path, own in ((potential, "potential.mtp"), (path_beside(potential), "active.npz")):
            with atomic_write(path) as temporary:
                shutil.copyfile(self.folder / own, temporary)


def atoms_of(structure: Structure, species: tuple[str, ...]) -> Atoms:
    """ASE atoms with the moments as initial ones, without labels."""
    return to_atoms(structure, None, species)


def _new(structures: list[Structure], chosen: list[int], others: list[int]) -> list[int]:
    """Those of the others that are no copies of a chosen one, or of each other."""
    together = [*chosen, *others]
    first = first_of_its_kind([structures[k] for k in together])
    alone = np.flatnonzero(first == np.arange(len(together)))
    return [together[k] for k in alone if k >= len(chosen)]


def _rmse(errors: dict | None, kind: str) -> float | None:
    return None if errors is None or kind not in errors else errors[kind]["rmse"]
