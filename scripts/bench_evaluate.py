"""Energy, forces, stress and magnetic forces: time per atom, side by side with motep.

    python scripts/bench_evaluate.py --levels 6 10 16 20 --atoms 54 432

The floor at level 16 (58 neighbours, N_phi 8, N_psi 2) is 144 kflop per atom; `peak` is the share
of a large matrix product's speed that this makes, measured in the same process. Without motep
(on a GPU machine, say) only our own columns are printed.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import bench_common as bench
import jax
import numpy as np

import mmtp_jax as mmtp
from mmtp_jax.potential.observables import evaluate
from mmtp_jax.precision import require_precision
from mmtp_jax.structures.batch import default_chunk, make_batches

KFLOP_PER_ATOM = {6: 34, 10: 62, 12: 76, 16: 144, 20: 286}


def motep_functions(potential: mmtp.Potential, structure: Any) -> dict[str, Any]:
    """motep's evaluation as a user calls it, on atoms whose neighbour list is up to date."""
    data = bench.motep_data(potential)
    if data is None:
        return {}
    from motep.potentials.mmtp.cext.engine import CExtMagMTPEngine

    atoms = bench.ase_atoms(potential, structure)
    engine = CExtMagMTPEngine(data, mode="run")
    engine.calculate(atoms)
    return {"motep": lambda: engine.calculate(atoms)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, nargs="+", default=[6, 10, 12, 16, 20, 22])
    parser.add_argument("--atoms", type=int, nargs="+", default=[54, 432])
    parser.add_argument("--species", type=int, default=1)
    parser.add_argument("--magnetic-size", type=int, default=2)
    parser.add_argument("--dtypes", nargs="+", default=["float64", "mixed", "float32"])
    parser.add_argument(
        "--forms", nargs="+", default=["bare", "symmetrised"], help="bare, symmetrised, or patterns"
    )
    parser.add_argument("--no-motep", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()

    peaks = {name: bench.matmul_peak(name) for name in ("float64", "float32")}
    peaks["mixed"] = peaks["float32"]
    print(bench.environment())
    print({name: f"{peak / 1e9:.0f} GF/s" for name, peak in peaks.items()})
    rows = []
    for level in options.levels:
        for n_atoms in options.atoms:
            structure = bench.structure(bench.cells_for(n_atoms), options.species)
            functions, info = {}, {}
            bare = bench.potential(level, options.species, options.magnetic_size, "bare")
            if not options.no_motep:
                functions |= motep_functions(bare, structure)
            for form in options.forms:
                potential = bench.potential(level, options.species, options.magnetic_size, form)
                (batch,) = make_batches([structure], float(potential.cutoff))
                for dtype in options.dtypes:
                    edges, contraction = require_precision(dtype)
                    arguments = jax.device_put(
                        (
                            potential.astype(edges, contraction),
                            jax.tree.map(partial(_cast, edges), batch.graph),
                        )
                    )
                    function, seconds = bench.compiled(
                        partial(evaluate, chunk=default_chunk()), *arguments
                    )
                    name = f"{dtype} {form}"
                    info[name] = seconds
                    functions[name] = partial(_call, function, arguments)
            times = bench.timed(functions)
            rows += _report(level, len(structure), times, info, peaks)
    bench.save_json(options.json, rows)


def _cast(dtype: Any, array: Any) -> Any:
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _call(function: Any, arguments: tuple) -> None:
    jax.block_until_ready(function(*arguments))


def _report(
    level: int, n: int, times: dict[str, float], compile_seconds: dict, peaks: dict
) -> list[dict]:
    rows = []
    print(f"level {level}, {n} atoms")
    for name, seconds in times.items():
        row = {"level": level, "atoms": n, "what": name, "us_per_atom": 1e6 * seconds / n}
        text = f"  {name:22s} {row['us_per_atom']:9.3f} us/atom {n / seconds:12.3g} atoms/s"
        if name in compile_seconds:
            row["compile_s"] = compile_seconds[name]
            text += f"  compile {compile_seconds[name]:5.2f} s"
            if "motep" in times:
                row["ratio_to_motep"] = times["motep"] / seconds
                text += f"  {row['ratio_to_motep']:6.1f} x motep"
            if level in KFLOP_PER_ATOM and "bare" in name:
                row["peak_share"] = (
                    KFLOP_PER_ATOM[level] * 1e3 * n / seconds / peaks[name.split()[0]]
                )
                text += f"  {100 * row['peak_share']:5.1f} % of peak"
        print(text, flush=True)
        rows.append(row)
    for name, seconds in times.items():
        dtype, _, form = name.partition(" ")
        if form not in ("", "bare") and f"{dtype} bare" in times:
            print(f"  {name} costs {seconds / times[f'{dtype} bare']:.2f} times the bare energy")
    return rows


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
