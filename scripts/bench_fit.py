"""Wall time of fits: L-BFGS and Gauss-Newton here, and motep's BFGS, on the same data and loss.

    python scripts/bench_fit.py shipped --level 8 --magnetic-size 3
    python scripts/bench_fit.py teacher --level 12 --magnetic-size 2 --configurations 500

`shipped` are the DFT data of the package; `teacher` are 16-atom cells of two species, labelled by
a random potential. All minimise the same function: bare energies, weights of Kotykhov 2024, and
motep's scaling with size, which is `structures` here, from the same start. Times include
compilation.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from typing import Any

import bench_common as bench
import numpy as np

import mmtp_jax as mmtp
from mmtp_jax.fitting.fit import fit_structures
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.io.convert import to_structures
from mmtp_jax.structures.structure import Structure

WEIGHTS = mmtp.Weights(scaling="structures")


def shipped(options: argparse.Namespace) -> tuple[mmtp.Potential, list[Structure]]:
    """The DFT data of the package and a potential to fit to them."""
    from importlib.resources import as_file, files

    with as_file(files("mmtp_jax") / "data" / "fe_cdft.extxyz") as path:
        structures = to_structures(mmtp.read(path), ("Fe",))
    potential = mmtp.Potential.new(
        level=options.level,
        species=("Fe",),
        magnetic_size=options.magnetic_size,
        form="bare",
    )
    return potential, structures


def teacher(options: argparse.Namespace) -> tuple[mmtp.Potential, list[Structure]]:
    """16-atom cells of Fe and Al labelled by one potential, and another to fit to them."""
    form = {
        "level": options.level,
        "species": ("Fe", "Al"),
        "magnetic_size": options.magnetic_size,
        "cutoff": 5.0,
        "min_dist": 1.9,
        "max_magmom": (3.0, 0.5),
        "form": "bare",
    }
    truth = mmtp.Potential.new(**form, seed=1)
    structures = []
    for seed in range(options.configurations):
        s = bench.structure((2, 2, 2), 2, seed)
        rng = np.random.default_rng(seed)
        # Al carries small moments only.
        moments = np.where(s.types == 0, s.magmoms, rng.normal(0.0, 0.1, len(s)))
        structures.append(dataclasses.replace(s, magmoms=moments))
    # Random coefficients have no scale of their own: forces of 1 eV/Angstrom rms.
    forces = np.concatenate([r.forces for r in evaluate_structures(truth, structures)])
    truth = truth.replace(moment_coeffs=truth.moment_coeffs / np.sqrt(np.mean(forces**2)))
    results = evaluate_structures(truth, structures)
    labelled = []
    for s, r in zip(structures, results, strict=True):
        xx, yy, zz, yz, xz, xy = r.stress
        labelled.append(
            dataclasses.replace(
                s,
                energy=r.energy,
                forces=r.forces,
                stress=np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]),
                magnetic_forces=r.magnetic_forces,
            )
        )
    return mmtp.Potential.new(**form, seed=2), labelled


class Clock:
    """Records (seconds, loss) during a fit."""

    def __init__(self) -> None:
        self.start, self.track = time.perf_counter(), []

    def __call__(self, progress: Any) -> None:
        self.track.append((time.perf_counter() - self.start, progress.loss))


def ours(
    potential: mmtp.Potential, structures: list[Structure], method: str, iterations: int
) -> list[tuple[float, float]]:
    """Time and loss after every step."""
    clock = Clock()
    options = FitOptions(
        weights=WEIGHTS,
        method=method,
        max_iterations=iterations,
        tolerance=0.0,
        report_every=10**9,
        keep_domain=True,
        initialise=False,
    )
    fit_structures(potential, structures, options=options, callback=clock)
    return clock.track


def motep(
    potential: mmtp.Potential, structures: list[Structure], seconds: float
) -> list[tuple[float, float]]:
    """Time and loss of motep's BFGS (scipy) within a time limit."""
    from motep.loss import LossFunction, LossSetting
    from scipy.optimize import minimize

    data = bench.motep_data(potential)
    images = [bench.ase_atoms(potential, s) for s in structures]
    function = LossFunction(images, data, LossSetting(), engine="cext")
    track: list[tuple[float, float]] = []
    start = time.perf_counter()

    def value_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value = float(function(theta))
        gradient = np.array(function.jac(theta))
        best = min(value, track[-1][1]) if track else value
        track.append((time.perf_counter() - start, best))
        if track[-1][0] > seconds:
            raise TimeoutError
        return value, gradient

    with contextlib.suppress(TimeoutError):
        minimize(value_and_gradient, data.parameters.copy(), jac=True, method="BFGS")
    return track


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=["shipped", "teacher"])
    parser.add_argument("--level", type=int, default=8)
    parser.add_argument("--magnetic-size", type=int, default=2)
    parser.add_argument("--configurations", type=int, default=500)
    parser.add_argument("--lbfgs-steps", type=int, default=2000)
    parser.add_argument("--gauss-newton-steps", type=int, default=30)
    parser.add_argument("--motep-seconds", type=float, default=300.0)
    parser.add_argument("--json")
    options = parser.parse_args()
    print(bench.environment())
    potential, structures = {"shipped": shipped, "teacher": teacher}[options.data](options)
    print(f"{len(structures)} configurations, {potential.n_parameters} parameters")
    # Intervals of the data and least squares for the linear coefficients, for all alike.
    potential = fit_structures(
        potential, structures, options=FitOptions(weights=WEIGHTS, max_iterations=0)
    ).potential
    tracks = {
        "lbfgs": ours(potential, structures, "lbfgs", options.lbfgs_steps),
        "gauss-newton": ours(potential, structures, "gauss-newton", options.gauss_newton_steps),
    }
    if options.motep_seconds > 0:
        tracks["motep BFGS"] = motep(potential, structures, options.motep_seconds)
    rows = []
    for name, track in tracks.items():
        seconds, loss = track[-1]
        print(f"{name:14s} {len(track) - 1:6d} steps  {seconds:8.1f} s  loss {loss:.4e}")
        rows.append({"what": name, "steps": len(track) - 1, "seconds": seconds, "loss": loss})
    start = tracks["lbfgs"][0][1]
    print("seconds to reach a loss:")
    for power in np.arange(-0.5, np.log10(min(t[-1][1] for t in tracks.values()) / start), -0.5):
        target = start * 10**power
        reached = {
            name: next((seconds for seconds, loss in track if loss <= target), None)
            for name, track in tracks.items()
        }
        cells = "  ".join(
            f"{name} {'-' if value is None else f'{value:8.1f}'}" for name, value in reached.items()
        )
        print(f"  {target:.2e}: {cells}")
        rows.append({"loss": target, **{f"{k} s": v for k, v in reached.items()}})
    bench.save_json(options.json, rows)


if __name__ == "__main__":
    main()
