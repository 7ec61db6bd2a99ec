"""Programs compiled for a GPU that is not here: the table of `gpu_report.py`."""

from __future__ import annotations

import re
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from gpu_check import deviation, real_arguments
from gpu_hlo import cost_of, cost_of_step
from jax.experimental import topologies

import mmtp_jax as mmtp
from mmtp_jax.fitting.dataset import Targets
from mmtp_jax.fitting.loss import loss
from mmtp_jax.potential.jacobian import energy_jacobian
from mmtp_jax.potential.observables import Graph, Observables, evaluate
from mmtp_jax.potential.sums import Sums
from mmtp_jax.precision import require_precision
from mmtp_jax.simulation.dynamics.evaluation import Model, Moments
from mmtp_jax.simulation.dynamics.integrate import Ensemble
from mmtp_jax.simulation.dynamics.loop import Plan, Rules, before_start, take_steps
from mmtp_jax.simulation.dynamics.thermostats import Bath
from mmtp_jax.simulation.neighbours import NeighbourList
from mmtp_jax.simulation.system import System
from mmtp_jax.structures.cell_list import Places, search

WIDTH, MD_WIDTH = 60, 72
"""Neighbour places: 58 neighbours in bcc iron, and those of a list with skin."""


class Card(NamedTuple):
    """What XLA's compiler asks of a GPU, from the makers' data sheets."""

    name: str
    capability: str
    cores: int
    fpus_per_core: int
    shared_per_core: int
    shared_per_block: int
    clock_GHz: float
    bandwidth: float
    """Bytes/s."""
    memory: int
    cache: int


CARDS = {
    "h200": Card("H200", "major: 9 feature_extension: ACCELERATED_FEATURES", 132, 128, 233472,
                 232448, 1.98, 4.8e12, 151397597184, 52428800),
    "h100": Card("H100", "major: 9 feature_extension: ACCELERATED_FEATURES", 132, 128, 233472,
                 232448, 1.98, 3.352e12, 84942979072, 52428800),
    "a100": Card("A100", "major: 8", 108, 64, 167936, 166912, 1.41, 2.039e12, 85100068864,
                 41943040),
}  # fmt: skip


def description(card: Card) -> str:
    """A card as XLA's compiler wants to have it described."""
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: {card.shared_per_core}
  shared_memory_per_block_optin: {card.shared_per_block}
  core_count: {card.cores} fpus_per_core: {card.fpus_per_core} clock_rate_ghz: {card.clock_GHz}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: {int(card.bandwidth)} l2_cache_size: {card.cache}
  device_memory_size: {card.memory} device_address_bits: 64 pcie_bandwidth: 34359738368
  cuda_compute_capability {{ {card.capability} }}
  name: "{card.name}" driver_version: "13.0.0" runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{card.name}"
"""


def potential_of(level: int, form: str, dtype: str) -> Any:
    """Iron with the sizes of the other measurements."""
    new = mmtp.Potential.new(
        level=level, species=("Fe",), form=form, magnetic_size=2, cutoff=5.5, min_dist=2.0,
        max_magmom=3.5,
    )  # fmt: skip
    return new.astype(*require_precision(dtype))


def array(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, np.dtype(dtype))


def sums_of(n: int, configurations: int, width: int) -> Sums:
    return Sums(array((n, width), "i4"), array((configurations, n // configurations), "i4"))


def graph_of(n: int, configurations: int, dtype: Any) -> Graph:
    return Graph(
        array((n,), "i4"), array((n,), dtype), array((n, 3, WIDTH), dtype),
        array((n, WIDTH), "i4"), array((n,), "i4"), array((configurations,), dtype),
        sums_of(n, configurations, WIDTH),
    )  # fmt: skip


def program(case: str, level: int, form: str, dtype: str, n: int) -> tuple[Any, tuple, tuple]:
    """A function, what it is called with, and what comes before that and is static."""
    potential, (edges, _) = potential_of(level, form, dtype), require_precision(dtype)
    configurations = n // 96 if case in ("gradient", "rows") else 1
    if case == "search":
        where = (array((n,), "i4"), array((n, 3), float), array((1, 3, 3), float))
        # A block of an H200; columns of bins as thick as cutoff and skin, 6 Angstrom.
        found = partial(search.__wrapped__, chunk=2**15)
        return found, (*where, array((), float)), (Places((1, 1), 56, MD_WIDTH),)
    graph = graph_of(n, configurations, edges)
    if case == "evaluate":
        return partial(evaluate, chunk=None), (potential, graph), ()
    if case == "rows":
        return partial(energy_jacobian, chunk=None), (potential, graph), ()
    if case == "gradient":

        def each(atoms: int, tensor: int) -> Observables:
            return Observables(
                array((configurations,), edges), array((n, atoms), edges),
                array((configurations, tensor, tensor), edges), array((n,), edges),
            )  # fmt: skip

        targets = [Targets(graph, each(3, 3), each(1, 1))]
        theta = array((potential.n_parameters,), edges)
        return jax.value_and_grad(partial(loss, chunk=None)), (theta, potential, targets), ()
    system = System(
        array((1, n, 3), float), array((1, n, 3), float), array((1, 3, 3), float),
        array((1, n), float), array((n,), float), array((n,), "i4"), array((3,), bool),
        array((1,), bool),
    )  # fmt: skip
    state = jax.eval_shape(
        partial(before_start, n_padded=n, dtype=edges), system, array((1, 2), "u4")
    )
    kind = "fixed" if case == "md" else "equilibrate"
    plan = Plan(Ensemble(None, None), Moments(kind, 1, 200, False, None), 256, None)
    model = Model(potential, array((1,), float), array((), float))
    bath = Bath(array((), float), array((1,), float), array((), float), array((1,), float),
                array((1,), float), array((), float), array((), float))  # fmt: skip
    width = MD_WIDTH
    neighbours = NeighbourList(
        array((n, width), "i4"), array((n, 3, width), "i4"), array((n,), "i4"), array((n,), "i4"),
        array((n, 3), float), array((1, 3, 3), float), array((1, 3, 3), float), array((), float),
        array((), float), sums_of(n, 1, width),
    )  # fmt: skip
    rules = Rules(array((), bool), array((), bool))
    given = (model, bath, rules, state, neighbours, array((), "i4"))
    return take_steps.__wrapped__, given, (plan,)


def atomics(dump: Path) -> int:
    """Atomic additions and exchanges in the PTX that was dumped since the last call."""
    found = 0
    for file in dump.glob("*.ptx"):
        found += len(re.findall(r"^\s*(?:@%\w+ )?(?:atom|red)\.", file.read_text(), re.M))
    for file in dump.iterdir():
        file.unlink()
    return found


def compile_for(card: Card, function: Any, given: tuple) -> Any:
    """A program of a GPU, for arrays or their shapes."""
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=description(card), topology="1x1x1"
    )
    mesh = topologies.make_mesh(topo=topology, mesh_shape=(1,), axis_names=("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    given = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype, sharding=sharding), given
    )
    return jax.jit(function, keep_unused=True).lower(*given).compile()


def compiled(
    options: Any, dump: Path, card: Card, case: str, level: int, form: str, dtype: str, n: int
) -> str:
    """One row of the table of estimates."""
    function, given, static = program(case, level, form, dtype, n)
    start = time.perf_counter()
    made = compile_for(card, partial(function, *static), given)
    seconds, text = time.perf_counter() - start, made.as_text()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / f"{card.name}-{case}-{level}-{form}-{dtype}-{n}.hlo").write_text(text)
    memory, around = made.memory_analysis(), ""
    if case.startswith("md"):
        cost, of_call = cost_of_step(text)
        around = f"; {of_call:.0f} of a call"
    else:
        cost = cost_of(text)
    moved = cost.read + cost.written
    model = f"{1e3 * cost.estimate_us / n:.1f}" if cost.estimate_us else "-"
    kinds = ", ".join(f"{count:.0f} {kind}" for kind, count in cost.kinds.most_common(5))
    return (
        f"| {card.name} | {case} | {level} {form} {dtype} | {cost.kernels:.0f} ({kinds}{around}) "
        f"| {atomics(dump)} | {moved / n / 1e3:.1f} | {1e9 * moved / n / card.bandwidth:.1f} "
        f"| {model} | {memory.temp_size_in_bytes / n / 1e3:.1f} "
        f"| {seconds:.0f} | {' '.join(sorted(cost.custom_calls)) or '-'} |"
    )


def estimate(options: Any, dump: Path) -> None:
    """Print the table."""
    n = (options.atoms or [98304])[0]
    print(f"{n} atoms, {WIDTH} neighbour places; nothing of this was measured on a GPU. Steps of")
    print("dynamics are one turn of the loop over them, with one iteration of each loop of unknown")
    print("length; what a call of up to 256 steps does before and after is counted apart.\n")
    print("| card | program | potential | kernels | atomics in the PTX | kB/atom, estimate "
          "| ns/atom by bandwidth, estimate | ns/atom by XLA's model, estimate | scratch, kB/atom "
          "| compilation, s | custom calls |")  # fmt: skip
    print("|" + " --- |" * 11, flush=True)
    every = product(options.cards, options.cases, options.levels, options.forms, options.dtypes)
    for card, *row in every:
        print(compiled(options, dump, CARDS[card], *row, n), flush=True)


def check(options: Any) -> None:
    """Print how far the numbers of optimised programs are from those of the CPU."""
    print("Largest deviation from the CPU's numbers, over the largest number of each array;")
    print("optimised programs for a GPU, run on the CPU.\n")
    print("| card | program | potential | deviation |\n" + "|" + " --- |" * 4, flush=True)
    every = product(options.cards, options.cases, options.levels, options.forms, options.dtypes)
    for card, case, level, form, dtype in every:
        found = deviation(
            program(case, level, form, dtype, 96)[0],
            real_arguments(case, potential_of(level, form, dtype), dtype),
            partial(compile_for, CARDS[card]),
        )
        print(f"| {CARDS[card].name} | {case} | {level} {form} {dtype} | {found:.1e} |", flush=True)
