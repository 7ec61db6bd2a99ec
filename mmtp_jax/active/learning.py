"""The loop of active learning (Kotykhov 2025, Sec. II.B; Burov 2026, Sec. 2.2 and Fig. 1).

    fit -> active set -> simulations with preselection -> selection -> labels -> fit -> ...

It has converged when a whole round of simulations runs to its end and preselects nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.active.given import fingerprint
from mmtp_jax.active.learning_iteration import Iteration
from mmtp_jax.active.learning_labels import label
from mmtp_jax.active.learning_simulations import LearningSimulation
from mmtp_jax.active.learning_state import LearnFolder, Row, State, table
from mmtp_jax.active.options import LearnOptions
from mmtp_jax.interruption import check
from mmtp_jax.io.cfg import write_cfg
from mmtp_jax.io.convert import structures_for
from mmtp_jax.io.lock import locked
from mmtp_jax.io.missing_moments import with_moments
from mmtp_jax.io.mtp import load, save
from mmtp_jax.io.unconverged import warn_of_unconverged
from mmtp_jax.language import counted
from mmtp_jax.oracles.oracle import Oracle
from mmtp_jax.potential.potential import Potential
from mmtp_jax.readable import readable
from mmtp_jax.structures.domain import no_neighbours
from mmtp_jax.structures.making import making_text, makings_of
from mmtp_jax.structures.screening import screen, sentences
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms


@readable
@dataclass(frozen=True)
class Learned:
    """What a loop of active learning has come to."""

    potential: Potential = field(repr=False)
    converged: bool
    """A whole round ran to its end and preselected nothing."""
    message: str
    """Why the loop ended, in words."""
    rows: tuple[Row, ...]
    """One per iteration."""
    training: list[Atoms] = field(repr=False)
    """The training set of the potential."""
    folder: Path = field(repr=False)

    def __str__(self) -> str:
        return f"{table(self.rows)}\n\n{self.message}"


def learn(
    potential: Potential,
    atoms_list: Sequence[Atoms],
    simulations: Sequence[LearningSimulation],
    oracle: Oracle,
    folder: str | Path,
    options: LearnOptions | None = None,
    *,
    executor: Executor | None = None,
    callback: Callable[[str], None] | None = None,
    missing_moments: str = "error",
) -> Learned:
    """Let a potential choose its training set, until its simulations meet nothing new.

    Everything is in ``folder``, in plain files (`mmtp_jax.active.learning_state`). A loop that was
    cut off goes on where it was when it is called again with the same start; ``max_iterations``,
    the simulations and what concerns jobs may then be other ones.

    Args:
        potential: the start of the first fit; its form stays.
        atoms_list: labelled configurations for that fit.
        simulations: what explores, e.g. `EquilibrationRun` and `DynamicsRun`; at least one.
        oracle: the labeller.
        folder: of this loop; is made if it is not there.
        options: thresholds, fit, limits.
        executor: where jobs of the oracle run.
        callback: told each line of the log.
        missing_moments: what to do about configurations without moments: ``"error"``, ``"zero"``
            or ``"skip"``, see `mmtp_jax.io.missing_moments`.

    Raises:
        ValueError: if there is nothing to start from, no atom of it has a neighbour, two
            simulations have one name, or the folder holds another loop or is used by another
            process.

    Example:
        >>> run = mmtp.DynamicsRun.of("md", [cell], ("Fe",), 500, temperatures_K=(300, 600))
        >>> learned = mmtp.learn(pot, start, [run], mmtp.PotentialOracle("teacher.mtp"), "learning")
        >>> print(learned)
    """
    options = options or LearnOptions()
    simulations = list(simulations)
    if potential.magnetic_size > 1:
        atoms_list = with_moments(atoms_list, missing_moments, non_magnetic=potential.non_magnetic)
    warn_of_unconverged(atoms_list)
    structures = _checked(potential, atoms_list, simulations)
    _compare(structures, oracle, tuple(potential.species), options.fit.making)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        files = LearnFolder(folder, callback)
        return _learn(
            potential, atoms_list, structures, simulations, oracle, files, options, executor
        )


def _learn(
    potential: Potential,
    atoms_list: Sequence[Atoms],
    structures: Sequence[Structure],
    simulations: list[LearningSimulation],
    oracle: Oracle,
    files: LearnFolder,
    options: LearnOptions,
    executor: Executor | None,
) -> Learned:
    species = tuple(potential.species)
    belongs_to = _digest(potential, structures, options)
    state = files.open(belongs_to)
    if not (files.path / "state.json").exists():
        save(files.path / "start.mtp", potential)
        write_cfg(files.iteration(0) / "train.cfg", atoms_list, species)
        for sentence in sentences(screen(structures, species), len(structures)):
            files.log(0, sentence)
        files.save(state, belongs_to)
    if state.finished and not state.converged:
        # More iterations are allowed now, or another simulation may get further.
        state = replace(state, finished=False, message="")
    while not state.finished:
        check()
        iteration = Iteration(state.iteration, files, options, species)
        state = _step(iteration, state, simulations, oracle, executor)
        files.save(state, belongs_to)
        if state.finished:
            files.log(iteration.number, state.message)
    last = Iteration(state.iteration, files, options, species)
    return Learned(
        potential=load(files.path / "potential.mtp"),
        converged=state.converged,
        message=state.message,
        rows=tuple(files.rows()),
        training=last.training,
        folder=files.path,
    )


def _step(
    at: Iteration,
    state: State,
    simulations: list[LearningSimulation],
    oracle: Oracle,
    executor: Executor | None,
) -> State:
    """Do one stage; returns what comes next."""

    def end(message: str, converged: bool = False) -> State:
        return replace(state, finished=True, converged=converged, message=message)

    if state.stage == "fit":
        at.fit()
        at.files.summarise(at.row(None))
        at.publish()
        return replace(state, stage="simulate")
    if state.stage == "simulate":
        if state.iteration >= at.options.max_iterations:
            return end(
                f"not converged: the last of {state.iteration} iterations still preselected; the "
                "potential is fitted to all labels, but was not tried again"
            )
        at.simulate(simulations)
        return replace(state, stage="select")
    if state.stage == "select":
        n_candidates, refused = at.select(simulations, oracle)
        at.files.summarise(at.row(simulations, 0 if refused or not n_candidates else None))
        if refused:
            return end(
                f"not converged: the labeller would refuse all of "
                f"{counted(n_candidates, 'candidate')}; the first: {refused}"
            )
        if n_candidates:
            return replace(state, stage="label")
        broken = {n: h.message for n, h in at.happened(simulations).items() if not h.completed}
        if broken:
            words = "; ".join(f"{name}: {message}" for name, message in broken.items())
            # The same simulations may get further when they are run again with other settings.
            for name in broken:
                (at.folder / "candidates" / name / "done.json").unlink()
            state = replace(state, stage="simulate")
            return end(
                "not converged: nothing was preselected, but not all simulations ran to their end "
                f"({words})"
            )
        return end(
            f"converged: the simulations of iteration {state.iteration} preselected nothing", True
        )
    labelling = label(at, oracle, executor)
    at.files.summarise(at.row(simulations, labelling.labelled, labelling.suspect))
    if not labelling.grown:
        apart = f"; {labelling.suspect} labels stand apart, see {at.folder.name}/suspect/"
        return end(
            "not converged: none of the selected configurations could be labelled; see "
            f"{at.folder.name}/failed/reasons.json" + (apart if labelling.suspect else "")
        )
    return State(iteration=state.iteration + 1)


def _checked(
    potential: Potential, atoms_list: Sequence[Atoms], simulations: list[LearningSimulation]
) -> list[Structure]:
    if not len(atoms_list):
        raise ValueError("the loop needs labelled configurations to start from, got none")
    structures = structures_for(potential, atoms_list, vectors=True)
    for structure in structures:
        if structure.energy is None and structure.forces is None:
            raise ValueError(f"{structure.name}: has neither energy nor forces to start from")
    lonely = no_neighbours(structures, float(potential.cutoff))
    if lonely is not None:
        raise ValueError(lonely)
    if not simulations:
        raise ValueError("the loop needs at least one simulation")
    names = [s.name for s in simulations]
    for name in names:
        if not name or Path(name).name != name or name.startswith("."):
            raise ValueError(f"the simulation {name!r} must have a name that can be a folder's")
    if len(set(names)) < len(names):
        raise ValueError(f"simulations need different names, got {', '.join(names)}")
    return structures


def _compare(
    structures: Sequence[Structure], oracle: Oracle, species: tuple[str, ...], rule: str
) -> None:
    """Refuse labels of different making, those that the labeller will give among them."""
    compared = list(structures)
    if hasattr(oracle, "making"):
        own = replace(structures[0], making=making_text(oracle.making()), kmesh=None)
        compared.append(replace(own, name="those of the labeller"))
    makings_of(compared, species).check(rule)


def _digest(potential: Potential, structures: Sequence[Structure], options: LearnOptions) -> str:
    """Of what must be the same for a loop to go on."""
    fit = options.fit
    settings = (options.thresholds, options.mode, options.limit, options.min_dist_margin, fit)
    digest = hashlib.sha256(f"{fingerprint(potential)}{settings!r}".encode())
    for s in structures:
        labels = (s.energy, s.forces, s.stress, s.magnetic_forces)
        for array in (s.cell, s.periodic, s.positions, s.types, s.magmoms, *labels):
            if array is not None:
                digest.update(np.ascontiguousarray(np.asarray(array)).tobytes())
    return digest.hexdigest()
