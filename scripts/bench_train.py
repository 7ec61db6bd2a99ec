"""Training gradients and Jacobian rows: time per atom, side by side with motep.

    python scripts/bench_train.py --levels 6 10 16 20

The gradient of the loss (Kotykhov 2024, Eq. 8) over energies, forces, stress and magnetic forces,
for copies of a 54-atom cell; motep builds the Jacobian of all forces for it, its only way.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import bench_common as bench
import jax
import jax.numpy as jnp
import numpy as np

import mmtp_jax as mmtp
from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.loss import loss
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.potential.jacobian import energy_jacobian
from mmtp_jax.structures.batch import default_chunk, make_batches


def labelled(n: int, n_species: int) -> list[Any]:
    """54-atom cells with random labels of a realistic size."""
    rng = np.random.default_rng(1)
    found = []
    for seed in range(n):
        s = bench.structure((3, 3, 3), n_species, seed)
        stress = rng.normal(0.0, 0.02, (3, 3))
        found.append(
            type(s)(
                s.cell,
                s.periodic,
                s.positions,
                s.types,
                s.magmoms,
                energy=rng.normal(-8.0 * len(s), 1.0),
                forces=rng.normal(0.0, 1.0, (len(s), 3)),
                stress=(stress + stress.T) / 2,
                magnetic_forces=rng.normal(0.0, 0.2, len(s)),
            )
        )
    return found


def motep_gradient(potential: mmtp.Potential, structures: list[Any]) -> float | None:
    """Seconds of motep's loss and gradient for one configuration."""
    data = bench.motep_data(potential)
    if data is None:
        return None
    from motep.loss import LossFunction, LossSetting

    images = [bench.ase_atoms(potential, structures[0])]
    function = LossFunction(images, data, LossSetting(), engine="cext")
    theta = data.parameters.copy()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        # Its gradient needs the calculation that the loss has just made.
        function(theta)
        function.jac(theta)
        best = min(best, time.perf_counter() - start)
    return best


def motep_rows(potential: mmtp.Potential, structures: list[Any]) -> float | None:
    """Seconds of motep's dE/dtheta for one configuration, which its training mode provides."""
    data = bench.motep_data(potential)
    if data is None:
        return None
    from motep.potentials.mmtp.cext.engine import CExtMagMTPEngine

    atoms = bench.ase_atoms(potential, structures[0])
    engine = CExtMagMTPEngine(data, mode="train")

    def rows() -> Any:
        engine.calculate(atoms)
        return engine.jac_energy(atoms).parameters

    return bench.timed({"rows": rows}, 2, 0.1)["rows"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, nargs="+", default=[6, 10, 16, 20])
    parser.add_argument("--configurations", type=int, default=8)
    parser.add_argument("--species", type=int, default=1)
    parser.add_argument("--magnetic-size", type=int, default=2)
    parser.add_argument(
        "--forms", nargs="+", default=["bare", "symmetrised"], help="bare, symmetrised, or patterns"
    )
    parser.add_argument("--no-motep", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    print(bench.environment())
    structures = labelled(options.configurations, options.species)
    n_atoms = sum(len(s) for s in structures)
    rows = []
    for level in options.levels:
        bare = bench.potential(level, options.species, options.magnetic_size, "bare")
        peer = None if options.no_motep else motep_gradient(bare, structures)
        if peer is not None:
            print(f"level {level}: motep {1e6 * peer / len(structures[0]):.0f} us/atom")
        rows_peer = None if options.no_motep else motep_rows(bare, structures)
        batches = make_batches(structures, float(bare.cutoff))
        targets = jax.device_put(make_targets(structures, batches, Weights()))
        for form in options.forms:
            potential = bench.potential(level, options.species, options.magnetic_size, form)
            theta = jnp.asarray(potential.flatten())
            graph = targets[0].graph
            cases = {
                "loss and gradient": (
                    jax.value_and_grad(partial(loss, chunk=default_chunk())),
                    (theta, potential, targets),
                    peer,
                ),
                "dE/dtheta": (
                    partial(energy_jacobian, chunk=default_chunk()),
                    jax.device_put((potential, graph)),
                    rows_peer,
                ),
            }
            for what, (function, arguments, other) in cases.items():
                executable, seconds = bench.compiled(function, *arguments)
                best = bench.timed({what: partial(_call, executable, arguments)}, 5)[what]
                row = {
                    "level": level,
                    "what": f"{what} {form}",
                    "n_parameters": potential.n_parameters,
                    "us_per_atom": 1e6 * best / n_atoms,
                    "compile_s": seconds,
                }
                text = (
                    f"level {level} {row['what']:30s} {row['us_per_atom']:8.2f} us/atom"
                    f"  compile {seconds:5.2f} s"
                )
                if other is not None:
                    row["ratio_to_motep"] = other / len(structures[0]) / (best / n_atoms)
                    text += f"  {row['ratio_to_motep']:7.0f} x motep"
                print(text, flush=True)
                rows.append(row)
    bench.save_json(options.json, rows)


def _call(function: Any, arguments: tuple) -> None:
    jax.block_until_ready(function(*arguments))


if __name__ == "__main__":
    main()
