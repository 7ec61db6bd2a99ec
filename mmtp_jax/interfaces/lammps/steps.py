"""One step of LAMMPS: equilibrate the moments, evaluate, grade, and say whether to go on."""

from __future__ import annotations

import numpy as np

from mmtp_jax.interfaces.lammps.candidates import Candidates
from mmtp_jax.interfaces.lammps.evaluator import SharedEvaluator, own_positions
from mmtp_jax.interfaces.lammps.host import GRADE, MAGMOM, MAGNETIC_FORCE, Thermo
from mmtp_jax.interfaces.lammps.moments import SharedMoments, Totals
from mmtp_jax.interfaces.lammps.options import BridgeOptions
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.structures.domain import moment_at_end

_NOT_MINIMA = (Status.STEP_LIMIT, Status.NO_DESCENT)


class Steps:
    """The course of a run; the same on all ranks.

    Args:
        evaluator: of the atoms.
        potential: with e0.
        types: (n,) species index in the order of the ids.
        magmoms: (n,) moments at the start, mu_B.
        candidates: grades, if they are asked for.
        options: treatment of the moments.
    """

    def __init__(
        self,
        evaluator: SharedEvaluator,
        potential: Potential,
        types: np.ndarray,
        magmoms: np.ndarray,
        candidates: Candidates | None,
        options: BridgeOptions,
    ) -> None:
        self.options, self.candidates = options, candidates
        self.magmoms = magmoms
        """(n,) mu_B."""
        self.stopped: str | None = None
        """Why the run must not go on."""
        self.n_steps = self.n_unconverged = self.n_outside = 0
        self._evaluator, self._host = evaluator, evaluator.host
        self._types, self._potential = types, potential
        self._constants = float(np.asarray(potential.species_coeffs, float)[types].sum())
        self._moments = SharedMoments(evaluator.potential, types, options, evaluator.precision)
        self._step: int | None = None
        self._grade = np.nan
        self._seen: tuple[int, float] | None = None

    def take(self, step: int) -> np.ndarray:
        """Forces (n, 3) at the present positions; all else is given to LAMMPS."""
        begins = self._step is None or step <= self._step
        if begins:
            # Moments may have been set, or read, since the last run.
            magnetic = np.asarray(self._potential.magnetic)[self._types]
            self.magmoms = np.where(magnetic, self._evaluator.moments_of_lammps(), 0.0)
        self._step = step
        self._grade = np.nan
        before = self._evaluator.n_evaluations
        equilibrates = self.options.moments == "equilibrate"
        if equilibrates and (begins or step % self.options.moments_every == 0):
            totals, residual = self._equilibrated()
        else:
            totals = self._evaluator.at(self.magmoms)
            self._evaluator.accept()
            residual = float(np.abs(totals.magnetic_forces).max())
            self._look(self.magmoms, totals.energy)
        self._check_bounds()
        self.n_steps += 1
        self._write(MAGMOM, self.magmoms)
        self._write(MAGNETIC_FORCE, totals.magnetic_forces)
        thermo = Thermo(
            magmom=float(self.magmoms.sum()),
            mean_size=float(np.abs(self.magmoms).mean()),
            largest_force=residual,
            n_evaluations=self._evaluator.n_evaluations - before,
            grade=self._grade,
            n_unconverged=self.n_unconverged,
        )
        self._host.give(totals.energy + self._constants, totals.strain_derivative, thermo)
        return totals.forces

    def _equilibrated(self) -> tuple[Totals, float]:
        """Moments that minimise the energy; each accepted iterate is graded."""
        moments = self._moments
        moments.start(self.magmoms)
        while moments.goes_on and self.stopped is None:
            if moments.advance(self._evaluator.at(moments.trial)):
                self._evaluator.accept()
                self._look(moments.magmoms, moments.energy)
        self.magmoms = moments.magmoms.copy()
        self.n_unconverged += moments.status in _NOT_MINIMA and self.stopped is None
        if moments.status == Status.HELD_AT_BOUND and self.options.bounded:
            self._stop_at_moment()
        return moments.accepted(), moments.residual

    def _look(self, magmoms: np.ndarray, energy: float) -> None:
        """Grade a configuration, keep it and stop if its grade says so."""
        step = self._step
        due = self.candidates is not None and step % self.options.grade_every == 0
        # A run that begins shows the last configuration of the one before.
        if not due or self._seen == (step, energy) or self.stopped is not None:
            return
        self._seen = (step, energy)
        grade, of_atoms = self._evaluator.grades(magmoms)
        self._grade = np.fmax(self._grade, grade)
        self._host.own(GRADE)[:] = of_atoms
        outside = self._is_outside(magmoms)
        seen = self.candidates.look(grade, outside, step)
        if seen.keep:
            positions = self._evaluator.gathered(own_positions, 3)
            box = self._host.box()
            self._evaluator.ranks.together(
                lambda: self.candidates.keep(
                    positions, *box, self._types, magmoms, grade, outside, step
                )
            )
        if seen.stop:
            high = float(self.candidates.preselection.grade_break)
            self._stop(f"the extrapolation grade {grade:.4g} is above {high:g}")

    def _is_outside(self, magmoms: np.ndarray) -> bool:
        at_end = self._evaluator.inside.at_end(self._types, magmoms)
        return bool(self._evaluator.outside or at_end.any())

    def _check_bounds(self) -> None:
        self.n_outside += self._is_outside(self.magmoms)
        if not self.options.bounded:
            return
        far = self._evaluator.far
        if self._evaluator.close:
            self._stop(
                "two atoms are closer than the shortest distance that the potential covers, "
                f"{float(far.min_dist):.4g} Angstrom"
            )
        elif far.too_large(self._types, self.magmoms).any():
            self._stop_at_moment()

    def _stop_at_moment(self) -> None:
        # Atoms are called by their ids, which count from 1.
        self._stop(moment_at_end(self._potential, self._types, self.magmoms, first=1))

    def _stop(self, why: str) -> None:
        if self.stopped is None:
            self.stopped = f"stopped at step {self._step}: {why}"

    def _write(self, name: str, values: np.ndarray) -> None:
        """Give own atoms their part of values (n,)."""
        self._host.own(name)[:] = values[self._host.own_ids() - 1]
