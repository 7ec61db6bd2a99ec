"""The LAMMPS bridge: cost beside the bare evaluation, scaling over ranks, memory.

    mpiexec -bind-to core -n 2 python scripts/bench_lammps.py --atoms 432 2000
    mpiexec -bind-to core -n 2 python scripts/bench_lammps.py --potential pot.mtp --json lammps.json
    taskset -c 0 python scripts/bench_lammps.py --route mliap --memory 0

`evaluate` is the compiled evaluation of one rank with neighbours at hand; the others are steps of
constant energy in LAMMPS with all that belongs to them, moments fixed or equilibrated. `overhead`
is what a step on one rank costs beside its evaluations, in processor time, which other work on the
machine does not lengthen. Strong scaling: the same atoms on all ranks; weak: as many for each rank
as for one alone. A rank that is not bound to a core takes all of them, also those of the others.
Runs on one rank and on all alternate in the same processes, while the other ranks sleep; ratios are
medians of the pairs. Memory is what a larger system adds to the process, per atom of a rank. With
`--route mliap`, runs of `fix external` on one rank alternate with them, too, and `/external` is the
ratio of processor times of a step; give that one rank a core of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from importlib.resources import files
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import numpy as np

from mpi4py import MPI  # isort: skip
from lammps import lammps

import mmtp_jax as mmtp
from mmtp_jax.interfaces.lammps import LammpsBridge, attach
from mmtp_jax.interfaces.lammps.evaluation import evaluate_rows, packed
from mmtp_jax.interfaces.lammps.options import ROUTES
from mmtp_jax.interfaces.lammps.pair_evaluator import PairEvaluator
from mmtp_jax.interfaces.lammps.pairs import evaluate_pairs
from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.structures.batch import default_chunk

WORLD = MPI.COMM_WORLD
LATTICE = 2.82


def fitted(level: int, iterations: int) -> mmtp.Potential:
    """A potential of iron with a margin beside the data, so that a hot crystal is not stopped."""
    atoms_list = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    start = mmtp.Potential.new(level=level, species=("Fe",), magnetic_size=3, cutoff=5.0)
    options = {"max_iterations": iterations, "min_dist": 2.0, "max_magmom": 3.5}
    return mmtp.fit(start, atoms_list, **options).potential


def session(
    potential: mmtp.Potential, n_atoms: int, comm: Any, moments: str, route: str
) -> LammpsBridge:
    """A crystal of about so many atoms at 300 K, compiled and warm."""
    side = max(2, round((n_atoms / 2) ** (1 / 3)))
    # Longer along x than needed for a cube, so that doubling the atoms doubles the slab.
    length = max(2, round(n_atoms / (2 * side * side)))
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"], comm=comm)
    lmp.commands_string(
        f"units metal\nlattice bcc {LATTICE}\nregion box block 0 {length} 0 {side} 0 {side}\n"
        "create_box 1 box\ncreate_atoms 1 box\nmass 1 55.845\ntimestep 0.001\n"
        "velocity all create 600 1 loop geom"
    )
    bridge = attach(lmp, potential, ("Fe",), {"Fe": 2.2}, moments=moments, route=route)
    bridge.commands("fix 1 all nve\nthermo 1000\nrun 5")
    return bridge


def clocks() -> np.ndarray:
    """Seconds of the wall and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def per_step(bridge: LammpsBridge, n_steps: int) -> np.ndarray:
    """`clocks` and evaluations of a step."""
    start, before = clocks(), bridge._evaluator.n_evaluations
    # Without setup: that is one more evaluation.
    bridge.commands(f"run {n_steps} pre no post no")
    assert bridge.stopped is None, bridge.report
    evaluations = bridge._evaluator.n_evaluations - before
    return np.array([*(clocks() - start), evaluations]) / n_steps


def bare(bridge: LammpsBridge, n_times: int) -> np.ndarray:
    """`clocks` of the compiled evaluation alone."""
    evaluator = bridge._evaluator
    with mmtp.double_precision():
        if isinstance(evaluator, PairEvaluator):
            kept: list[Any] = []
            evaluator.end = lambda: kept.append(evaluator._pairs)
            bridge.commands("run 0 post no")
            del evaluator.end
            program, given = evaluate_pairs, (kept[0].rows, np.append(0.0, bridge.magmoms))
        else:
            found, positions = evaluator._present()
            magmoms = evaluator._of_rank(found, bridge.magmoms)
            program, given = evaluate_rows, (found.rows, packed(positions, magmoms))
        given = jax.device_put(given)
        start = clocks()
        for _ in range(n_times):
            jax.block_until_ready(program(evaluator.potential, *given, default_chunk()))
        return (clocks() - start) / n_times


def wait() -> None:
    """Until all ranks are here, without using a core."""
    request = WORLD.Ibarrier()
    while not request.Test():
        time.sleep(0.01)


def alternated(potential: mmtp.Potential, alone: int, shared: int, args: Any, moments: str) -> dict:
    """``alone`` atoms on rank 0 and ``shared`` ones on all ranks, in turns; milliseconds."""
    one = external = None
    if WORLD.rank == 0:
        one = session(potential, alone, MPI.COMM_SELF, moments, args.route)
        if args.route != "external":
            external = session(potential, alone, MPI.COMM_SELF, moments, "external")
    wait()
    every = session(potential, shared, WORLD, moments, args.route)
    rows: dict[str, list[np.ndarray]] = {"evaluate": [], "one": [], "all": [], "external": []}
    for _ in range(args.repeats):
        if one is not None:
            rows["evaluate"].append(bare(one, args.steps))
            rows["one"].append(per_step(one, args.steps))
            rows["external"].append(
                rows["one"][-1] if external is None else per_step(external, args.steps)
            )
        wait()
        found = per_step(every, args.steps)
        if WORLD.rank == 0:
            rows["all"].append(found)
    if WORLD.rank:
        return {}
    evaluate, alone_, all_, external_ = (np.array(found) for found in rows.values())
    overhead = alone_[:, 1] - alone_[:, 2] * evaluate[:, 1]
    return {
        "moments": moments,
        "atoms_alone": one._host.n_atoms,
        "atoms_shared": every._host.n_atoms,
        "ranks": WORLD.size,
        "evaluate_ms": 1e3 * np.median(evaluate[:, 0]),
        "step_one_rank_ms": 1e3 * np.median(alone_[:, 0]),
        "step_all_ranks_ms": 1e3 * np.median(all_[:, 0]),
        "ratio": np.median(all_[:, 0] / alone_[:, 0]),
        "evaluate_processor_ms": 1e3 * np.median(evaluate[:, 1]),
        "overhead_processor_ms": 1e3 * np.median(overhead),
        "evaluations_per_step": np.median(alone_[:, 2]),
        "step_processor_ms": 1e3 * np.median(alone_[:, 1]),
        "to_external": np.median(alone_[:, 1] / external_[:, 1]),
    }


def memory_per_atom(potential: mmtp.Potential, n_atoms: int, route: str) -> float:
    """kB that a system adds to the largest size of this process, per own atom."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bridge = session(potential, n_atoms, WORLD, "equilibrate", route)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) / max(1, bridge.lmp.extract_setting("nlocal"))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--atoms", type=int, nargs="+", default=[432, 2000])
    parser.add_argument("--level", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--potential", metavar="FILE", help="of iron; by default one is fitted")
    parser.add_argument("--route", choices=ROUTES, default=ROUTES[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", type=int, default=8192, help="atoms for the memory; 0 for none")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    potential, compared = None, args.route != "external"
    if WORLD.rank == 0:
        potential = mmtp.load(args.potential) if args.potential else None
        potential = potential or fitted(args.level, args.iterations)
    wait()
    potential = WORLD.bcast(potential)

    results = []
    if WORLD.rank == 0:
        print(
            f"{'moments':<12}{'scaling':<8}{'atoms, one/all':>16}{'evaluate':>10}{'one rank':>10}"
            f"{f'{WORLD.size} ranks':>10}{'ratio':>7}{'eval/step':>11}"
            f"{'evaluate':>10}{'overhead':>10}{'step':>10}{'/external' if compared else '':>11}   "
            "milliseconds per step; the last ones of processor"
        )
    for moments in ("fixed", "equilibrate"):
        for n in args.atoms:
            for scaling, shared in (("strong", n), ("weak", n * WORLD.size)):
                found = alternated(potential, n, shared, args, moments)
                if WORLD.rank:
                    continue
                results.append({"scaling": scaling, **found})
                sizes = f"{found['atoms_alone']}/{found['atoms_shared']}"
                print(
                    f"{moments:<12}{scaling:<8}{sizes:>16}{found['evaluate_ms']:>10.2f}"
                    f"{found['step_one_rank_ms']:>10.2f}{found['step_all_ranks_ms']:>10.2f}"
                    f"{found['ratio']:>7.2f}{found['evaluations_per_step']:>11.2f}"
                    f"{found['evaluate_processor_ms']:>10.2f}"
                    f"{found['overhead_processor_ms']:>10.2f}"
                    f"{found['step_processor_ms']:>10.2f}"
                    + (f"{found['to_external']:>11.2f}" if compared else ""),
                    flush=True,
                )
    memory = WORLD.gather(
        memory_per_atom(potential, args.memory, args.route) if args.memory else np.nan
    )
    if WORLD.rank == 0:
        print(f"memory: {max(memory):.1f} kB per atom of a rank, {args.memory} atoms in all")
        if args.json is not None:
            with atomic_write(args.json) as temporary:
                temporary.write_text(json.dumps({"results": results, "memory_kB": memory}))


if __name__ == "__main__":
    main()
