"""Molecular dynamics of ASE atoms, with trajectory, thermodynamic log and checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.fitting.checkpoint import fingerprint
from mmtp_jax.fitting.series import numbered
from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.io.convert import given_configurations
from mmtp_jax.io.dynamics_checkpoint import load_dynamics, save_dynamics
from mmtp_jax.io.lock import locked
from mmtp_jax.io.names import LENGTH_SPEEDS
from mmtp_jax.io.schema import SOURCE
from mmtp_jax.io.thermo import read_series
from mmtp_jax.io.trajectory import (
    GRADE_COLUMN,
    ThermoLog,
    TrajectoryWriter,
    atoms_of_state,
    check_grid,
    check_name,
    cut_to,
    size_of,
)
from mmtp_jax.language import argument
from mmtp_jax.options import also, made, takes
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vectors import check_vectors
from mmtp_jax.precision import with_double_precision
from mmtp_jax.readable import readable
from mmtp_jax.simulation.blocks import MIN_BLOCKS, block_error
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.dynamics.molecular_dynamics import simulate
from mmtp_jax.simulation.dynamics.observer import Observer, Saved, Snapshot
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.outcome import Simulation
from mmtp_jax.simulation.dynamics.precession import thermal_speeds
from mmtp_jax.simulation.dynamics.run import refuse_signs_of_vectors
from mmtp_jax.simulation.dynamics.series import OF_SPINS, UNITS, Series
from mmtp_jax.simulation.dynamics.thermostats import keys_of
from mmtp_jax.simulation.moments.collapse import collapse_message, is_zero, warn_of_collapse
from mmtp_jax.simulation.system import (
    System,
    system_of,
    temperatures,
    thermal_velocities,
    without_drift,
)
from mmtp_jax.simulation.watch import BoundWatch, GradedWatch, Watch
from mmtp_jax.structures.domain import warn_of_canted
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure, along_z, of_one_kind
from mmtp_jax.tables import with_error

logger = logging.getLogger(__name__)

MIN_ROWS = 4
"""Of averages."""
MOST_ERRORS = 4.0
"""Standard errors between the temperature of a run and that of its bath, which chance may make."""

_SHOWN = (
    "temperature",
    "spin_temperature",
    "pressure",
    "energy",
    "volume",
    "magnetisation",
    "n_equilibration",
)

_OF_WHAT_IS_DONE = ("temperature", "n_equilibration")
"""Of these, where they are zero throughout there is none."""


@readable
@dataclass(frozen=True)
class MDResult(Simulation):
    """A `Simulation` with its last configurations."""

    atoms: list[Atoms] = field(repr=False)
    """The replicas at the end, with velocities, moments and results."""
    bath_K: np.ndarray | None = field(default=None, repr=False)
    """(R,) temperatures of the heat baths, K; None without any."""
    resumed_at: int = 0
    """The step that a resumed run went on from. Where there is a log, the time series begins with
    what it holds of the steps before."""

    def __str__(self) -> str:
        """Why the run ended, and averages of each replica over the second half of its steps.

        Behind ``+-`` is the standard error of the mean, `mmtp_jax.simulation.blocks.block_error`.
        """
        lines, counts = [self.message], self._counts
        averages = self.averages()
        lost = self.resumed_at > 0 and not np.any(self.steps <= self.resumed_at)
        if not averages:
            if lost:
                lines.append("no averages: there is no log of the steps before it was resumed")
            return "\n".join(lines)
        first, last = self.averaged_steps
        end = "the end" if len(set(counts)) > 1 else f"step {last}"
        lines.append(
            f"averages from step {first} to {end}, the first half "
            + (f"of those after step {self.resumed_at}, of which alone there is a log, " * lost)
            + "is left out; +- is the standard error of the mean, by blocks:"
        )
        for name, found in averages.items():
            text = "  ".join(with_error(*map(float, of)) for of in zip(*found, strict=True))
            lines.append(f"  {name:<22}{text}")
        if max(counts) // 2 < MIN_BLOCKS:
            lines.append("  (no errors: there are too few rows)")
        lines += self._off_temperature(averages)
        drift = "  ".join(f"{value:.3g}" for value in self.drift())
        lines.append(f"  drift of the conserved energy (meV/atom/ps): {drift}")
        return "\n".join(lines)

    def averages(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Averages (R,) over the second half of the steps, and their standard errors, by name.

        Names have units; what is not finite is left out, and all where there are few steps. So are
        the temperature of atoms that do not move, and equilibrations where there were none.
        """
        counts, found = self._counts, {}
        if self.averaged_steps is None:
            return {}
        for name in _SHOWN:
            series = getattr(self.series, name)
            if name in _OF_WHAT_IS_DONE and not np.any(series):
                continue
            halves = [series[n // 2 : n, r] for r, n in enumerate(counts)]
            if all(np.all(np.isfinite(half)) for half in halves):
                unit = getattr(UNITS, name)
                found[name.replace("_", " ") + (f" ({unit})" if unit else "")] = (
                    np.array([half.mean() for half in halves]),
                    np.array([block_error(half) for half in halves]),
                )
        return found

    @property
    def averaged_steps(self) -> tuple[int, int] | None:
        """First and last step of the averages; None where there are none."""
        most = max(self._counts, default=0)
        return None if most < MIN_ROWS else (int(self.steps[most // 2]), int(self.steps[most - 1]))

    def _off_temperature(self, averages: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
        """Which replicas are not at the temperature of their bath, in words."""
        lines = []
        for name, freedom in (("temperature", self._freedom), ("spin temperature", None)):
            found = averages.get(f"{name} ({UNITS.temperature})")
            if self.bath_K is None or found is None:
                continue
            spins = " of the spins" if freedom is None else ""
            for r, (mean, error, bath) in enumerate(zip(*found, self.bath_K, strict=True)):
                # Of few rows: how much the temperature of a canonical ensemble fluctuates.
                if not np.isfinite(error) and freedom is not None:
                    error = bath * np.sqrt(2.0 / freedom)
                apart = (mean - bath) / error if error > 0.0 else 0.0
                if abs(apart) > MOST_ERRORS:
                    who = f"replica {r} is" if len(self.bath_K) > 1 else "the run is"
                    lines.append(
                        f"  NOT EQUILIBRATED: {who} {abs(mean - bath):.0f} K, {abs(apart):.0f} "
                        f"errors{spins}, {'below' if apart < 0 else 'above'} the {bath:g} K of its "
                        "bath, and so are other averages those of a run that still heats or "
                        "cools; take more steps"
                    )
        return lines

    @property
    def _freedom(self) -> int:
        """Degrees of freedom of a replica."""
        return max(1, 3 * self.system.n_atoms - 3)

    @property
    def _counts(self) -> list[int]:
        """Rows of each replica that count: those of a stopped one repeat its last."""
        return [
            len(self.steps) if stop < 0 else max(1, int(np.sum(self.steps <= stop)))
            for stop in self.stopped_at
        ]


@with_double_precision
@also(steps="n_steps")
@takes(DynamicsOptions)
def md(
    potential: Potential,
    atoms: Atoms | Sequence[Atoms],
    n_steps: int = 1000,
    *,
    trajectory: str | Path | None = None,
    trajectory_every: int = 10,
    log: str | Path | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
    watch: Watch | None = None,
    keep: Callable[[list[Any]], None] | None = None,
    kept_files: Sequence[str | Path] = (),
    begins: Callable[[], None] | None = None,
    callback: Callable[[np.ndarray, Series], None] | None = None,
    observe: Callable[[int, list[Atoms]], None] | None = None,
    observe_every: int = 100,
    **options: Any,
) -> MDResult:
    """Molecular dynamics with moments that follow the atoms (Kotykhov 2025, Sec. II.A).

    Several configurations of the same atoms run together as replicas. Velocities are those of the
    atoms, without the motion of the whole, and so are in spin dynamics those of lengths
    (``length_speeds``, as frames of another run have); where there are none, thermal ones are
    drawn. Moments that are vectors (n, 3) turn as they are equilibrated, or keep their directions;
    where some replicas have vectors, numbers of others are along z, which is told. With
    ``spins="dynamics"`` they precess, see `mmtp_jax.simulation.dynamics.precession`; those that are
    numbers start along z.

    Args:
        potential: the potential.
        atoms: one configuration or several; they are not changed. Moments are the initial ones, or
            where there are none those of their results.
        n_steps: steps; those before a resumed checkpoint are counted.
        trajectory: file for frames, .extxyz; of several replicas ``run.0.extxyz`` and so on.
        trajectory_every: steps between two frames. A replica that stops between two of them gets
            one more, which has ``info["off_grid"]``.
        log: file for the time series, CSV.
        checkpoint: file that the run can be resumed from, .npz.
        checkpoint_every: steps between two checkpoints.
        resume: go on from the checkpoint, and add to the files; where there is none yet, the run
            starts.
        watch: looks at every configuration, see `mmtp_jax.simulation.watch`. In a resumed run it
            starts anew.
        keep: called with what the watch has kept, as it is drained, and before each checkpoint.
        kept_files: files that ``keep`` adds to, e.g. that of a `CandidateFile`; a resumed run cuts
            them to where they were at the checkpoint.
        begins: called once the configurations have been found to be usable, before anything is
            written or compiled.
        callback: called with (t,) steps and their rows (t, R) as they come.
        observe: called with the step and the replicas as atoms, at the start, every
            ``observe_every`` steps and at the end.
        observe_every: steps between two calls.
        **options: the fields of `DynamicsOptions`, e.g. ``ensemble="nvt"``, ``temperature_K=600``,
            ``timestep_fs=1.0``, ``moments="fixed"``, ``directions="fixed"``.

    Raises:
        ValueError: if a configuration has an unknown element, no moments, constraints, or vectors
            where the potential is not even; if an option is out of range; the checkpoint belongs to
            another run, or another process uses it.

    Warns:
        EquilibrationWarning: if all moments of a replica have vanished: they start from those of
            the step before, so they stay at zero.

    Example:
        >>> result = mmtp.md(pot, atoms, 5000, ensemble="npt", temperature_K=600, log="thermo.csv")
        >>> print(result)
        >>> result.series.volume.mean()
    """
    if isinstance(watch, BoundWatch):
        watch.check(potential)
    chosen = made(DynamicsOptions, options, "md")
    atoms_list = given_configurations(atoms, potential.species)
    if not atoms_list:
        raise ValueError("there is no configuration to simulate; give at least one")
    system = start_system(potential, atoms_list, chosen)
    speeds = _length_speeds(atoms_list, system, chosen)
    files = Files(
        symbols=tuple(atoms_list[0].symbols),
        trajectories=trajectory_paths(trajectory, len(atoms_list)),
        every=trajectory_every,
        log=log,
        kept=[Path(path) for path in kept_files],
        checkpoint=checkpoint,
        belongs_to=_fingerprint(potential, system, chosen),
        without=(
            *(() if isinstance(watch, GradedWatch) else (GRADE_COLUMN,)),
            *(() if chosen.spins == "dynamics" else OF_SPINS),
        ),
    )
    last: list[Snapshot] = []

    def record(steps: np.ndarray, rows: Series) -> None:
        if files.thermo is not None:
            files.thermo(steps, rows)
        if callback is not None:
            callback(steps, rows)

    def atoms_at(snapshot: Snapshot) -> list[Atoms]:
        replicas = range(len(atoms_list))
        return [atoms_of_state(snapshot.state, r, files.symbols) for r in replicas]

    def shown(snapshot: Snapshot) -> None:
        observe(snapshot.step, atoms_at(snapshot))

    with locked(checkpoint), locked(trajectory), locked(log):
        if begins is not None:
            begins()
        saved = files.known(resume)
        observers = [
            *([Observer(trajectory_every, files.write)] if files.trajectories else []),
            *([Observer(checkpoint_every, files.save, drains=True)] if checkpoint else []),
            *([Observer(observe_every, shown)] if observe is not None else []),
            # Never due on the way: it is told of the end.
            Observer(max(n_steps, 1), last.append),
        ]
        result = simulate(
            potential, system, n_steps, chosen, watch=watch, observers=observers, record=record,
            keep=keep, resume=saved, begins=lambda: files.open(saved, chosen.timestep_fs),
            speeds=speeds,
        )  # fmt: skip
    follows = chosen.lengths if chosen.spins == "dynamics" else chosen.moments
    if follows == "equilibrate":
        _warn_of_collapse(system, last[-1].state.system)
    bath_K = None
    if chosen.ensemble != "nve":
        bath_K = chosen.per_replica("temperature_K", len(atoms_list))
    found = MDResult(
        **vars(result), atoms=atoms_at(last[-1]), bath_K=bath_K,
        resumed_at=0 if saved is None else int(saved.state.step),
    )  # fmt: skip
    if files.earlier is None:
        return found
    return _with_earlier(found, *files.earlier, chosen.log_every)


def _with_earlier(result: MDResult, steps: np.ndarray, rows: Series, every: int) -> MDResult:
    """The result with the rows of a log before its own, which are ``every`` steps apart.

    Where the log has other steps between its rows, those remain that are evenly apart.
    """
    every = int(np.lcm.reduce(np.append(np.diff(steps), every)))
    both = np.concatenate([steps, result.steps])
    even = both % every == 0
    columns = zip(rows, result.series, strict=True)
    return replace(
        result, steps=both[even], series=Series(*(np.concatenate(pair)[even] for pair in columns))
    )


def _warn_of_collapse(start: System, end: System) -> None:
    """Moments of single atoms come and go at high temperatures; all of them never come back."""
    replicas = range(start.n_replicas)
    pairs = [(np.asarray(start.magmoms[r]), np.asarray(end.magmoms[r])) for r in replicas]
    messages = [collapse_message(*pair) if is_zero(pair[1]) else "" for pair in pairs]
    warn_of_collapse(messages, [f"replica {r}" for r in replicas])


def start_system(
    potential: Potential, atoms_list: Sequence[Atoms], options: DynamicsOptions
) -> System:
    """Replicas with the velocities of the atoms, or thermal ones; see `md`."""
    for k, atoms in enumerate(atoms_list, 1):
        if atoms.constraints:
            name = getattr(atoms, SOURCE, f"configuration {k}")
            raise ValueError(f"{name} has constraints, which dynamics does not know; remove them")
    structures = start_structures(potential, atoms_list, vectors=True)
    if options.spins == "dynamics":
        structures = _as_vectors(potential, structures)
    structures, n_collinear = of_one_kind(structures)
    if n_collinear:
        logger.warning(
            "moments of %d of %d replicas are numbers and count as vectors along z, as those of "
            "the others are vectors", n_collinear, len(structures),
        )  # fmt: skip
    for structure in structures:
        # Replicas have no names any more.
        neighbour_table(structure, float(potential.cutoff))
    masses = atoms_list[0].get_masses()
    system = system_of(structures, masses)
    refuse_signs_of_vectors(options, system)
    n_replicas = len(atoms_list)
    drawn = thermal_velocities(
        system,
        options.per_replica("temperature_K", n_replicas),
        [options.seed + r for r in range(n_replicas)],
    )
    own = np.stack([atoms.get_velocities() for atoms in atoms_list])
    has_own = np.array([atoms.has("momenta") for atoms in atoms_list])
    velocities = np.where(has_own[:, None, None], np.asarray(without_drift(own, masses)), drawn)
    return system._replace(velocities=0.0 * velocities if options.fixed_atoms else velocities)


def _length_speeds(
    atoms_list: Sequence[Atoms], system: System, options: DynamicsOptions
) -> np.ndarray | None:
    """Speeds (R, n, 3) of lengths that the frames of another run have, or thermal ones.

    Where atoms bring velocities and no such speeds, these are of the temperature of the velocities:
    a run that goes on without a bath would heat the lengths, or cool them. None where all are to be
    drawn, or none move.
    """
    moves = options.spins == "dynamics" and options.lengths == "dynamic"
    has = [atoms.has(LENGTH_SPEEDS) for atoms in atoms_list]
    brings = [atoms.has("momenta") for atoms in atoms_list]
    if not moves or not any(has + brings):
        return None
    temperature = options.per_replica("temperature_K", len(atoms_list))
    if not options.fixed_atoms and system.n_atoms > 1:
        temperature = np.where(brings, temperatures(system), temperature)
    keys = keys_of(options.seed + r for r in range(len(atoms_list)))
    speeds = np.array(thermal_speeds(system.magmoms, KB * temperature, keys))
    for r in np.flatnonzero(has):
        found = np.asarray(atoms_list[r].arrays[LENGTH_SPEEDS], float)
        if found.shape != speeds[r].shape or not np.isfinite(found).all():
            name = getattr(atoms_list[r], SOURCE, f"configuration {r + 1}")
            raise ValueError(
                f"{name}: {LENGTH_SPEEDS!r} are three finite numbers for each atom, got an array "
                f"of shape {found.shape}; leave it out for thermal ones"
            )
        speeds[r] = found
    return speeds


def _as_vectors(potential: Potential, structures: Sequence[Structure]) -> list[Structure]:
    """Structures whose moments can turn: numbers are along z, as no axis is another's better."""
    try:
        check_vectors(potential)
    except ValueError as error:
        raise ValueError(f"{argument('spins', 'dynamics')}: {error}") from error
    for structure in structures:
        if not np.any(structure.magmoms):
            raise ValueError(
                f"{structure.name}: all moments are zero, so that there is nothing to precess; "
                "give the atoms moments"
            )
    if not any(structure.canted for structure in structures):
        warn_of_canted(potential, structures, turn=True)
    return [along_z(structure) for structure in structures]


@dataclass
class Files:
    """What a run writes to."""

    symbols: tuple[str, ...]
    trajectories: list[Path]
    every: int
    """Steps between two frames."""
    log: str | Path | None
    kept: list[Path]
    checkpoint: str | Path | None
    belongs_to: str
    without: tuple[str, ...]
    """Columns of the log that are not known."""
    frames: TrajectoryWriter | None = None
    thermo: ThermoLog | None = None
    earlier: tuple[np.ndarray, Series] | None = None
    """Steps (t,) and numbers that the log of a resumed run holds."""

    @property
    def growing(self) -> list[Path]:
        """Files that are added to."""
        log = [Path(self.log)] if self.log is not None else []
        return [*self.trajectories, *log, *self.kept]

    def known(self, resume: bool) -> Saved | None:
        """What to go on from; files are cut to where its checkpoint was."""
        for path in self.trajectories:
            check_name(path)
        saved, last = None, None
        if resume and self.checkpoint is None:
            raise ValueError("to resume a run, give the checkpoint that it wrote")
        if resume and not Path(self.checkpoint).exists():
            logger.info("there is no checkpoint %s yet: the run starts", self.checkpoint)
        elif resume:
            saved, sizes = load_dynamics(self.checkpoint, self.belongs_to)
            last = int(saved.state.step)
        if saved is not None and last < 0:
            # Earlier versions wrote it when they were interrupted before the first evaluation.
            logger.info("%s is from before the first step: the run starts", self.checkpoint)
            saved, last = None, None
        if saved is not None:
            logger.info("goes on from %s at step %d", self.checkpoint, last)
            names = [path.name for path in self.growing]
            if sorted(names) != sorted(sizes):
                raise ValueError(
                    f"{self.checkpoint} goes with {_words(sizes)}, not {_words(names)}; give the "
                    "same files to resume"
                )
            for path, stopped in zip(self.trajectories, saved.state.stopped_at, strict=False):
                if stopped < 0:
                    check_grid(path, self.every, last)
            for path in self.growing:
                cut_to(path, sizes[path.name])
            if self.log is not None:
                columns = read_series(self.log, ("step",), optional=Series._fields)
                self.earlier = (
                    columns["step"][:, 0].astype(int),
                    Series(*(columns[name] for name in Series._fields)),
                )
        return saved

    def open(self, saved: Saved | None, timestep_fs: float) -> None:
        """Start the files, or go on with those of a checkpoint."""
        last = None if saved is None else int(saved.state.step)
        if self.trajectories:
            self.frames = TrajectoryWriter(self.trajectories, self.symbols, self.every, last)
        if self.log is not None:
            go_on = saved is not None
            n_atoms = len(self.symbols)
            self.thermo = ThermoLog(self.log, timestep_fs, n_atoms, go_on, self.without)

    def write(self, snapshot: Snapshot) -> None:
        """Add frames that are due."""
        self.frames(snapshot)

    def save(self, snapshot: Snapshot) -> None:
        """Write the checkpoint."""
        if self.frames is not None:
            # Where replicas stopped since the last frame, which a resumed run takes for written.
            self.frames(snapshot)
        sizes = {path.name: size_of(path) for path in self.growing}
        save_dynamics(self.checkpoint, snapshot.saved, self.belongs_to, sizes)


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no files"


def trajectory_paths(path: str | Path | None, n: int) -> list[Path]:
    """The files of n replicas: the one that is given, or one for each with its number."""
    if path is None:
        return []
    return [Path(path)] if n == 1 else [numbered(path, r) for r in range(n)]


def _fingerprint(potential: Potential, system: System, options: DynamicsOptions) -> str:
    """Of all that the course depends on."""
    # How often the host looks, and what it notes, does not change the course.
    settings = {**vars(options), "dtype": str(options.dtype), "chunk_steps": 0, "log_every": 0}
    return fingerprint(repr(sorted(settings.items())), potential, system)
