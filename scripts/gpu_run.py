"""What a GPU does with the programs of this package: `gpu_report.py --run`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
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
from mmtp_jax.potential.observables import evaluate
from mmtp_jax.precision import require_precision, with_floats
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.run import Run
from mmtp_jax.simulation.system import system_of
from mmtp_jax.structures.batch import default_chunk, make_batches
from mmtp_jax.structures.structure import Structure

jax.config.update("jax_enable_x64", True)

SIZES = (1_000, 10_000, 100_000, 1_000_000)
REPEATS = 5


class OutOfTime(Exception):
    """The time is up."""


def measure(options: Any) -> None:
    """Check, then measure, until the time is up."""
    started = time.perf_counter()
    print(bench.environment())
    if jax.devices()[0].platform == "cpu":
        print("There is no GPU here: these are the numbers of the CPU.")

    def check_time() -> None:
        if time.perf_counter() - started > options.seconds:
            raise OutOfTime

    try:
        for level in options.levels:
            for form in options.forms:
                check_numbers(level, form)
        check_time()
        for n in options.atoms or SIZES:
            for level in options.levels:
                for form in options.forms:
                    for dtype in options.dtypes:
                        throughput(n, level, form, dtype, check_time)
        largest(options, check_time, started + options.seconds)
    except OutOfTime:
        print(f"{options.seconds:.0f} s are over; what is left was not measured")


def potential_of(level: int, form: str) -> Any:
    """Iron with the sizes of the other measurements."""
    return mmtp.Potential.new(
        level=level, species=("Fe",), form=form, magnetic_size=2, cutoff=5.5, min_dist=2.0,
        max_magmom=3.5,
    )  # fmt: skip


def labelled(structure: Structure) -> Structure:
    """With labels of the right size."""
    rng, n = np.random.default_rng(0), len(structure)
    return replace(
        structure, energy=-8.0 * n, forces=rng.normal(size=(n, 3)), stress=0.01 * np.eye(3),
        magnetic_forces=rng.normal(0.0, 0.1, n),
    )  # fmt: skip


def programs(structures: list[Structure], level: int, form: str, dtype: str) -> dict[str, Any]:
    """name -> (function, arguments on the host); compiled for the device in use."""
    precision, potential = require_precision(dtype), potential_of(level, form)
    (packed,) = make_batches(structures, float(potential.cutoff))
    there = potential.astype(*precision)
    graph = with_floats(packed.graph, precision.edges)
    targets = with_floats(make_targets(structures, [packed], Weights()), precision.edges)
    chunk, theta = default_chunk(), jnp.asarray(there.flatten(), precision.edges)
    found = {
        "evaluation": (partial(evaluate, chunk=chunk), (there, graph)),
        "loss and gradient": (
            jax.value_and_grad(partial(loss, chunk=chunk)),
            (theta, there, targets),
        ),
        "rows dE/dtheta": (partial(energy_jacobian, chunk=chunk), (there, graph)),
    }
    return {name: (jax.jit(f), given) for name, (f, given) in found.items()}


def check_numbers(level: int, form: str) -> None:
    """Agreement with the CPU in float64, and equal bits from call to call."""
    structures = [labelled(bench.structure(bench.cells_for(n), 1)) for n in (54, 16, 2)]
    here = programs(structures, level, form, "float64")
    with jax.default_device(jax.devices("cpu")[0]):
        there = programs(structures, level, form, "float64")
        wanted = {name: jax.device_get(f(*given)) for name, (f, given) in there.items()}
    for name, (function, given) in here.items():
        given = jax.device_put(given)
        found = [jax.device_get(function(*given)) for _ in range(REPEATS)]
        worst = 0.0
        for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(wanted[name]), strict=True):
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300)))
        same = all(
            np.array_equal(a, b)
            for other in found[1:]
            for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(other), strict=True)
        )
        print(
            f"level {level} {form} {name}: largest deviation from the CPU over largest element "
            f"{worst:.1e}; {REPEATS} calls {'give equal bits' if same else 'DIFFER'}",
            flush=True,
        )


def throughput(n: int, level: int, form: str, dtype: str, check_time: Callable[[], None]) -> None:
    """Atoms per second of each program, for cells of 96 atoms or so where there are labels."""
    check_time()
    cell = bench.structure(bench.cells_for(n), 1)
    small = labelled(bench.structure(bench.cells_for(min(n, 128)), 1))
    many = [small] * max(1, n // len(small))
    made = {
        "evaluation": programs([labelled(cell)], level, form, dtype)["evaluation"],
        **{k: v for k, v in programs(many, level, form, dtype).items() if k != "evaluation"},
    }
    for name, (function, given) in made.items():
        check_time()
        # Each alone, so that the memory of the device is that of one.
        given = jax.device_put(given)
        atoms = len(cell) if name == "evaluation" else len(many) * len(small)
        times = bench.timed({name: lambda f=function, g=given: jax.block_until_ready(f(*g))})
        tell(name, atoms, level, form, dtype, times[name])
    for moments in ("fixed", "equilibrate"):
        check_time()
        seconds = seconds_of_a_step(cell, level, form, dtype, moments)
        tell(f"step of dynamics, moments {moments}", len(cell), level, form, dtype, seconds)


def tell(name: str, n: int, level: int, form: str, dtype: str, seconds: float) -> None:
    print(
        f"{name}, {n} atoms, level {level} {form} {dtype}: {n / seconds:.3g} atoms/s, "
        f"{1e9 * seconds / n:.1f} ns/atom, {1e3 * seconds:.3f} ms",
        flush=True,
    )


def seconds_of_a_step(cell: Structure, level: int, form: str, dtype: str, moments: str) -> float:
    """Of dynamics without the search for neighbours."""
    n_steps = 8
    options = DynamicsOptions(
        ensemble="nve", timestep_fs=0.01, moments=moments, dtype=dtype, chunk_steps=n_steps,
        max_equilibration_steps=2, bounded=False,
    )  # fmt: skip
    run = Run(potential_of(level, form), system_of([cell], np.full(len(cell), 55.845)), options)
    run.begin(None)
    best = np.inf
    for _ in range(4):
        start = time.perf_counter()
        block = jax.block_until_ready(run.take(n_steps))
        if int(block.n_done):
            best = min(best, (time.perf_counter() - start) / int(block.n_done))
    return best


def largest(options: Any, check_time: Callable[[], None], ends: float) -> None:
    """The largest evaluation that the memory holds, by doubling while there is time for it.

    Args:
        options: of the command line.
        check_time: raises `OutOfTime`.
        ends: when the time is up, as `time.perf_counter` says.
    """
    n = 2 * max(options.atoms or SIZES)
    level, form, dtype = options.levels[0], options.forms[0], options.dtypes[0]
    while not options.atoms:
        check_time()
        started = time.perf_counter()
        cell = labelled(bench.structure(bench.cells_for(n), 1))
        try:
            function, given = programs([cell], level, form, dtype)["evaluation"]
            jax.block_until_ready(function(*jax.device_put(given)))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"{len(cell)} atoms do not fit", flush=True)
            break
        print(f"{len(cell)} atoms fit", flush=True)
        n, now = 2 * n, time.perf_counter()
        # Most of it is the search on the host, and nobody ends that.
        if now + 2 * (now - started) > ends:
            raise OutOfTime
