"""Equilibration of moments: wall time per configuration, side by side with scipy on motep.

    python scripts/bench_equilibrate.py --configurations 16

The potential is fitted here to the shipped configurations of iron; bcc cells of 16 atoms with
rattled atoms and moments of 1.2 to 2.8 mu_B are equilibrated. The other side is what motep's own
calculator does: `scipy.optimize.minimize` with L-BFGS-B on energies and magnetic gradients of its C
engine, whose neighbour list is up to date. motep evaluates the bare energy, so both do.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import bench_common as bench
import numpy as np
from ase.build import bulk

import mmtp_jax as mmtp


def fitted_potential(level: int, path: str | None) -> mmtp.Potential:
    """A bare potential of iron with a realistic energy of the moments."""
    if path is not None and Path(path).exists():
        return mmtp.load(path)
    start = mmtp.Potential.new(
        level=level, species=("Fe",), magnetic_size=3, cutoff=5.0, min_dist=2.0,
        max_magmom=3.0, form="bare",
    )  # fmt: skip
    data = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    potential = mmtp.fit(start, data, max_iterations=500).potential
    if path is not None:
        mmtp.save(path, potential)
    return potential


def cells(n: int, side: int) -> list[Any]:
    """Rattled bcc cells of 2 * side^3 atoms, ferromagnetic."""
    rng, found = np.random.default_rng(0), []
    for k in range(n):
        atoms = bulk("Fe", cubic=True, a=rng.uniform(2.84, 2.92)) * (side, side, side)
        atoms.rattle(0.03, seed=k)
        atoms.set_initial_magnetic_moments(rng.uniform(1.2, 2.8, len(atoms)))
        found.append(atoms)
    return found


def of_motep(potential: mmtp.Potential, atoms_list: list[Any], tolerance: float) -> Any:
    """() -> energies, evaluations of the peer; None without motep."""
    data = bench.motep_data(potential)
    if data is None:
        return None
    from motep.potentials.mmtp.cext.engine import CExtMagMTPEngine
    from scipy.optimize import Bounds, minimize

    engines = []
    for atoms in atoms_list:
        engines.append(CExtMagMTPEngine(data, mode="run"))
        engines[-1].calculate(atoms)
    low, high = float(potential.min_magmom[0]), float(potential.max_magmom[0])

    def equilibrate() -> tuple[np.ndarray, np.ndarray]:
        found = []
        for engine, atoms in zip(engines, atoms_list, strict=True):

            def energy(m: np.ndarray, engine: Any = engine, atoms: Any = atoms) -> Any:
                result = engine.calculate(atoms, magmoms=np.ascontiguousarray(m))
                return float(result["energy"]), np.array(result["mgrad"])

            found.append(
                minimize(
                    energy, atoms.get_initial_magnetic_moments(), jac=True, method="L-BFGS-B",
                    bounds=Bounds(low, high), options={"gtol": tolerance, "ftol": 0.0},
                )
            )  # fmt: skip
        return np.array([r.fun for r in found]), np.array([r.nfev for r in found])

    return equilibrate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", type=int, default=16)
    parser.add_argument("--side", type=int, default=2, help="cells per edge; 2 side^3 atoms")
    parser.add_argument("--levels", type=int, nargs="+", default=[8])
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-3, 5e-6])
    parser.add_argument("--potential", help="read it from this file, or write it there")
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = []
    for level in options.levels:
        potential = fitted_potential(level, options.potential)
        atoms_list = cells(options.configurations, options.side)
        for tolerance in options.tolerances:
            rows.append(compare(potential, atoms_list, tolerance))
    bench.save_json(options.json, rows)


def compare(potential: mmtp.Potential, atoms_list: list[Any], tolerance: float) -> dict[str, Any]:
    """Time both ways of equilibration, neighbour search included on our side; print a line."""
    ours = partial(mmtp.equilibrate, potential, atoms_list, tolerance=tolerance)
    start = time.perf_counter()
    found = ours()
    first = time.perf_counter() - start
    functions = {"ours": ours}
    peer = of_motep(potential, atoms_list, tolerance)
    if peer is not None:
        functions["motep"] = peer
    times = bench.timed(functions, repeats=3)
    n, n_atoms = len(atoms_list), len(atoms_list[0])
    steps = np.array([result.n_steps for result in found])
    row = {
        "level": potential.level,
        "atoms": n_atoms,
        "configurations": n,
        "tolerance": tolerance,
        "converged": float(np.mean([result.converged for result in found])),
        "evaluations": float(steps.mean()),
        "ms_per_configuration": 1e3 * times["ours"] / n,
        "first_call_s": first,
    }
    text = (
        f"level {row['level']}, {n} x {n_atoms} atoms, tolerance {tolerance:g}: "
        f"{row['ms_per_configuration']:.3f} ms per configuration, {steps.mean():.1f} evaluations, "
        f"{100 * row['converged']:.0f} % converged, first call {first:.1f} s"
    )
    if peer is not None:
        energies, evaluations = peer()
        row["motep_ms_per_configuration"] = 1e3 * times["motep"] / n
        row["motep_evaluations"] = float(evaluations.mean())
        row["ratio_to_motep"] = times["motep"] / times["ours"]
        row["largest_energy_difference"] = float(
            np.abs(energies - [result.energy for result in found]).max()
        )
        text += (
            f"; motep {row['motep_ms_per_configuration']:.2f} ms, {evaluations.mean():.1f} "
            f"evaluations: {row['ratio_to_motep']:.1f} times; energies agree within "
            f"{row['largest_energy_difference']:.1e} eV"
        )
    print(text, flush=True)
    return row


if __name__ == "__main__":
    main()
