"""Equation of state and magnetisation over volume, at 0 K and from dynamics (Burov 2026, Fig. 3).

At 0 K the moments are equilibrated at each volume, and positions relax. At a temperature, replicas
of a supercell run at fixed volumes in contact with a heat bath, and pressure and moments are
averages over the steps after thermalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.interfaces.dynamics import start_system
from mmtp_jax.interfaces.relaxation import relax, uninterrupted
from mmtp_jax.io.schema import set_moments
from mmtp_jax.options import also
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.properties.birch_murnaghan import (
    BirchMurnaghan,
    NoMinimumError,
    fit_energies,
    fit_pressures,
)
from mmtp_jax.properties.states import TIGHT, lost_state
from mmtp_jax.readable import readable
from mmtp_jax.simulation.constants import GPA
from mmtp_jax.simulation.dynamics.molecular_dynamics import simulate
from mmtp_jax.simulation.dynamics.observer import Observer, Snapshot
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.structures.structure import lengths

BLOCKS = 8
"""Blocks of a time series whose means give the standard error."""

LEAST = 4
"""Volumes that must count for a fit."""

DEFAULT_SCALES = tuple(np.linspace(0.97, 1.03, 9))
"""Of the lengths of the cell."""


@readable
@dataclass(frozen=True, eq=False)
class EquationOfState:
    """Energy, pressure and moments at k volumes, and a Birch-Murnaghan fit of those that count."""

    scales: np.ndarray
    """(k,) factor of the cell vectors."""
    volumes: np.ndarray
    """(k,) Angstrom^3 per atom."""
    energies: np.ndarray
    """(k,) eV per atom; at a temperature the mean potential energy."""
    pressures: np.ndarray
    """(k,) GPa."""
    moments: np.ndarray
    """(k,) mean |m| of all atoms, mu_B."""
    magnetisations: np.ndarray
    """(k,) sum of the moments per atom, mu_B; of vectors, its length."""
    counts: np.ndarray
    """(k,) bool: the state was kept and the calculation ended; others take no part in the fit."""
    messages: tuple[str, ...] = field(repr=False)
    """What is wrong with each, empty where nothing is."""
    fit: BirchMurnaghan | None
    """To energies at 0 K, to pressures at a temperature; volume and energy per atom. None where
    there is no minimum between the volumes, or too few of them count."""
    temperature_K: float | None
    """None for 0 K without zero-point motion."""
    pressure_errors: np.ndarray | None = None
    """(k,) standard errors of averages over time, GPa."""
    moment_errors: np.ndarray | None = None
    no_fit: str = field(default="", repr=False)
    """Why there is no fit, in words."""

    def lattice_parameters(self, atoms_per_cell: float = 2.0) -> np.ndarray:
        """(k,) of cubic cells with so many atoms, Angstrom."""
        return np.cbrt(atoms_per_cell * self.volumes)

    def lattice_parameter(self, atoms_per_cell: float = 2.0) -> float:
        """At zero pressure, of a cubic cell with so many atoms, Angstrom.

        Raises:
            NoMinimumError: if there is no fit.
        """
        return float(np.cbrt(atoms_per_cell * self._minimum().volume))

    @property
    def moment(self) -> float:
        """Mean |m| at zero pressure, by interpolation between the volumes, mu_B.

        Raises:
            NoMinimumError: if there is no fit.
        """
        order = np.argsort(self.volumes[self.counts])
        volumes, moments = self.volumes[self.counts][order], self.moments[self.counts][order]
        return float(np.interp(self._minimum().volume, volumes, moments))

    def _minimum(self) -> BirchMurnaghan:
        if self.fit is None:
            raise NoMinimumError(self.no_fit)
        return self.fit

    def __str__(self) -> str:
        """`in_words`, for a cell of two atoms."""
        return self.in_words()

    def in_words(self, atoms_per_cell: float = 2.0) -> str:
        """The fit in a few lines, with the lattice parameter of a cubic cell of so many atoms."""
        at_rest = self.temperature_K is None
        volumes = (
            f"{int(self.counts.sum())} volumes at {0 if at_rest else self.temperature_K:g} K, "
        )
        if self.fit is None:
            return f"{volumes}no fit: {self.no_fit}"
        rms = f"{1e3 * self.fit.rms:.2g} meV/atom" if at_rest else f"{self.fit.rms:.2g} GPa"
        return "\n".join(
            (
                f"{volumes}Birch-Murnaghan fit with a root mean square deviation of {rms}",
                f"lattice parameter {self.lattice_parameter(atoms_per_cell):.4f} Angstrom (cell of "
                f"{atoms_per_cell:g} atoms), volume {self.fit.volume:.4f} Angstrom^3/atom",
                f"bulk modulus {self.fit.bulk_modulus:.1f} GPa, its derivative "
                f"{self.fit.bulk_derivative:.2f}",
                f"mean moment {self.moment:.3f} mu_B/atom at zero pressure",
            )
        )


@also(steps="n_steps")
def equation_of_state(
    potential: Potential,
    atoms: Atoms,
    scales: Sequence[float] = DEFAULT_SCALES,
    *,
    temperature_K: float | None = None,
    shape: bool = False,
    n_steps: int = 2000,
    n_thermalise: int | None = None,
    sample_every: int = 5,
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> EquationOfState:
    """Energy, pressure and magnetic moments against volume, and a Birch-Murnaghan fit.

    Args:
        potential: the potential.
        atoms: a crystal; for dynamics a supercell. It is not changed. Its moments define the
            magnetic state at all volumes.
        scales: factors of its cell vectors, at least four. If the minimum is not between them, or
            fewer than four keep the magnetic state, there is no fit.
        temperature_K: of dynamics at fixed volumes (Burov 2026, Fig. 3); None for 0 K.
        shape: at 0 K, the shape of the cell relaxes at each volume.
        n_steps: of dynamics, thermalisation included.
        n_thermalise: first steps that do not count, by default a quarter.
        sample_every: steps between two samples of the moments.
        callback: called with the number of volumes, or steps, that are done.
        **options: of the relaxations (see `mmtp_jax.relax`) or of dynamics (see `mmtp_jax.md`;
            ``timestep_fs``, ``thermostat``, ``seed``, ``spins``, ...).

    Raises:
        ValueError: if no volume can be calculated without the loss of the magnetic state.

    Example:
        >>> found = mmtp.equation_of_state(pot, atoms)
        >>> found.lattice_parameter(), found.fit.bulk_modulus, found.moment
        >>> warm = mmtp.equation_of_state(pot, atoms.repeat(4), temperature_K=300)
    """
    scales = np.asarray(scales, float)
    if scales.ndim != 1 or len(np.unique(scales)) < 4 or not np.all(scales > 0):
        raise ValueError(f"scales must be four or more different positive numbers, got {scales}")
    if not np.all(atoms.pbc):
        raise ValueError("an equation of state needs a cell that is periodic in 3D; set pbc")
    replicas = [_scaled(atoms, scale) for scale in scales]
    if temperature_K is None:
        return _at_rest(potential, replicas, scales, shape, callback, options)
    samples = n_steps // 4 if n_thermalise is None else n_thermalise
    if not 0 <= samples <= n_steps - BLOCKS * sample_every:
        raise ValueError(
            f"n_thermalise = {samples} of {n_steps} steps leaves fewer than {BLOCKS} samples; run "
            "longer"
        )
    chosen = DynamicsOptions(ensemble="nvt", temperature_K=temperature_K, **options)
    return _in_motion(
        potential, replicas, scales, chosen, (n_steps, samples, sample_every), callback
    )


def _at_rest(
    potential: Potential,
    replicas: list[Atoms],
    scales: np.ndarray,
    shape: bool,
    callback: Callable[[int], None] | None,
    options: dict[str, Any],
) -> EquationOfState:
    settings = {**TIGHT, "cell": "shape" if shape else "none", **options}
    found = uninterrupted(relax(potential, replicas, callback=callback, **settings))
    messages = tuple(
        lost_state(f.start_magmoms, f.magmoms) or ("" if f.converged else f.message) for f in found
    )
    counts = np.array([not message for message in messages])
    n = len(replicas[0])
    volumes = np.array([f.volume for f in found]) / n
    energies = np.array([f.energy for f in found]) / n
    return EquationOfState(
        scales=scales,
        volumes=volumes,
        energies=energies,
        pressures=np.array([-f.details.result.stress[:3].mean() for f in found]) / GPA,
        moments=np.array([lengths(f.magmoms).mean() for f in found]),
        magnetisations=np.array([_total(f.magmoms.mean(axis=0)) for f in found]),
        counts=counts,
        messages=messages,
        temperature_K=None,
        **_fitted(fit_energies, volumes, energies, counts, messages),
    )


@with_double_precision
def _in_motion(
    potential: Potential,
    replicas: list[Atoms],
    scales: np.ndarray,
    options: DynamicsOptions,
    steps: tuple[int, int, int],
    callback: Callable[[int], None] | None,
) -> EquationOfState:
    n_steps, n_thermalise, every = steps
    magmoms: list[np.ndarray] = []

    def look(snapshot: Snapshot) -> None:
        if snapshot.step >= n_thermalise and not snapshot.final:
            magmoms.append(np.array(snapshot.state.system.magmoms))
        if callback is not None:
            callback(snapshot.step)

    system = start_system(potential, replicas, options)
    run = simulate(potential, system, n_steps, options, observers=[Observer(every, look)])
    if run.interrupted:
        raise KeyboardInterrupt
    messages = tuple(run.message_of(r) if o else "" for r, o in enumerate(run.outcomes))
    counts = np.array([not message for message in messages])
    late = run.steps >= n_thermalise
    n = len(replicas[0])
    sampled = np.array(magmoms)
    volumes = np.array([atoms.get_volume() for atoms in replicas]) / n
    pressures, pressure_errors = _mean(run.series.pressure[late])
    sizes = np.linalg.norm(sampled, axis=-1) if system.vectors else np.abs(sampled)
    moments, moment_errors = _mean(sizes.mean(axis=2))
    totals = sampled.mean(axis=2)
    totals = np.linalg.norm(totals, axis=-1) if system.vectors else totals
    return EquationOfState(
        scales=scales,
        volumes=volumes,
        energies=run.series.energy[late].mean(axis=0) / n,
        pressures=pressures,
        moments=moments,
        magnetisations=totals.mean(axis=0),
        counts=counts,
        messages=messages,
        temperature_K=float(np.ravel(options.temperature_K)[0]),
        pressure_errors=pressure_errors,
        moment_errors=moment_errors,
        **_fitted(fit_pressures, volumes, pressures, counts, messages),
    )


def _fitted(
    fit: Callable[[np.ndarray, np.ndarray], BirchMurnaghan],
    volumes: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    messages: Sequence[str],
) -> dict[str, Any]:
    """The fields ``fit`` and ``no_fit``: what was found is not lost for want of a fit.

    Raises:
        ValueError: if nothing counts.
    """
    if counts.sum() < LEAST:
        why = (
            f"only {int(counts.sum())} of {len(counts)} volumes count; for example: "
            f"{next(filter(None, messages))}; choose other volumes or other moments to start from"
        )
        if not counts.any():
            raise ValueError(why)
        return {"fit": None, "no_fit": why}
    try:
        return {"fit": fit(volumes[counts], values[counts])}
    except NoMinimumError as error:
        return {"fit": None, "no_fit": str(error)}


def _total(moment: np.ndarray) -> float:
    """A sum of moments, or the length of one of vectors."""
    return float(np.linalg.norm(moment) if np.ndim(moment) else moment)


def _mean(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (R,) of a time series (t, R), and its standard error from the means of blocks."""
    blocks = np.array([part.mean(axis=0) for part in np.array_split(series, BLOCKS)])
    return series.mean(axis=0), blocks.std(axis=0, ddof=1) / np.sqrt(BLOCKS)


def _scaled(atoms: Atoms, scale: float) -> Atoms:
    copy = atoms.copy()
    if not copy.has("initial_magmoms"):
        results = getattr(atoms.calc, "results", None) or {}
        if "magmoms" in results:
            set_moments(copy, results["magmoms"], np.ndim(results["magmoms"]) > 1)
    copy.set_cell(atoms.cell.array * scale, scale_atoms=True)
    return copy
