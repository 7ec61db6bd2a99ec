"""Cost of grades next to evaluations, and of maxvol next to motep's on the same matrix.

    python scripts/bench_active.py --levels 6 12 --rows 2000

Grades are those of one configuration of the given size; maxvol chooses among rows dE/dtheta of
rattled cells, with the rows of the identity appended for motep, so that both have the same rank.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import bench_common as bench
import jax
import numpy as np

import mmtp_jax as mmtp
from mmtp_jax.active.grade import configuration_grades, neighborhood_grades
from mmtp_jax.active.jacobian_rows import site_rows
from mmtp_jax.active.maxvol import MISSING_SCALE, TOLERANCE, maxvol
from mmtp_jax.active.scaling import column_scale
from mmtp_jax.potential.observables import evaluate
from mmtp_jax.structures.batch import default_chunk, make_batches


def grades(potential: mmtp.Potential, n_atoms: int) -> list[dict[str, Any]]:
    """Microseconds per atom of an evaluation and of grades, by turns."""
    structure = bench.structure(bench.cells_for(n_atoms), potential.n_species, 99)
    train = [bench.structure((1, 1, 2), potential.n_species, seed) for seed in range(20)]
    (batch,) = make_batches([structure], float(potential.cutoff))
    graph = jax.device_put(batch.graph)
    on_device = jax.device_put(potential)
    calls: dict[str, Callable[[], Any]] = {}
    executable, _ = bench.compiled(partial(evaluate, chunk=default_chunk()), on_device, graph)
    calls["evaluation"] = partial(_call, executable, on_device, graph)
    for mode, function in (
        ("configuration", configuration_grades),
        ("neighborhood", neighborhood_grades),
    ):
        active = mmtp.ActiveSet.from_configurations(potential, train, mode=mode)
        factors = jax.device_put(active.factors)
        arguments = (factors, on_device, graph)
        executable, _ = bench.compiled(partial(function, chunk=default_chunk()), *arguments)
        calls[f"grade by {mode}"] = partial(_call, executable, *arguments)
    best = bench.timed(calls, 5)
    return [
        {
            "what": what,
            "level": potential.level,
            "n_parameters": potential.n_parameters,
            "atoms": len(structure),
            "us_per_atom": 1e6 * seconds / len(structure),
            "ratio_to_evaluation": seconds / best["evaluation"],
        }
        for what, seconds in best.items()
    ]


def volumes(potential: mmtp.Potential, n_rows: int, repeats: int) -> list[dict[str, Any]]:
    """Seconds of maxvol and of motep's, by turns, and the log-volumes that they reach."""
    cells = [bench.structure((2, 2, 3), potential.n_species, k) for k in range(-(-n_rows // 24))]
    rows = site_rows(potential, cells)[:n_rows]
    rows /= column_scale([rows])
    size = rows.shape[1]
    longer = np.concatenate([rows, MISSING_SCALE * np.eye(size)])
    calls: dict[str, Callable[[], float]] = {"maxvol": lambda: maxvol(rows).log_volume}
    try:
        from motep.grade.maxvol import MaxVol
    except ImportError:
        pass
    else:
        by_qr = MaxVol(algorithm="maxvol", init_method="qr", threshold=TOLERANCE)
        by_mlip = MaxVol(algorithm="mlip")
        calls["motep, qr"] = lambda: _log_volume(by_qr.run(longer).submatrix)
        calls["motep, mlip"] = lambda: _log_volume(by_mlip.run(longer).submatrix)
    start = time.perf_counter()
    calls["maxvol"]()
    first = time.perf_counter() - start
    best = dict.fromkeys(calls, float("inf"))
    reached = {}
    for _ in range(repeats):
        for what, call in calls.items():
            start = time.perf_counter()
            reached[what] = call()
            best[what] = min(best[what], time.perf_counter() - start)
    return [
        {
            "what": what,
            "level": potential.level,
            "n_parameters": size,
            "rows": len(rows),
            "seconds": seconds,
            "log_volume": reached[what],
            **({"first_call_s": first} if what == "maxvol" else {}),
        }
        for what, seconds in best.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, nargs="+", default=[6, 12])
    parser.add_argument("--atoms", type=int, nargs="+", default=[54, 432])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--species", type=int, default=2)
    parser.add_argument("--magnetic-size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json")
    options = parser.parse_args()
    print(bench.environment())
    found = []
    for level in options.levels:
        potential = bench.potential(level, options.species, options.magnetic_size, "symmetrised")
        for n_atoms in options.atoms:
            for row in grades(potential, n_atoms):
                print(
                    f"level {level}, P {row['n_parameters']}, {row['atoms']} atoms "
                    f"{row['what']:24s} {row['us_per_atom']:8.2f} us/atom "
                    f"{row['ratio_to_evaluation']:6.2f} evaluations",
                    flush=True,
                )
                found.append(row)
        for row in volumes(potential, options.rows, options.repeats):
            print(
                f"level {level}, {row['rows']} x {row['n_parameters']} {row['what']:12s} "
                f"{row['seconds']:8.3f} s, log-volume {row['log_volume']:.6f}",
                flush=True,
            )
            found.append(row)
    bench.save_json(options.json, found)


def _call(function: Any, *arguments: Any) -> None:
    jax.block_until_ready(function(*arguments))


def _log_volume(matrix: np.ndarray) -> float:
    return float(np.linalg.slogdet(matrix)[1])


if __name__ == "__main__":
    main()
