"""Relaxation of lists of structures: batches in few compiled shapes, plain results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from mmtp_jax.interruption import deferred
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.simulation.constants import GPA
from mmtp_jax.simulation.moments.collapse import collapse_message, warn_of_collapse
from mmtp_jax.simulation.relaxation.cell import basis_of
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.simulation.relaxation.run import STEPS_PER_CALL, RelaxModel, RelaxRun
from mmtp_jax.simulation.relaxation.status import RelaxStatus
from mmtp_jax.simulation.watch import Watch, alike
from mmtp_jax.structures.batch import CPU_CHUNK, lockstep_atoms, rounded_size
from mmtp_jax.structures.domain import moment_at_end
from mmtp_jax.structures.results import VOIGT, Result
from mmtp_jax.structures.structure import Structure, kinds_of_moments, lengths


class Frame(NamedTuple):
    """A configuration on its way: at its start, or after a step that was accepted."""

    structure: Structure
    step: int
    """Geometries that were evaluated before it."""
    energy: float
    """eV."""
    enthalpy: float
    """E + p V, eV."""
    force: float
    """Largest |f_i|, eV/Angstrom; 0 where atoms may not move."""
    stress_GPa: float
    """Largest component of stress plus pressure, of those that the cell may follow."""
    magnetic_force: float
    """Largest |T_i| of the moments that are not held, eV/mu_B; 0 where they are fixed."""


@dataclass(frozen=True, eq=False)
class RelaxedStructure:
    """Where the relaxation of one structure ended."""

    structure: Structure
    """Positions, cell and moments at the end; no labels."""
    start: Structure
    result: Result
    """What the potential says at the end; its stress does not contain the pressure."""
    status: RelaxStatus
    n_steps: int
    """Geometries that were evaluated."""
    n_evaluations: int
    """Evaluations of the potential, those of all equilibrations included."""
    enthalpy: float
    """E + p V, eV."""
    force: float
    """Largest |f_i|, eV/Angstrom; 0 where atoms may not move."""
    stress_GPa: float
    """Largest component of stress plus pressure, of those that the cell may follow."""
    magnetic_force: float
    """Largest |T_i| of the moments that are not held, eV/mu_B; 0 where they are fixed."""
    shortest: float
    """Shortest distance, Angstrom."""
    moment: str
    """Which moment has stopped it at the end of its interval, in words; empty where none has."""

    @property
    def converged(self) -> bool:
        """Are forces, stress and magnetic forces small, inside of what the potential covers?"""
        return self.status == RelaxStatus.CONVERGED

    @property
    def message(self) -> str:
        """How it ended, in words."""
        whole = float(lengths(self.result.magnetic_forces).max(initial=0.0))
        # Moments that are held, or fixed, are not among those that the search counts.
        what = "moments or across fixed directions" if self.start.vectors else "moments"
        held = f", {whole:.2g} on held {what}" if whole > 1.01 * self.magnetic_force else ""
        why = self.moment or self.status.message
        text = (
            f"{why} ({self.n_steps} steps, force {self.force:.2g} eV/Angstrom, "
            f"stress {self.stress_GPa:.2g} GPa, magnetic force {self.magnetic_force:.2g} eV/mu_B"
            f"{held})"
        )
        return f"{text}; {self.collapse}" if self.collapse else text

    @property
    def collapse(self) -> str:
        """Which moments have vanished on the way, in words; or an empty text."""
        return collapse_message(self.start.magmoms, self.structure.magmoms)


@with_double_precision
def relax_structures(
    potential: Potential,
    structures: Sequence[Structure],
    options: RelaxOptions | None = None,
    *,
    watch: Watch | None = None,
    callback: Callable[[int], None] | None = None,
    record: Callable[[int, Frame], None] | None = None,
    keep: Callable[[list[Any]], None] | None = None,
    max_atoms: int | None = None,
    shape: tuple[int, int, int] = (1, 1, 0),
) -> list[RelaxedStructure]:
    """Minimise the enthalpy of each structure over positions, cell and moments.

    Ctrl-C ends it: what was done so far is the result.

    Args:
        potential: the potential.
        structures: where they start.
        options: constraints, tolerances and limits.
        watch: looks at every configuration that is evaluated. With one, only structures of the
            same atoms go together.
        callback: called with the number of structures done.
        record: called with the place of a structure in the list and its frame, for the start and
            each accepted step. It takes the run back to the host after every step.
        keep: called with what the watch has kept, as it is drained.
        max_atoms: most atoms per batch. All configurations of a batch wait for its slowest, so
            batches are small where that costs nothing: on a CPU, two blocks of an evaluation.
        shape: least numbers of atoms, of configurations and of neighbours in a batch, padding
            included, so that calls share one compiled program.

    Raises:
        ValueError: if the cell of a structure that is not periodic in three directions may
            change, or two atoms are at the same place.

    Warns:
        EquilibrationWarning: if moments have vanished on the way: each search of them starts from
            those of the geometry before, so they would stay at zero.
    """
    structures, options = list(structures), options or RelaxOptions()
    if not structures:
        return []
    _check(structures, options)
    model = RelaxModel(potential, options)
    most = max_atoms or lockstep_atoms(potential, on_cpu=2 * CPU_CHUNK)
    groups = alike(structures) if watch is not None else kinds_of_moments(structures)
    parts = [part for group in groups for part in _batches(group, structures, most)]
    model.width = shape[2]
    least = (
        max(shape[0], rounded_size(max(sum(len(structures[k]) for k in part) for part in parts))),
        max(shape[1], rounded_size(max(len(part) for part in parts))),
    )
    widest = rounded_size(max(map(len, structures)))
    found: list[Any] = [None] * len(structures)
    n_done, interrupted = 0, False
    with deferred():
        for part in parts:
            of_part = [structures[k] for k in part]
            run = RelaxRun(
                model, of_part, least, widest, watch=watch, keep=keep, numbers=part.tolist()
            )
            if not interrupted:
                _relax(run, part, options.max_steps, record, callback, n_done)
                interrupted = run.interrupted
            run.drain()
            for k, result in zip(part, _results(run, interrupted), strict=True):
                found[k] = result
            n_done += len(part)
            if callback is not None:
                callback(n_done)
    warn_of_collapse([f.collapse for f in found], [s.name for s in structures])
    return found


def _relax(
    run: RelaxRun,
    part: np.ndarray,
    max_steps: int,
    record: Callable[[int, Frame], None] | None,
    callback: Callable[[int], None] | None,
    n_done: int,
) -> None:
    seen = np.full(len(part), np.inf)

    def tell() -> None:
        nonlocal seen
        if callback is not None:
            callback(n_done + int(np.sum(~run.running)))
        if record is None:
            return
        enthalpies = np.asarray(run.state.enthalpy)[: len(part)]
        if np.any(enthalpies != seen):
            for k, frame in enumerate(_frames(run)):
                if enthalpies[k] != seen[k]:
                    record(int(part[k]), frame)
        seen = enthalpies

    run.go(max_steps, due=lambda: STEPS_PER_CALL if record is None else 1, after=tell)


def _frames(run: RelaxRun) -> list[Frame]:
    """Where all configurations of a batch are."""
    state, pressure = run.state, run.model.options.pressure_GPa * GPA
    energies, forces, stresses, residuals = (
        np.asarray(a, float)
        for a in (
            state.at.values.energy,
            state.largest_force,
            state.largest_stress,
            state.at.residual,
        )
    )
    frames = []
    for k, structure in enumerate(run.present()):
        energy = float(energies[k]) + float(run.model.constants[structure.types].sum())
        frames.append(
            Frame(
                structure=structure,
                step=run.step - 1,
                energy=energy,
                enthalpy=energy + pressure * (structure.volume or 0.0),
                force=float(forces[k]),
                stress_GPa=float(stresses[k]) / GPA,
                magnetic_force=float(residuals[k]),
            )
        )
    return frames


def _results(run: RelaxRun, interrupted: bool) -> list[RelaxedStructure]:
    """The results of a batch; one that never started has those of nothing done."""
    if run.step == 0:
        run.advance(1)
    state, options = jax.device_get(run.state), run.model.options
    at, results = state.at, []
    for k, (end, start) in enumerate(zip(run.present(), run.structures, strict=True)):
        rows = slice(run.offsets[k], run.offsets[k + 1])
        sites = at.sites[rows] + run.model.constants[start.types]
        energy = float(sites.sum())
        volume = start.volume and float(at.geometry.volume[k])
        status = RelaxStatus(int(state.status[k]))
        if interrupted and status == RelaxStatus.STEP_LIMIT:
            status = RelaxStatus.INTERRUPTED
        results.append(
            RelaxedStructure(
                structure=end,
                start=start,
                result=Result(
                    energy=energy,
                    forces=at.values.forces[rows],
                    stress=None if volume is None else at.values.stress[k][VOIGT],
                    magnetic_forces=at.values.magnetic_forces[rows],
                    energies=sites,
                ),
                status=status,
                n_steps=int(state.n_steps[k]),
                n_evaluations=int(state.n_evaluations[k]),
                enthalpy=energy + options.pressure_GPa * GPA * (volume or 0.0),
                force=float(state.largest_force[k]),
                stress_GPa=float(state.largest_stress[k]) / GPA,
                magnetic_force=float(at.residual[k]),
                shortest=float(at.shortest[k]),
                moment=moment_at_end(run.model.potential, end.types, end.magmoms)
                if status == RelaxStatus.MOMENT_AT_BOUND
                else "",
            )
        )
    return results


def _check(structures: Sequence[Structure], options: RelaxOptions) -> None:
    if not basis_of(options.cell).any():
        return
    for structure in structures:
        if structure.volume is None:
            raise ValueError(
                f"{structure.name}: its cell cannot relax, because it is not periodic in three "
                'directions; make it periodic, or keep the cell ("none")'
            )


def _batches(
    members: Sequence[int], structures: Sequence[Structure], max_atoms: int
) -> list[np.ndarray]:
    parts: list[list[int]] = [[]]
    used = 0
    for k in members:
        if parts[-1] and used + len(structures[k]) > max_atoms:
            parts.append([])
            used = 0
        parts[-1].append(int(k))
        used += len(structures[k])
    return [np.array(part) for part in parts]
