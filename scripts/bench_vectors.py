"""What vectors as moments cost beside collinear ones: evaluation and gradient by parameters.

    python scripts/bench_vectors.py --levels 8 12 16 --forms parity symmetrised

The two take turns, and the ratio is that of the CPU times of single calls, medians.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import jax
import numpy as np
from bench_common import CUTOFF, cells_for, potential, save_json, structure

from mmtp_jax.potential.forms import FORMS
from mmtp_jax.potential.observables import evaluate_graph, parameter_gradient
from mmtp_jax.structures.batch import default_chunk, pack
from mmtp_jax.structures.neighbours import neighbour_table

gradient = jax.jit(parameter_gradient, static_argnames="chunk")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", nargs="+", type=int, default=[8, 12, 16])
    parser.add_argument("--forms", nargs="+", default=["parity", "symmetrised"], choices=FORMS[:2])
    parser.add_argument("--atoms", type=int, default=432)
    parser.add_argument("--magnetic-size", type=int, default=3)
    parser.add_argument("--terms", type=int, default=0, help="functions of noncollinear terms")
    parser.add_argument("--calls", type=int, default=15)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()

    collinear = structure(cells_for(options.atoms))
    n = len(collinear)
    graph = pack([collinear], [neighbour_table(collinear, CUTOFF)], CUTOFF).graph
    moments = np.zeros((len(graph.types), 3))
    moments[:n] = np.random.default_rng(0).normal(size=(n, 3))
    graphs = {"collinear": graph, "vectors": graph._replace(magmoms=moments)}
    print("| level, form | collinear | vectors | ratio | gradient: collinear | vectors | ratio |")
    print("|---|---|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    for level in options.levels:
        for form in options.forms:
            pot = potential(level, 1, options.magnetic_size, form)
            pot = pot.with_noncollinear_terms(options.terms)
            theta, calls = pot.flatten(), {}
            for kind, of in graphs.items():
                evaluated = partial(evaluate_graph, pot, of, default_chunk())
                cotangents = evaluated()[1]
                calls["evaluate", kind] = evaluated
                calls["gradient", kind] = partial(
                    gradient, theta, pot, of, cotangents, default_chunk()
                )
            row = {"level": level, "form": form, "atoms": n}
            for (what, kind), seconds in medians(calls, options.calls).items():
                row[f"{what}_{kind}_us_per_atom"] = 1e6 * seconds / n
            rows.append(row)
            cells = []
            for what in ("evaluate", "gradient"):
                one, two = (row[f"{what}_{kind}_us_per_atom"] for kind in graphs)
                cells += [f"{one:.1f}", f"{two:.1f}", f"{two / one:.2f}"]
            print(f"| {level}, {form} | {' | '.join(cells)} |", flush=True)
    save_json(options.json, rows)


def medians(calls: dict[Any, Any], n: int) -> dict[Any, float]:
    """Median CPU seconds of a call of each function; the functions take turns."""
    found: dict[Any, list[float]] = {key: [] for key in calls}
    for k in range(n + 1):
        for key, call in calls.items():
            start = time.process_time()
            jax.block_until_ready(call())
            if k:  # The first call compiles.
                found[key].append(time.process_time() - start)
    return {key: float(np.median(of)) for key, of in found.items()}


if __name__ == "__main__":
    main()
