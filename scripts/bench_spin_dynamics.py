"""Spin dynamics: a step of atoms and moments next to one collinear evaluation of the potential.

    python scripts/bench_spin_dynamics.py --levels 8 12 16 --atoms 432
    python scripts/bench_spin_dynamics.py --levels 8 --atoms 9826 --calls 3

`evaluate` is one evaluation of collinear moments with neighbours at hand, `vectors` one of vectors,
below which a step of spin dynamics cannot be; `collinear step` is a step of ordinary dynamics at
fixed moments, and the rest are steps of spin dynamics by the treatment of lengths, searches of
neighbours included. All take turns in one process; times are CPU times, the least of some calls.
Coefficients are random, and the time step is so short that nothing moves far.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import bench_common as bench
import jax
import numpy as np
from bench_md import IRON_MASS

from mmtp_jax.potential.observables import evaluate_graph
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.run import Run
from mmtp_jax.simulation.system import system_of, thermal_velocities
from mmtp_jax.structures.batch import default_chunk, pack
from mmtp_jax.structures.neighbours import neighbour_table

STEPS = 8
"""Of a call of dynamics."""

PICOSECOND = 5000
"""Steps of 0.2 fs."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", nargs="+", type=int, default=[8, 12, 16])
    parser.add_argument("--atoms", type=int, default=432)
    parser.add_argument("--magnetic-size", type=int, default=3)
    parser.add_argument("--calls", type=int, default=9)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(bench.environment())
    rows: list[dict[str, Any]] = []
    for level in options.levels:
        times = of_level(level, options.magnetic_size, options.atoms, options.calls)
        n, one = times.pop("atoms"), times["evaluate"]
        print(f"level {level}, {n} atoms")
        for name, seconds in times.items():
            print(
                f"  {name:32s} {1e6 * seconds / n:8.2f} us/atom {seconds / one:6.2f} x evaluate, "
                f"{PICOSECOND * seconds / 60:8.2f} min for {PICOSECOND}",
                flush=True,
            )
            rows.append({"level": level, "atoms": n, "what": name, "seconds": seconds})
    bench.save_json(options.json, rows)


def of_level(level: int, magnetic_size: int, n_atoms: int, n_calls: int) -> dict[str, float]:
    """Least CPU seconds of one evaluation or step, and the number of atoms."""
    potential = bench.potential(level, 1, magnetic_size, "parity")
    structure = bench.structure(bench.cells_for(n_atoms))
    n = len(structure)
    system = system_of([structure], np.full(n, IRON_MASS))
    system = system._replace(velocities=thermal_velocities(system, np.full(1, 300.0), [0]))
    along = np.random.default_rng(0).normal(size=(n, 3)) + np.array([0.0, 0.0, 4.0])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    vectors = system._replace(magmoms=np.abs(system.magmoms)[..., None] * along)
    cutoff = float(potential.cutoff)
    graph = pack([structure], [neighbour_table(structure, cutoff)], cutoff).graph
    canted = np.zeros((len(graph.types), 3))
    canted[:n] = vectors.magmoms[0]
    calls: dict[str, Any] = {
        "evaluate": partial(_evaluate, potential, graph),
        "vectors": partial(_evaluate, potential, graph._replace(magmoms=canted)),
    }
    common = {"bounded": False, "timestep_fs": 1e-4, "chunk_steps": STEPS}
    runs = {
        "collinear step": (system, {"moments": "fixed"}),
        "fixed lengths": (vectors, {"spins": "dynamics", "lengths": "fixed"}),
        "dynamic lengths": (vectors, {"spins": "dynamics"}),
        "dynamic lengths, heat bath": (vectors, {"spins": "dynamics", "ensemble": "nvt"}),
    }
    for name, (start, special) in runs.items():
        run = Run(potential, start, DynamicsOptions(**common, **special))
        run.begin(None)
        run.seconds_per_step = 1e-9
        calls[name] = partial(run.advance, STEPS)
    best = dict.fromkeys(calls, np.inf)
    for k in range(n_calls + 1):
        for name, call in calls.items():
            start = time.process_time()
            jax.block_until_ready(call())
            per = (time.process_time() - start) / (STEPS if name in runs else 1)
            if k:  # The first call compiles.
                best[name] = min(best[name], per)
            if name in runs:
                call.func.__self__.seconds_per_step = 1e-9
    return {"atoms": n, **best}


def _evaluate(potential: Any, graph: Any) -> Any:
    return evaluate_graph(potential, graph, default_chunk())


if __name__ == "__main__":
    main()
