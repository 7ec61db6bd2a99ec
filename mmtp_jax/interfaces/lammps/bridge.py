"""The potential in LAMMPS through ``fix external`` or ``pair_style mliap``: for a driver.

LAMMPS owns positions, ghosts, integration and output. A rank evaluates its own atoms; energies,
virials, forces and magnetic forces are summed over ranks by atom id, in one reduction for each
evaluation; forces and virials of ``pair_style mliap`` by LAMMPS itself. With equilibrated moments
the forces are the adiabatic ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmtp_jax.active.candidates import Block
from mmtp_jax.active.preselection import Preselection
from mmtp_jax.interfaces.lammps.candidates import Candidates
from mmtp_jax.interfaces.lammps.evaluator import SharedEvaluator
from mmtp_jax.interfaces.lammps.gpus import share_gpus
from mmtp_jax.interfaces.lammps.host import FIX, LammpsHost
from mmtp_jax.interfaces.lammps.mliap import UnifiedHost
from mmtp_jax.interfaces.lammps.options import BridgeOptions
from mmtp_jax.interfaces.lammps.pair_evaluator import PairEvaluator
from mmtp_jax.interfaces.lammps.ranks import Ranks
from mmtp_jax.interfaces.lammps.start import Moments, species_by_id, starting_moments
from mmtp_jax.interfaces.lammps.steps import Steps
from mmtp_jax.options import made
from mmtp_jax.potential.confinement import OUTSIDE
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision

logger = logging.getLogger(__name__)


def attach(
    lmp: Any,
    potential: Potential,
    species: Sequence[str],
    magmoms: Moments = None,
    *,
    preselection: Preselection | None = None,
    **options: Any,
) -> LammpsBridge:
    """Let a LAMMPS with a box and atoms compute its forces with a potential, on all its ranks.

    It defines the pair style (``zero``, which only makes ghosts; ``mliap`` on that route), the
    neighbour settings, and ``fix mmtp all external``; masses, integrators, thermo output and dumps
    are the driver's. Ranks share the GPUs of a machine by `share_gpus`, which has to come earlier
    where JAX starts earlier, as by `Preselection.of`.

    Args:
        lmp: ``lammps.lammps(...)`` in ``units metal``; import ``mpi4py`` before it.
        potential: the potential.
        species: chemical symbols of the LAMMPS types 1, 2, ...
        magmoms: moment of each species, or of each atom (n,) in the order of the ids, mu_B; by
            default the property ``d_magmom`` of LAMMPS.
        preselection: keeps what the potential extrapolates to, and stops the run above its
            upper threshold.
        **options: fields of `BridgeOptions`.

    Raises:
        ValueError: if units, types, ids or moments are not as they must be, the preselection
            belongs to another potential, or LAMMPS was not built for the route.

    Example:
        >>> from mpi4py import MPI; from lammps import lammps
        >>> lmp = lammps(); lmp.file("in.lammps")
        >>> bridge = attach(lmp, mmtp.load("pot.mtp"), species=("Fe",), magmoms={"Fe": 2.2})
        >>> bridge.commands("fix 1 all nve\\nrun 1000")
    """
    chosen = made(BridgeOptions, options, "attach")
    return LammpsBridge(lmp, potential, species, magmoms, preselection, chosen)


class LammpsBridge:
    """A potential that a LAMMPS computes its forces with; made by `attach`.

    Run LAMMPS with `commands` or `file`: they raise what the callback raised, which ``ctypes``
    would swallow. A run that stops at a threshold ends early; ``stopped`` says why, and further
    runs do nothing until `resume`.

    Per-atom properties ``d_magmom``, ``d_magnetic_force`` and ``d_grade`` are there for dumps,
    ``f_mmtp[1]`` to ``f_mmtp[6]`` (see `Thermo`) for thermo output. Moments that are changed with
    ``set atom 1 d_magmom -2.2`` count from the next run on.
    """

    def __init__(
        self,
        lmp: Any,
        potential: Potential,
        species: Sequence[str],
        magmoms: Moments,
        preselection: Preselection | None,
        options: BridgeOptions,
    ) -> None:
        self.lmp = lmp
        self.error: BaseException | None = None
        """What the callback raised."""
        if preselection is not None:
            preselection.check(potential)
        share_gpus(lmp.get_mpi_comm())
        host, evaluator = {
            "external": (LammpsHost, SharedEvaluator),
            "mliap": (UnifiedHost, PairEvaluator),
        }[options.route]
        self._host = host(lmp, species, potential.species)
        self._ranks = Ranks(lmp.get_mpi_comm())
        self._evaluator = evaluator(self._host, self._ranks, potential, preselection, options)
        had_moments = self._host.prepare(float(potential.cutoff), options.skin)
        types = species_by_id(self._host, self._ranks)
        candidates = (
            None if preselection is None else Candidates(preselection, self._ranks.rank == 0)
        )
        start = starting_moments(self._evaluator, magmoms, potential, types, had_moments)
        self._steps = Steps(self._evaluator, potential, types, start, candidates, options)
        if options.route == "mliap":
            self._host.unified.connect(self._of_pairs)
        else:
            lmp.set_fix_external_callback(FIX, self._callback, None)

    # --- running ---

    def commands(self, text: str) -> None:
        """Run LAMMPS commands, one to a line.

        Raises:
            RankError: if the callback failed on another rank; there its own error is raised.
        """
        self._run(lambda: self.lmp.commands_string(text))

    def file(self, path: Any) -> None:
        """Run the commands of a file; errors as in `commands`."""
        self._run(lambda: self.lmp.file(str(path)))

    def resume(self) -> None:
        """Let runs go on after a stop or an error."""
        self.error = self._steps.stopped = None
        self.lmp.command("timer timeout off")

    # --- what is known ---

    @property
    def stopped(self) -> str | None:
        """Why the run was stopped, in words; None if it was not."""
        return self._steps.stopped

    @property
    def magmoms(self) -> np.ndarray:
        """(n,) moments of all atoms in the order of their ids, mu_B."""
        return self._steps.magmoms.copy()

    @property
    def kept(self) -> list[Block]:
        """Candidates that a preselection without a store has kept, on rank 0."""
        candidates = self._steps.candidates
        return [] if candidates is None else candidates.blocks

    @property
    def report(self) -> str:
        """One line about the run so far."""
        steps, evaluator = self._steps, self._evaluator
        mean = evaluator.n_evaluations / max(steps.n_steps, 1)
        parts = [f"{steps.n_steps} steps with {mean:.2f} evaluations each"]
        if evaluator.n_searches:
            parts.append(f"{evaluator.n_searches} searches of neighbours")
        if steps.n_unconverged:
            parts.append(f"{steps.n_unconverged} equilibrations of the moments did not converge")
        if steps.n_outside:
            parts.append(f"{steps.n_outside} {OUTSIDE}")
        if steps.candidates is not None:
            tally = steps.candidates.preselection.tally
            parts.append(f"{tally.n_kept} candidates, highest grade {tally.highest:.4g}")
        if steps.stopped is not None:
            parts.append(steps.stopped)
        return "; ".join(parts)

    # --- inside ---

    def _run(self, action: Callable[[], None]) -> None:
        if self.error is not None:
            raise self.error
        try:
            action()
        finally:
            # The callback's own error says more than what LAMMPS makes of it.
            if self.error is not None:
                raise self.error

    def _callback(
        self, _: Any, step: int, n_own: int, ids: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        if n_own:
            f[:] = 0.0

        def act() -> None:
            forces = self._steps.take(int(step))
            if n_own:
                f[:] = forces[np.ravel(ids) - 1]

        self._take_part(act)

    def _of_pairs(self, data: Any) -> None:
        evaluator = self._evaluator
        evaluator.begin(data)

        def act() -> None:
            self._steps.take(int(self.lmp.extract_global("ntimestep")))
            evaluator.give()

        self._take_part(act)
        evaluator.end()

    def _take_part(self, act: Callable[[], None]) -> None:
        """Do what is to be done in a step; LAMMPS ends the run if it fails, or is to stop."""
        if self.error is not None:
            return
        try:
            with double_precision():
                act()
        except BaseException as error:
            self.error = error
            if self._ranks.size > 1 and not self._ranks.is_agreed(error):
                # The others do not know, and would wait for this rank for ever.
                logger.exception("rank %d failed", self._ranks.rank)
                self._ranks.abort()
        if self.error is not None or self.stopped is not None:
            self.lmp.force_timeout()
