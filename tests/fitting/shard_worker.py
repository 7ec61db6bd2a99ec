"""What `test_sharding` runs in processes of their own, with several devices each.

Arguments: folder for the results, number of processes, rank, port of the first process.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

FILE = Path(__file__).parents[2] / "mmtp_jax" / "data" / "fe_cdft.extxyz"
# 2 atoms each, but for two of 4 atoms at the end.
CONFIGURATIONS = (0, 11, 23, 37, 50, 64, 98, 99)


def main(folder: Path, n_processes: int, rank: int, port: int) -> None:
    if n_processes > 1:
        jax.distributed.initialize(f"localhost:{port}", n_processes, rank)
    import mmtp_jax as mmtp
    from mmtp_jax.fitting.fit import prepared_sets
    from mmtp_jax.io.convert import to_structures

    with mmtp.double_precision():
        atoms_list = mmtp.read(FILE, species=("Fe",))
        structures = to_structures([atoms_list[k] for k in CONFIGURATIONS], ("Fe",))
        # Kinds of label that some lack: sums are over those of all shards.
        structures[0] = replace(structures[0], forces=None)
        structures[3] = replace(structures[3], energy=None, stress=None)
        potential = mmtp.Potential.new(
            level=2, species=("Fe",), radial_size=3, cutoff=4.0, min_dist=2.0, max_magmom=3.0
        )
        # The labels of one are shifted by a constant, which is fitted.
        structures[5] = replace(structures[5], making="code: another")
        training = prepared_sets(structures, [], potential, "shift")[0]
        found = {"devices": len(jax.devices()), "fits": fits(potential, training, folder)}
        if n_processes > 1:
            found["printed"] = command(atoms_list, folder, rank)
        else:
            found |= {"sums": sums(potential, training), "resumed": resumed(potential, training)}
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


def command(atoms_list, folder: Path, rank: int) -> str:
    """What ``mmtp fit --distributed`` prints; its programs are those of the fits."""
    import mmtp_jax as mmtp
    from mmtp_jax.cli.main import main as mmtp_main

    data = folder / f"data-{rank}.extxyz"
    mmtp.write(data, [atoms_list[k] for k in CONFIGURATIONS])
    words = f"fit {data} --distributed --level 2 --species Fe --radial-size 3 --cutoff 4"
    words += f" --method gauss-newton --max-iterations 3 -o {folder / 'pot.mtp'}"
    words += f" --report {folder / 'report.json'} --history {folder / 'history.csv'}"
    with redirect_stdout(io.StringIO()) as printed:
        status = mmtp_main(words.split())
    assert status == 0
    return printed.getvalue()


def fits(potential, training, folder) -> dict:
    """Histories and errors of both methods: on one device and on all, or by all processes."""
    from mmtp_jax.fitting import lbfgs
    from mmtp_jax.fitting.fit import FitProblem
    from mmtp_jax.fitting.options import FitOptions

    found, several = {}, jax.process_count() > 1
    for method in ("lbfgs", "gauss-newton"):
        for devices in (None,) if several else (1, "all"):
            checkpoint = folder / f"{method}-{jax.process_index()}.npz" if several else None
            options = FitOptions(
                method=method, max_iterations=5, devices=devices, checkpoint=checkpoint
            )
            n_before = lbfgs.step._cache_size()
            problem = FitProblem.of(potential, training, None, options)
            # Only one of several processes is asked for its progress.
            fit = problem.run(None if jax.process_index() else lambda progress: None)
            found[f"{method} {devices}"] = {
                "history": fit.history.tolist(),
                "theta": fit.potential.flatten().tolist(),
                "forces": fit.report.training["forces"].rmse,
                "steps compiled": lbfgs.step._cache_size() - n_before,
                "fill": fit.fill,
            }
    return found


def sums(potential, training) -> dict[str, float]:
    """Relative deviations of what all devices add up from what one computes."""
    from mmtp_jax.fitting import initial, lbfgs
    from mmtp_jax.fitting.fit import FitProblem
    from mmtp_jax.fitting.normal_equations import normal_equations
    from mmtp_jax.fitting.options import FitOptions
    from mmtp_jax.structures.batch import default_chunk

    theta = np.random.default_rng(0).normal(size=potential.n_parameters + training.n_shifts)
    found = []
    for devices in (1, "all"):
        problem = FitProblem.of(potential, training, None, FitOptions(devices=devices))
        optimiser, form, targets = problem.optimiser, problem.potential, problem.data.targets
        # In this metric x is theta, and the programs are those of the fits.
        state = lbfgs.start(
            optimiser.loss,
            jnp.asarray(theta),
            np.eye(len(theta)),
            np.zeros((), int),
            *optimiser.data,
            mesh=optimiser.mesh,
        )
        shared = form, targets, default_chunk(), optimiser.mesh
        matrix, right = normal_equations(theta, *shared)
        shifts = np.zeros(training.n_shifts)
        linear, *_ = initial._normal_equations(form, shifts, *shared[1:])
        found.append([state.loss, state.gradient, matrix, right, linear])
    names = ("loss", "gradient", "normal matrix", "right side", "linear matrix")
    return {
        name: float(np.max(np.abs(np.subtract(many, one))) / np.max(np.abs(one)))
        for name, one, many in zip(names, *found, strict=True)
    }


def resumed(potential, training) -> float:
    """Largest relative deviation of the losses of a fit that goes on on other devices."""
    import tempfile

    from mmtp_jax.fitting.fit import FitProblem
    from mmtp_jax.fitting.options import FitOptions

    def history(n: int, devices: int | str, checkpoint: Path | None) -> np.ndarray:
        options = FitOptions(max_iterations=n, devices=devices, checkpoint=checkpoint)
        return FitProblem.of(potential, training, None, options).run().history

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.npz"
        history(2, 1, path)
        together = history(4, "all", path)
    return float(np.max(np.abs(together / history(4, 1, None) - 1)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
