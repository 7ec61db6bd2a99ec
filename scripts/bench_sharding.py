"""Loss and gradient of a fit on 1, 2, 4, 8 devices: strong and weak scaling.

    python scripts/bench_sharding.py --level 16 --configurations 512            # the GPUs there are
    python scripts/bench_sharding.py --virtual 4 --level 8 --configurations 16  # devices of a CPU

Strong: so many configurations for all devices together. Weak: for each device. All numbers of
devices are timed in turns, and the median is shown; efficiency is the speed-up over the number of
devices. Virtual devices share the cores of a CPU: more devices than cores cannot be faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--virtual", type=int, metavar="N", help="so many devices of the CPU")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--level", type=int, default=16)
    parser.add_argument("--configurations", type=int, default=256)
    parser.add_argument("--cells", type=int, default=3, help="bcc cells along each side, +0 to 1")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.virtual:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(options.virtual)
        os.environ["JAX_PLATFORMS"] = "cpu"
    import bench_common as bench
    import jax

    print(bench.environment())
    there = len(jax.devices())
    numbers = [n for n in options.devices if n <= there]
    print(f"{there} devices ({jax.devices()[0].platform}), {os.cpu_count()} cores of the host")
    potential = bench.potential(options.level, 1, 2, "symmetrised")
    rows = []
    for kind in ("strong", "weak"):
        print(f"{kind:8} devices  configurations  atoms per device    ms  speed-up  efficiency")
        per_device = kind == "weak"
        runs = {
            n: _problem(potential, options.configurations * (n if per_device else 1), n, options)
            for n in numbers
        }
        times = _in_turns({n: run for n, (run, _, _) in runs.items()}, options.repeats)
        for n in numbers:
            _, n_configurations, n_atoms = runs[n]
            speed_up = times[numbers[0]] / times[n] * (n / numbers[0] if per_device else 1)
            row = {
                "scaling": kind, "devices": n, "configurations": n_configurations,
                "atoms_per_device": n_atoms, "ms": 1e3 * times[n], "speed_up": speed_up,
                "efficiency": speed_up * numbers[0] / n,
            }  # fmt: skip
            rows.append(row)
            print(
                f"{'':8} {n:7}  {n_configurations:14}  {n_atoms:16}  {row['ms']:4.0f}  "
                f"{speed_up:8.2f}  {row['efficiency']:10.0%}",
                flush=True,
            )
    bench.save_json(options.json, rows)


def _problem(potential: Any, n: int, n_devices: int, options: Any) -> tuple[Callable, int, int]:
    """Loss and gradient on so many devices, ready to be run, with the sizes of its data."""
    import bench_common as bench
    import jax
    import numpy as np

    from mmtp_jax.fitting.loss import loss
    from mmtp_jax.fitting.prepared import PreparedSet
    from mmtp_jax.fitting.training_data import TrainingData
    from mmtp_jax.fitting.weights import Weights
    from mmtp_jax.structures.batch import default_chunk

    structures = []
    for k in range(n):
        # Two sizes, so that there is something to divide evenly.
        side = options.cells
        found = bench.structure((side, side, side + k % 2), seed=k)
        structures.append(
            replace(
                found,
                energy=0.0,
                forces=np.zeros((len(found), 3)),
                stress=np.zeros((3, 3)),
                magnetic_forces=np.zeros(len(found)),
            )
        )
    training = PreparedSet.of(structures, float(potential.cutoff))
    data = TrainingData.of(training, Weights(), "lbfgs", n_devices, potential.n_parameters)
    own = partial(loss, chunk=default_chunk(), mesh=data.mesh)
    compiled = jax.jit(jax.value_and_grad(own))
    theta = potential.flatten()

    def run() -> None:
        jax.block_until_ready(compiled(theta, potential, data.targets))

    run()
    return run, n, max(int(sum(map(len, structures))) // n_devices, 1)


def _in_turns(runs: dict[int, Callable], repeats: int) -> dict[int, float]:
    """Median seconds of each, timed one after the other again and again."""
    seconds: dict[int, list[float]] = {n: [] for n in runs}
    for _ in range(repeats):
        for n, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[n].append(time.perf_counter() - start)
    return {n: statistics.median(of) for n, of in seconds.items()}


if __name__ == "__main__":
    main()
