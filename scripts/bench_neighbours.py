"""Searches of neighbours, on host and device, and calls of the public API: time per atom.

    python scripts/bench_neighbours.py --atoms 1024 8192 65536
    python scripts/bench_neighbours.py --calls --atoms 54 432

The searches make the same list of bcc iron, 58 neighbours within 5.5 Angstrom, from positions to
padded rows: with vesin on the host, and with the cell list on the device (here the CPU too, unless
there is another), whose compilation is not counted. `--calls` moves the atoms a little from call to
call, and puts what the calculator of ASE and `mmtp.evaluate` take beside the compiled evaluation,
whose neighbours are at hand. The ways take turns; CPU time of the process is given, so that other
programs on the machine count less.
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
from mmtp_jax.potential.chunks import padded_count
from mmtp_jax.potential.observables import evaluate_graph
from mmtp_jax.structures import list_maker
from mmtp_jax.structures.batch import default_chunk, make_batches
from mmtp_jax.structures.list_maker import ListMaker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[1024, 8192, 65536])
    parser.add_argument("--calls", action="store_true", help="calls of the public API instead")
    parser.add_argument("--level", type=int, default=16)
    parser.add_argument("--forms", nargs="+", default=["bare", "parity"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    print(bench.environment())
    rows = []
    for n_atoms in options.atoms:
        for form in options.forms if options.calls else [None]:
            structure = bench.structure(bench.cells_for(n_atoms))
            if form is None:
                functions = searches(structure)
            else:
                functions = calls(bench.potential(options.level, 1, 2, form), structure)
            row = {"atoms": len(structure), "form": form}
            row |= cpu_times(functions, options.repeats, len(structure))
            rows.append(row)
            text = "  ".join(f"{k} {1e6 * row[k] / len(structure):7.2f}" for k in functions)
            print(f"{len(structure):7d} atoms {form or '':10s}  {text}  us/atom", flush=True)
    bench.save_json(options.json, rows)


def searches(structure: Any) -> dict[str, Callable[[], Any]]:
    """A search by each maker where a list has been made before."""
    functions = {}
    n_atoms = padded_count(len(structure), default_chunk())
    for name, on_device in (("host", False), ("device", True)):
        list_maker.ON_DEVICE = on_device
        maker = ListMaker(bench.CUTOFF, 0.0)
        made = maker.first([structure], n_atoms=n_atoms)
        where = (made, made.reference_positions, made.reference_cell)
        functions[name] = partial(_ready, maker.again, *where)
    return functions


def calls(potential: Any, structure: Any) -> dict[str, Callable[[], Any]]:
    """The compiled evaluation, and what users call."""
    rng = np.random.default_rng(0)
    moves = rng.normal(0.0, 0.003, (16, len(structure), 3))
    (batch,) = make_batches([structure], bench.CUTOFF)
    arguments = jax.device_put((potential, batch.graph))
    first, second = (bench.ase_atoms(potential, structure) for _ in range(2))
    first.calc = mmtp.MMTPCalculator(potential)
    turn = [0]

    def moved(atoms: Any) -> Any:
        turn[0] += 1
        atoms.positions = structure.positions + moves[turn[0] % len(moves)]
        return atoms

    def calculator() -> None:
        moved(first).get_potential_energy()
        first.get_forces()

    return {
        "kernel": partial(_ready, evaluate_graph, *arguments, default_chunk()),
        "calculator": calculator,
        "evaluate": lambda: mmtp.evaluate(potential, [moved(second)]),
    }


def _ready(function: Callable[..., Any], *arguments: Any) -> None:
    jax.block_until_ready(function(*arguments))


def cpu_times(
    functions: dict[str, Callable[[], Any]], repeats: int, n_atoms: int
) -> dict[str, float]:
    """Least CPU seconds of one call of each."""
    best = dict.fromkeys(functions, np.inf)
    n_calls = max(1, 20_000 // n_atoms)
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            for _ in range(n_calls):
                function()
            best[name] = min(best[name], (time.process_time() - start) / n_calls)
    return best


if __name__ == "__main__":
    main()
