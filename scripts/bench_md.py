"""Molecular dynamics: time per atom and step, next to the bare evaluation and to ASE.

    python scripts/bench_md.py --atoms 54 432 --level 8
    python scripts/bench_md.py --atoms 864 --bare --motep

`evaluate` is one evaluation with neighbours at hand; `fixed` and `equilibrated` are steps of
constant energy in `mmtp_jax.md`'s own loop, searches of neighbours included; `ASE` is ASE's
VelocityVerlet with `MMTPCalculator`; `motep` is the same integrator with motep's C engine and its
own relaxation of the moments, which evaluates the bare energy, so it needs --bare. The potential is
fitted to the shipped data first, unless one is given: random coefficients do not hold a crystal
together.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from importlib.resources import files
from typing import Any

import bench_common as bench
import jax
import numpy as np

import mmtp_jax as mmtp
from mmtp_jax.potential.observables import evaluate
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.run import Run
from mmtp_jax.simulation.system import system_of, thermal_velocities
from mmtp_jax.structures.batch import default_chunk, make_batches
from mmtp_jax.structures.structure import Structure

IRON_MASS = 55.845


def fitted(level: int, iterations: int, symmetrised: bool) -> mmtp.Potential:
    """A potential of iron, cutoff 5 Angstrom and three magnetic functions."""
    atoms_list = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    start = mmtp.Potential.new(
        level=level,
        species=("Fe",),
        magnetic_size=3,
        cutoff=5.0,
        form="symmetrised" if symmetrised else "bare",
    )
    # A margin beside the data, so that a hot crystal is not stopped.
    options = {"max_iterations": iterations, "min_dist": 2.0, "max_magmom": 3.5}
    return mmtp.fit(start, atoms_list, **options).potential


def crystal(n_atoms: int, n_replicas: int, temperature: float) -> Any:
    """Replicas of a bcc crystal at a temperature, magnetic moments up."""
    structures = []
    for seed in range(n_replicas):
        s = bench.structure(bench.cells_for(n_atoms), seed=seed)
        structures.append(Structure(s.cell, s.periodic, s.positions, s.types, np.full(len(s), 2.2)))
    system = system_of(structures, np.full(len(structures[0]), IRON_MASS))
    seeds = range(n_replicas)
    return system._replace(
        velocities=thermal_velocities(system, np.full(n_replicas, temperature), seeds)
    )


def native(potential: mmtp.Potential, system: Any, options: DynamicsOptions) -> Run:
    """A run that has been compiled."""
    run = Run(potential, system, options)
    run.begin(None)
    run.advance(30)
    if run.has_ended:
        raise ValueError(f"the replicas stopped: {run.result(30).message}")
    return run


def ase_dynamics(calculator: Any, system: Any, dt: float) -> Any:
    """ASE's integrator, compiled and warm."""
    import ase.units
    from ase import Atoms
    from ase.md.verlet import VelocityVerlet

    atoms = Atoms("Fe" * system.n_atoms, system.positions[0], cell=system.cell[0], pbc=True)
    atoms.set_masses(system.masses)
    atoms.set_velocities(system.velocities[0])
    atoms.set_initial_magnetic_moments(system.magmoms[0])
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, dt * ase.units.fs)
    dynamics.run(3)
    return dynamics


def of_motep(potential: mmtp.Potential) -> Any:
    """motep's calculator, which relaxes the moments from those of the last step."""
    from motep.calculator import make_calculator

    return make_calculator(bench.motep_data(potential), engine="cext", mode="run")


def seconds_per_step(steps: int, repeats: int, functions: dict[str, Any]) -> dict[str, float]:
    """Best of some repeats; the functions take turns."""
    best = dict.fromkeys(functions, np.inf)
    for _ in range(repeats):
        for name, advance in functions.items():
            start = time.perf_counter()
            advance(steps)
            best[name] = min(best[name], (time.perf_counter() - start) / steps)
    return best


def _evaluate(function: Any, arguments: tuple, steps: int) -> None:
    for _ in range(steps):
        jax.block_until_ready(function(*arguments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--potential", help="potential of iron in place of a fitted one")
    parser.add_argument("--save", help="write the fitted potential")
    parser.add_argument("--level", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--atoms", type=int, nargs="+", default=[54, 432])
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=300.0)
    parser.add_argument("--timestep", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-ase", action="store_true")
    parser.add_argument("--bare", action="store_true", help="fit without reversal symmetry")
    parser.add_argument("--motep", action="store_true", help="the peer too")
    parser.add_argument("--json")
    options = parser.parse_args()

    potential = (
        mmtp.load(options.potential)
        if options.potential
        else fitted(options.level, options.iterations, not options.bare)
    )
    if options.motep and potential.form == "symmetrised":
        parser.error("motep evaluates the bare energy only; give --bare")
    if options.save:
        mmtp.save(options.save, potential)
    print(bench.environment())
    rows = []
    for n_atoms in options.atoms:
        system = crystal(n_atoms, options.replicas, options.temperature)
        common = {"timestep_fs": options.timestep, "bounded": False, "chunk_steps": 128}
        runs = {
            "fixed": native(potential, system, DynamicsOptions(moments="fixed", **common)),
            "equilibrated 1e-3": native(potential, system, DynamicsOptions(**common)),
            "equilibrated 1e-5": native(
                potential, system, DynamicsOptions(tolerance=1e-5, **common)
            ),
        }
        structures = [
            Structure(system.cell[r], system.periodic, system.positions[r], system.types,
                      system.magmoms[r])
            for r in range(options.replicas)
        ]  # fmt: skip
        (batch,) = make_batches(structures, float(potential.cutoff))
        arguments = jax.device_put((potential.astype(np.float64), batch.graph))
        function, _ = bench.compiled(partial(evaluate, chunk=default_chunk()), *arguments)
        functions: dict[str, Any] = {"evaluate": partial(_evaluate, function, arguments)}
        functions |= {name: run.advance for name, run in runs.items()}
        if not options.no_ase:
            for name, equilibrate in (("ASE fixed", False), ("ASE equilibrated", True)):
                calculator = mmtp.MMTPCalculator(potential, equilibrate=equilibrate)
                functions[name] = ase_dynamics(calculator, system, options.timestep).run
        peer = None
        if options.motep:
            peer = ase_dynamics(of_motep(potential), system, options.timestep)
            functions["ASE motep relaxed"] = peer.run
        times = seconds_per_step(options.steps, options.repeats, functions)
        # ASE runs one replica.
        total = n_atoms * options.replicas
        print(f"{n_atoms} atoms, {options.replicas} replicas, level {potential.level}")
        for name, seconds in times.items():
            size = n_atoms if name.startswith("ASE") else total
            row = {"atoms": n_atoms, "replicas": options.replicas, "what": name,
                   "us_per_atom_step": 1e6 * seconds / size,
                   "ratio_to_evaluate": seconds / size * total / times["evaluate"]}  # fmt: skip
            text = (
                f"  {name:20s} {row['us_per_atom_step']:8.2f} us/atom/step "
                f"{row['ratio_to_evaluate']:6.2f} x evaluate"
            )
            if name in runs:
                run = runs[name]
                counts = np.concatenate([r.n_equilibration for r in run.rows])[1:]
                row |= {"evaluations": float(np.mean(counts)), "searches": run.n_searches,
                        "drift": float(run.result(0).drift()[0])}  # fmt: skip
                text += (
                    f"   {row['evaluations']:.2f} evaluations, {run.n_searches} searches in "
                    f"{run.step} steps, drift {row['drift']:+.4f} meV/atom/ps"
                )
            if peer is not None and name == "ASE motep relaxed":
                # What is left of the magnetic forces where motep's relaxation stops.
                row["left_eV_per_mu_B"] = float(np.abs(peer.atoms.calc.results["mgrad"]).max())
                text += f"   largest magnetic force {row['left_eV_per_mu_B']:.1e} eV/mu_B"
            print(text, flush=True)
            rows.append(row)
    bench.save_json(options.json, rows)


if __name__ == "__main__":
    main()
