"""Relaxation: wall time of many cells together, side by side with ASE's optimiser on one at a time.

    python scripts/bench_relax.py --configurations 20

The potential is fitted here to the shipped configurations of iron. Rattled and strained bcc cells
of 16 atoms relax positions, cell and moments to the same tolerances. The other side is BFGS with
`FrechetCellFilter` and `MMTPCalculator(equilibrate=True)`, whose evaluations are ours, too: what is
compared is the optimiser and its overhead. It is run until our own criteria hold.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import bench_common as bench
import numpy as np
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa
from bench_equilibrate import fitted_potential

import mmtp_jax as mmtp

FORCE, STRESS_GPA, MAGNETIC = 1e-3, 0.01, 1e-3


def cells(n: int, side: int) -> list[Any]:
    """Rattled and strained bcc cells of 2 * side^3 atoms, ferromagnetic."""
    found = []
    for k in range(n):
        rng = np.random.default_rng(k)
        atoms = bulk("Fe", cubic=True, a=rng.uniform(2.82, 2.88)) * (side, side, side)
        atoms.rattle(0.02, seed=k)
        strain = rng.normal(0.0, 0.005, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.set_initial_magnetic_moments(np.full(len(atoms), 2.2))
        found.append(atoms)
    return found


def of_ase(potential: mmtp.Potential, atoms_list: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Energies and numbers of geometries of BFGS, one configuration after the other."""
    calculator = mmtp.MMTPCalculator(potential, equilibrate=True, tolerance=0.1 * MAGNETIC)
    energies, steps = [], []
    for start in atoms_list:
        atoms = start.copy()
        atoms.calc = calculator
        search = BFGS(FrechetCellFilter(atoms), logfile=None)
        # irun yields before each step, so that our criteria can end it.
        for _ in search.irun(fmax=0.0, steps=300):
            force = np.linalg.norm(atoms.get_forces(), axis=1).max()
            if force < FORCE and np.abs(atoms.get_stress()).max() / GPa < STRESS_GPA:
                break
        energies.append(atoms.get_potential_energy())
        steps.append(search.nsteps + 1)
    return np.array(energies), np.array(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", type=int, default=20)
    parser.add_argument("--side", type=int, default=2, help="cells per edge; 2 side^3 atoms")
    parser.add_argument("--level", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--potential", help="read it from this file, or write it there")
    parser.add_argument("--json")
    options = parser.parse_args()
    potential = fitted_potential(options.level, options.potential)
    atoms_list = cells(options.configurations, options.side)
    bench.save_json(options.json, [compare(potential, atoms_list, options.repeats)])


def compare(potential: mmtp.Potential, atoms_list: list[Any], repeats: int) -> dict[str, Any]:
    """Time both, neighbour search included; print a line."""

    def ours() -> list[Any]:
        return mmtp.relax(
            potential, atoms_list, force_tolerance=FORCE, stress_tolerance_GPa=STRESS_GPA,
            magnetic_tolerance=MAGNETIC,
        )  # fmt: skip

    start = time.perf_counter()
    found = ours()
    first = time.perf_counter() - start
    energies, ase_steps = of_ase(potential, atoms_list)
    times = {"ours": np.inf, "ase": np.inf}
    for _ in range(repeats):
        for name, function in (("ours", ours), ("ase", lambda: of_ase(potential, atoms_list))):
            start = time.perf_counter()
            function()
            times[name] = min(times[name], time.perf_counter() - start)
    n, n_atoms = len(atoms_list), len(atoms_list[0])
    converged = np.array([result.converged for result in found])
    difference = np.abs(energies - [result.energy for result in found])[converged] / n_atoms
    row = {
        "level": potential.level,
        "configurations": n,
        "atoms": n_atoms,
        "converged": float(converged.mean()),
        "steps": float(np.mean([result.n_steps for result in found])),
        "evaluations": float(np.mean([result.n_evaluations for result in found])),
        "seconds": times["ours"],
        "first_call_s": first,
        "ase_steps": float(ase_steps.mean()),
        "ase_seconds": times["ase"],
        "ratio_to_ase": times["ase"] / times["ours"],
        "median_energy_difference": float(np.median(difference)),
        "largest_energy_difference": float(difference.max()),
    }
    print(
        f"level {row['level']}, {n} x {n_atoms} atoms: {row['seconds']:.3f} s, {row['steps']:.1f} "
        f"steps, {row['evaluations']:.1f} evaluations, {100 * row['converged']:.0f} % converged, "
        f"first call {first:.1f} s; ASE {row['ase_seconds']:.3f} s, {row['ase_steps']:.1f} steps: "
        f"{row['ratio_to_ase']:.1f} times; energies agree within "
        f"{row['largest_energy_difference']:.1e} eV/atom",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
