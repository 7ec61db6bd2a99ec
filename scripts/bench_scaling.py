"""Time and memory per atom against the size of the system; both should be flat above 1e3 atoms.

    python scripts/bench_scaling.py --level 16 --atoms 128 1024 8192 65536

Evaluation is energy, forces, stress and magnetic forces. The neighbour columns are what the host
does before: the search, and packing its result into padded rows.
"""

from __future__ import annotations

import argparse
import resource
import time
from functools import partial
from typing import Any

import bench_common as bench
import jax

from mmtp_jax.potential.observables import evaluate
from mmtp_jax.precision import require_precision
from mmtp_jax.structures.batch import default_chunk, pack
from mmtp_jax.structures.neighbours import neighbour_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--level", type=int, default=16)
    parser.add_argument("--atoms", type=int, nargs="+", default=[128, 1024, 8192, 65536])
    parser.add_argument("--dtype", default="float64", choices=["float64", "mixed", "float32"])
    parser.add_argument("--species", type=int, default=1)
    parser.add_argument("--magnetic-size", type=int, default=2)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    print(bench.environment())
    edges, contraction = require_precision(options.dtype)
    potential = bench.potential(
        options.level,
        options.species,
        options.magnetic_size,
        "bare" if options.bare else "symmetrised",
    )
    rows = [_measure(potential, n, options, edges, contraction) for n in options.atoms]
    large = [row["us_per_atom"] for row in rows if row["atoms"] >= 1000]
    if len(large) > 1:
        print(f"above 1e3 atoms the time per atom varies by {max(large) / min(large) - 1:.0%}")
    bench.save_json(options.json, rows)


def _measure(potential: Any, n_atoms: int, options: Any, edges: Any, contraction: Any) -> dict:
    structure = bench.structure(bench.cells_for(n_atoms), options.species)
    n = len(structure)
    cutoff = float(potential.cutoff)
    start = time.perf_counter()
    table = neighbour_table(structure, cutoff)
    searched = time.perf_counter()
    batch = pack([structure], [table], cutoff)
    packed = time.perf_counter()
    arguments = jax.device_put(
        (
            potential.astype(edges, contraction),
            jax.tree.map(lambda a: a.astype(edges) if a.dtype.kind == "f" else a, batch.graph),
        )
    )
    function, seconds = bench.compiled(partial(evaluate, chunk=default_chunk()), *arguments)
    best = bench.timed({"": lambda: jax.block_until_ready(function(*arguments))}, 5)[""]
    memory = function.memory_analysis()
    kilobytes = (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / n / 1e3
    row = {
        "atoms": n,
        "level": options.level,
        "dtype": options.dtype,
        "us_per_atom": 1e6 * best / n,
        "atoms_per_s": n / best,
        "kB_per_atom": kilobytes,
        "fill": batch.fill,
        "neighbours_us_per_atom": 1e6 * (searched - start) / n,
        "packing_us_per_atom": 1e6 * (packed - searched) / n,
        "compile_s": seconds,
        "peak_process_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(
        f"{n:8d} atoms  {row['us_per_atom']:8.3f} us/atom  {row['atoms_per_s']:10.3g} atoms/s"
        f"  {kilobytes:7.1f} kB/atom  fill {row['fill']:.2f}"
        f"  neighbours {row['neighbours_us_per_atom']:6.2f} + {row['packing_us_per_atom']:6.2f}"
        f" us/atom  compile {seconds:.1f} s",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
